"""Replies as attribute-access views of their JSON; refuses to validate what the daemon sent.

Decoding into the Structs of `stackctl.contracts` would cost every command the import of msgspec
(45 ms of CPU where bare Python takes 12), so a reply is a `View` that is *typed* as the Struct
by a cast. A `View` is no dict: ``reply.items`` must be the field of a list, never ``dict.items``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any


class View:
    """One JSON object: fields as attributes, and as keys for objects that stand for mappings."""

    def __init__(self, fields: dict[str, Any]) -> None:
        # The instance dictionary itself holds the fields: attribute access costs nothing extra,
        # and no method name can hide a field.
        self.__dict__ = fields

    def __getitem__(self, key: str) -> Any:
        return self.__dict__[key]

    def __contains__(self, key: object) -> bool:
        return key in self.__dict__

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dict__)

    def __len__(self) -> int:
        return len(self.__dict__)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, View) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]  # equal by value and mutable, like a dict

    def __repr__(self) -> str:
        return f"View({self.__dict__!r})"


def decode(text: bytes | str) -> Any:
    """Parse JSON; objects come back as `View`.

    Raises:
        ValueError: ``text`` is not JSON.
    """
    return json.loads(text, object_hook=View)


def encode(value: Any, *, indent: int | None = None) -> str:
    """Write a value that may hold views as JSON."""
    return json.dumps(value, default=vars, ensure_ascii=False, indent=indent)


def mapping(value: Any) -> dict[str, Any]:
    """Give the fields of a view, or the dict itself; an empty dict for None."""
    if value is None:
        return {}
    return value if isinstance(value, dict) else vars(value)
