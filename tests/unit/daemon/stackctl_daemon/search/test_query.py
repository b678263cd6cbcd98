"""Keyword queries: no text is syntax."""

from __future__ import annotations

import apsw
from hypothesis import given
from hypothesis import strategies as st

from stackctl_daemon.search.query import keyword_query


def test_stop_words_fall_away_and_terms_are_quoted() -> None:
    query = keyword_query("how do I rotate the keys")

    assert query.every == '"rotate" AND "keys"'
    assert query.some == '"rotate" OR "keys"'
    assert query.words == ("rotate", "keys")


def test_only_stop_words_are_searched_for_as_they_are() -> None:
    assert keyword_query("to be").some == '"to" OR "be"'


def test_quotes_make_a_phrase_that_must_be_there() -> None:
    query = keyword_query('"heat transfer" slabs')

    assert query.every == '"heat transfer" AND "slabs"'
    assert query.some == '"heat transfer"'


@given(st.text(max_size=200))
def test_no_text_is_a_syntax_error(text: str) -> None:
    query = keyword_query(text)
    connection = apsw.Connection(":memory:")
    connection.execute("CREATE VIRTUAL TABLE f USING fts5(text)")

    for match in filter(None, (query.every, query.some)):
        list(connection.execute("SELECT 1 FROM f WHERE f MATCH ?", (match,)))
    connection.close()
