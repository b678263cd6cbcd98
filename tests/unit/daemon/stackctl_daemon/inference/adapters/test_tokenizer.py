from __future__ import annotations

from pathlib import Path

import pytest
from tiny_model import write_tokenizer
from tokenizers import Tokenizer as Library
from tokenizers.decoders import ByteFallback, Fuse, Replace, Sequence
from tokenizers.models import WordLevel
from tokenizers.processors import TemplateProcessing

from stackctl.errors import Failed
from stackctl_daemon.inference.adapters.tokenizer import Tokenizer


def bytewise(directory: Path) -> Tokenizer:
    """A tokenizer whose é is two tokens, and which puts [X] before a text."""
    words = ["[X]", "▁caf", "<0xC3>", "<0xA9>", "▁open"]
    vocabulary = {word: number for number, word in enumerate(words)}
    made = Library(WordLevel(vocabulary, unk_token=words[0]))
    made.add_special_tokens(["[X]"])
    made.decoder = Sequence([Replace("▁", " "), ByteFallback(), Fuse()])
    made.post_processor = TemplateProcessing(single="[X] $A", special_tokens=[("[X]", 0)])
    file = directory / "bytes.json"
    made.save(str(file))
    return Tokenizer(file)


def test_a_character_of_several_tokens_is_given_whole(tmp_path: Path) -> None:
    decoding = bytewise(tmp_path).decoding()

    pieces = [decoding.step(number) for number in (1, 2, 3, 4)]

    assert pieces[1] == ""
    assert "".join(pieces) + decoding.rest() == " café open"


def test_a_character_that_never_ends_is_given_at_the_end(tmp_path: Path) -> None:
    decoding = bytewise(tmp_path).decoding()

    assert [decoding.step(number) for number in (1, 2)] == [" caf", ""]
    assert decoding.rest() == "\ufffd"


def test_special_tokens_are_told_apart(tmp_path: Path) -> None:
    [found] = bytewise(tmp_path).encode_marked(["▁caf"])

    assert (found.ids, found.own) == ([0, 1], [False, True])


def test_tokens_before_the_cut_are_counted_without_special_ones(tmp_path: Path) -> None:
    plain = Tokenizer(write_tokenizer(tmp_path), 2)

    [short, long] = plain.encode(["river copper", "river " * 7])

    assert (short.total, short.truncated) == (2, False)
    assert (len(long.ids), long.total, long.truncated) == (2, 7, True)


def test_a_text_beyond_any_window_is_read_in_part(tmp_path: Path) -> None:
    [found] = Tokenizer(write_tokenizer(tmp_path)).encode(["river " * 20_000])

    assert found.truncated


def test_vocabulary_is_looked_up_both_ways(tmp_path: Path) -> None:
    made = Tokenizer(write_tokenizer(tmp_path))

    assert (made.token_id("river"), made.token(1), made.decode([1, 2])) == (
        1,
        "river",
        "river copper",
    )
    assert (made.token_id("nowhere"), made.token(9_999)) == (None, "")


def test_a_file_that_is_no_tokenizer_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")

    with pytest.raises(Failed, match=r"tokenizer\.json is not a tokenizer"):
        Tokenizer(tmp_path / "tokenizer.json")
