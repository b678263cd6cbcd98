"""Texts to token ids: the only importer of tokenizers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import Tokenizer as _Tokenizer
from tokenizers.decoders import DecodeStream

from stackctl.errors import Failed

# A tokenizer reads all of a text before it cuts; no window of tokens needs more characters.
_MAX_CHARACTERS = 1 << 16


class Tokens(NamedTuple):
    """A text as the model reads it."""

    ids: list[int]
    truncated: bool
    total: int
    """Tokens before the cut; of a text that is not read to its end, of what was read."""


class MarkedTokens(NamedTuple):
    """A text as the model reads it, with which of its tokens are the text's own."""

    ids: list[int]
    own: list[bool]
    truncated: bool
    total: int


class PairTokens(NamedTuple):
    """Two texts as the model reads them at once."""

    ids: list[int]
    kinds: list[int]
    """0 for a token of the first text, 1 for one of the second."""
    truncated: bool


class Tokenizer:
    """A ``tokenizer.json`` with the model's window."""

    def __init__(self, file: Path, max_tokens: int = 0, *, special: bool = True) -> None:
        """Open it.

        Args:
            file: the ``tokenizer.json``.
            max_tokens: the window; 0: none.
            special: add the special tokens that the file says a text has around it.

        Raises:
            Failed: the file is none.
        """
        try:
            self._tokenizer: Any = _Tokenizer.from_file(str(file))
        except Exception as err:  # it raises bare Exception
            raise Failed(f"{file} is not a tokenizer: {err}") from err
        self._special = special
        self._tokenizer.no_padding()
        if max_tokens:
            self._tokenizer.enable_truncation(max_tokens)
        else:
            self._tokenizer.no_truncation()

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Turn texts into token ids, cut to the model's window."""
        return [
            Tokens(encoding.ids, *_account(encoding, len(text)))
            for text, encoding in zip(texts, self._encodings(texts), strict=True)
        ]

    def encode_marked(self, texts: Sequence[str]) -> list[MarkedTokens]:
        """Turn texts into token ids as `encode`, and tell special tokens apart."""
        return [
            MarkedTokens(
                encoding.ids,
                [not mark for mark in encoding.special_tokens_mask],
                *_account(encoding, len(text)),
            )
            for text, encoding in zip(texts, self._encodings(texts), strict=True)
        ]

    def encode_pairs(self, pairs: Sequence[tuple[str, str]]) -> list[PairTokens]:
        """Turn pairs of texts into token ids and type ids, the longer cut to fit the window."""
        cut = [(a[:_MAX_CHARACTERS], b[:_MAX_CHARACTERS]) for a, b in pairs]
        found = self._tokenizer.encode_batch(cut, add_special_tokens=self._special)
        return [
            PairTokens(encoding.ids, encoding.type_ids, _account(encoding, max(map(len, pair)))[0])
            for pair, encoding in zip(pairs, found, strict=True)
        ]

    def decode(self, ids: Sequence[int]) -> str:
        """Turn token ids into text, without special tokens."""
        text: str = self._tokenizer.decode(list(ids))
        return text

    def decoding(self) -> Decoding:
        """Begin a text that comes about token by token."""
        return Decoding(self._tokenizer)

    def token_id(self, token: str) -> int | None:
        """Give the id of a token; None where the vocabulary lacks it."""
        found: int | None = self._tokenizer.token_to_id(token)
        return found

    def token(self, number: int) -> str:
        """Give the token of an id; "" where there is none."""
        return self._tokenizer.id_to_token(number) or ""

    @property
    def size(self) -> int:
        """Tokens of the vocabulary."""
        count: int = self._tokenizer.get_vocab_size()
        return count

    def _encodings(self, texts: Sequence[str]) -> list[Any]:
        cut = [text[:_MAX_CHARACTERS] for text in texts]
        # One text does without the thread pool of a batch.
        if len(cut) == 1:
            return [self._tokenizer.encode(cut[0], add_special_tokens=self._special)]
        found: list[Any] = self._tokenizer.encode_batch(cut, add_special_tokens=self._special)
        return found


class Decoding:
    """Token ids to text as they come: a piece is given once no later token can change it."""

    def __init__(self, tokenizer: Any) -> None:  # Any: the library has no types
        self._tokenizer = tokenizer
        self._stream: Any = DecodeStream(skip_special_tokens=True)
        self._ids: list[int] = []
        self._given = 0

    def step(self, number: int) -> str:
        """Take a token; give the text that is certain now, "" within a character's bytes."""
        self._ids.append(number)
        piece: str = self._stream.step(self._tokenizer, number) or ""
        self._given += len(piece)
        return piece

    def rest(self) -> str:
        """End the text; give what was not given yet."""
        text: str = self._tokenizer.decode(self._ids)
        return text[self._given :]


def _account(encoding: Any, characters: int) -> tuple[bool, int]:
    """Tell whether something was cut, and how many tokens there were before."""
    over, total = encoding.overflowing, len(encoding.ids)
    if over:
        special = sum(encoding.special_tokens_mask)
        total += sum(len(part.ids) - special for part in over)
    return bool(over) or characters > _MAX_CHARACTERS, total
