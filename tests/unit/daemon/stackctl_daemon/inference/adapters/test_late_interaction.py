from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_model import TABLE, WIDTH, write_graph, write_tokenizer

from stackctl.errors import Failed, Invalid
from stackctl_daemon.inference.adapters.base import Input, ModelSpec
from stackctl_daemon.inference.adapters.late_interaction import LateInteraction, max_sim
from stackctl_daemon.inference.session import DevicePolicy

NORMAL = TABLE / np.linalg.norm(TABLE, axis=1, keepdims=True)


def model(directory: Path, *, pooled: bool = False) -> LateInteraction:
    graph, tokenizer = write_graph(directory, pooled=pooled), write_tokenizer(directory)
    spec = ModelSpec("tiny", directory, graph, tokenizer, 8, WIDTH)
    return LateInteraction(spec, DevicePolicy("cpu").open)


def test_each_word_of_the_query_takes_its_nearest_of_the_document(tmp_path: Path) -> None:
    made = model(tmp_path)
    documents = [Input(text="lantern"), Input(text="river orchard copper lantern")]

    found = made.compute(made.prepare(documents, {"query": "river copper"}))

    cosines = NORMAL[[1, 2]] @ NORMAL.T
    assert found[0].value["score"] == pytest.approx(cosines[:, 3].mean(), abs=1e-6)
    assert found[1].value["score"] == pytest.approx(1.0, abs=1e-6)


def test_queries_share_a_batch_and_each_keeps_its_own(tmp_path: Path) -> None:
    made = model(tmp_path)
    units = made.prepare([Input(text="river")], {"query": "river"})
    units += made.prepare([Input(text="river lantern")], {"query": "orchard"})

    together = [result.value for result in made.compute(units)]

    assert together == [made.compute([unit])[0].value for unit in units]


def test_a_document_of_no_words_scores_zero(tmp_path: Path) -> None:
    made = model(tmp_path)

    [found] = made.compute(made.prepare([Input(text="")], {"query": "river"}))

    assert found.value == {"score": 0.0}


def test_scores_do_not_depend_on_order_or_repeats() -> None:
    query, document = NORMAL[[1, 2]], NORMAL[[3, 4, 3]]

    assert max_sim(query, document) == pytest.approx(max_sim(query[::-1], document[::-1]))
    assert max_sim(query, query) == pytest.approx(1.0)
    assert max_sim(query[:0], document) == 0.0


def test_a_graph_without_token_vectors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Failed, match='no output "last_hidden_state", it has sentence_embedding'):
        model(tmp_path, pooled=True)


def test_ranking_without_a_query_or_of_bytes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match='option "query" is null'):
        model(tmp_path).prepare([Input(text="river")], {})
    with pytest.raises(Invalid, match="reads text"):
        model(tmp_path).prepare([Input(data=b"x")], {"query": "river"})
