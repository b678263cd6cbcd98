"""Texts to token ids: the only importer of tokenizers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import Tokenizer as _Tokenizer

from stackctl.errors import Failed

# A tokenizer reads all of a text before it cuts; no window of tokens needs more characters.
_MAX_CHARACTERS = 1 << 16


class Tokens(NamedTuple):
    """A text as the model reads it."""

    ids: list[int]
    truncated: bool


class Tokenizer:
    """A ``tokenizer.json`` with the model's window."""

    def __init__(self, file: Path, max_tokens: int = 0) -> None:
        try:
            self._tokenizer: Any = _Tokenizer.from_file(str(file))
        except Exception as err:  # it raises bare Exception
            raise Failed(f"{file} is not a tokenizer: {err}") from err
        self._tokenizer.no_padding()
        if max_tokens:
            self._tokenizer.enable_truncation(max_tokens)
        else:
            self._tokenizer.no_truncation()

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Turn texts into token ids, cut to the model's window."""
        cut = [text[:_MAX_CHARACTERS] for text in texts]
        # One text does without the thread pool of a batch.
        found = (
            [self._tokenizer.encode(cut[0])]
            if len(cut) == 1
            else self._tokenizer.encode_batch(cut)
        )
        return [
            Tokens(encoding.ids, bool(encoding.overflowing) or len(text) > _MAX_CHARACTERS)
            for text, encoding in zip(texts, found, strict=True)
        ]

    def encode_pairs(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[list[int], list[int]]]:
        """Turn pairs of texts into token ids and type ids, cut to the model's window."""
        cut = [(a[:_MAX_CHARACTERS], b[:_MAX_CHARACTERS]) for a, b in pairs]
        return [(e.ids, e.type_ids) for e in self._tokenizer.encode_batch(cut)]

    def decode(self, ids: Sequence[int]) -> str:
        """Turn token ids into text, without special tokens."""
        text: str = self._tokenizer.decode(list(ids))
        return text

    def token_id(self, token: str) -> int | None:
        """Give the id of a token; None where the vocabulary lacks it."""
        found: int | None = self._tokenizer.token_to_id(token)
        return found

    @property
    def size(self) -> int:
        """Tokens of the vocabulary."""
        count: int = self._tokenizer.get_vocab_size()
        return count
