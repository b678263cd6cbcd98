"""What a request may ask of embedding models of any kind; refuses to compute a vector.

``dimensions``: the first numbers of each vector, where the model was trained for it.
``truncate``: cut what is past the window (true), or refuse it.
Token ids in place of texts: a tensor ``input_ids`` an input, one dimension, taken as it is, so
special tokens are the sender's to give.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stackctl.errors import Invalid
from stackctl_daemon.inference.adapters.base import FloatArray, Input, ModelSpec
from stackctl_daemon.inference.adapters.option import check_known, read_bool, read_int
from stackctl_daemon.inference.adapters.tokenizer import Tokenizer, Tokens

KNOWN = ("dimensions", "truncate")


def read_dimensions(spec: ModelSpec, options: Mapping[str, Any]) -> int:
    """Give how many numbers of each vector are wanted.

    Source of the cut: Matryoshka representation learning, Kusupati et al. 2022; the entry's
    ``matryoshka`` is the list of sizes trained for, or true for any.

    Raises:
        Invalid: the model was not trained to be cut there.
    """
    full = spec.dimensions
    asked = read_int(options, "dimensions", full, low=1, high=full)
    allowed = spec.options.get("matryoshka", [])
    if asked == full or allowed is True or (isinstance(allowed, list) and asked in allowed):
        return asked
    sizes = ", ".join(str(size) for size in sorted({*(allowed or []), full}))
    raise Invalid(
        f'model "{spec.name}" gives vectors of {full} and was not trained to be cut to {asked},'
        f" expected {sizes}"
    )


def cut(vector: FloatArray, dimensions: int) -> FloatArray:
    """Give the first numbers of a vector at length one; of a zero vector, zeros."""
    part = vector[:dimensions]
    found: FloatArray = part / max(float(np.linalg.norm(part)), 1e-12)
    return found


def read_tokens(
    spec: ModelSpec,
    tokenizer: Tokenizer,
    inputs: Sequence[Input],
    options: Mapping[str, Any],
) -> list[Tokens]:
    """Give the token ids of texts, or the ids that are there already.

    Raises:
        Invalid: an input is neither, its ids are not of the vocabulary, or it is past the
            window and ``truncate`` is false.
    """
    check_known(spec.name, options, KNOWN)
    if inputs and all(item.tensors is not None for item in inputs):
        found = [_given(spec, tokenizer, item, i) for i, item in enumerate(inputs)]
    else:
        texts = [item.text for item in inputs if item.text is not None]
        if len(texts) != len(inputs):
            raise Invalid(f'model "{spec.name}" reads text, or token ids as "input_ids"')
        found = tokenizer.encode(texts)
    if not read_bool(options, "truncate", default=True):
        for index, tokens in enumerate(found):
            if tokens.truncated:
                raise Invalid(
                    f"input {index} has {tokens.total} tokens, the window of"
                    f' "{spec.name}" is {spec.max_tokens} and option "truncate" is false'
                )
    return found


def _given(spec: ModelSpec, tokenizer: Tokenizer, item: Input, index: int) -> Tokens:
    tensors = item.tensors or {}
    ids = tensors.get("input_ids")
    if ids is None or len(tensors) != 1:
        raise Invalid(
            f"input {index} has the tensors {', '.join(sorted(tensors)) or 'none'}, expected"
            ' "input_ids" alone'
        )
    if ids.ndim != 1 or not len(ids) or ids.dtype.kind not in "iu":
        raise Invalid(
            f"input_ids of input {index} are {ids.dtype} {list(ids.shape)}, expected whole"
            " numbers in one dimension, at least one"
        )
    wrong = ids[(ids < 0) | (ids >= tokenizer.size)]
    if len(wrong):
        raise Invalid(
            f"input_ids of input {index} have {int(wrong[0])}, expected 0 to {tokenizer.size - 1}"
        )
    window = spec.max_tokens or len(ids)
    return Tokens([int(i) for i in ids[:window]], len(ids) > window, len(ids))
