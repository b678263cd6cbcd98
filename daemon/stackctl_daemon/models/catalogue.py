"""The catalogue: one TOML file a model; refuses to know what is on this disk."""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import msgspec

from stackctl.contracts.model import ModelEntry
from stackctl.errors import BadConfig, Invalid, NotFound

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}(:[a-z0-9][a-z0-9._-]{0,31})?")
_ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}(/[A-Za-z0-9][A-Za-z0-9._-]{0,63})?")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
PRE_RELEASES = ("dev", "nightly", "snapshot", "alpha", "beta", "pre", "preview", "rc")
"""Words of versions that come before the one that they lead to, in this order."""
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_MOMENTS = (datetime, date, time)


def check_name(name: str) -> str:
    """Give the name back if it can be a directory's.

    Raises:
        Invalid: it cannot.
    """
    if not _NAME.fullmatch(name):
        raise Invalid(
            f'model name "{name}" is not 1 to 64 of a-z, 0-9, ".", "_", "-", or that with a'
            " version, NAME:VERSION",
            hint="stackctl models list",
        )
    return name


def is_file_name(name: str) -> bool:
    """Tell whether a model's file may be named so."""
    return bool(_FILE.fullmatch(name))


def check_alias(alias: str) -> str:
    """Give an alias back if it can be one: a name, or a hub's ``OWNER/NAME``.

    Raises:
        Invalid: it cannot.
    """
    if not _ALIAS.fullmatch(alias):
        raise Invalid(
            f'alias "{alias[:80]}" is not a name or OWNER/NAME of letters, digits, ".", "_", "-"',
            hint="stackctl models list",
        )
    return alias


def read_entry(file: Path) -> ModelEntry:
    """Read and check one entry.

    Raises:
        BadConfig: the file is not a sound entry.
    """
    try:
        entry = msgspec.convert(tomllib.loads(file.read_text(encoding="utf-8")), ModelEntry)
        check_name(entry.name)
        for item in entry.files:
            if not (is_file_name(item.name) and _SHA256.fullmatch(item.sha256)):
                raise ValueError(f'file "{item.name}" needs a plain name and a sha256')
    except (OSError, ValueError, RecursionError, Invalid) as err:
        raise BadConfig(f"{file}: {err}", hint=f"${{EDITOR:-vi}} {file}") from err
    return entry


def load_catalogue(directories: Iterable[Path]) -> dict[str, ModelEntry]:
    """Give all entries by name; a later directory wins over an earlier one.

    Raises:
        BadConfig: an entry is not sound.
    """
    found: dict[str, ModelEntry] = {}
    for directory in directories:
        for file in sorted(directory.glob("*.toml")):
            entry = read_entry(file)
            found[entry.name] = entry
    return found


def resolve(
    entries: Mapping[str, ModelEntry],
    name: str,
    *,
    here: Callable[[ModelEntry], bool] = lambda entry: True,
) -> ModelEntry:
    """Find an entry by name, then by alias, then as the latest version of what is named.

    Args:
        entries: by name.
        name: what was asked for.
        here: whether an entry's files are on this disk; one of these goes before one of others.

    Raises:
        NotFound: there is none.
    """
    if name in entries:
        return entries[name]
    found = [entry for entry in entries.values() if name in entry.aliases]
    found = found or [entry for entry in entries.values() if entry.family == name]
    if found:
        versions = [entry for entry in found if entry.family == found[0].family]
        return max(versions, key=lambda entry: (here(entry), version_order(entry.version)))
    shown = name if len(name) <= 80 else f"{name[:80]}..."
    raise NotFound(f'no model "{shown}" in the catalogue', hint="stackctl models list")


def version_order(version: str) -> tuple[list[tuple[int, int, str]], str]:
    """Give what versions are sorted by.

    Numbers in them count as numbers, so 10 is after 9; a part of `PRE_RELEASES` comes before
    the end of a version, so 2-rc1 is before 2, and any other word after it: 2-int8 is after 2.
    """
    parts = re.findall(r"[0-9]+|[a-z]+", version)
    return [*map(_rank, parts), (1, 0, "")], version


def _rank(part: str) -> tuple[int, int, str]:
    if part.isdecimal():
        return 3, int(part), ""
    if part in PRE_RELEASES:
        return 0, PRE_RELEASES.index(part), ""
    return 2, 0, part


def to_toml(entry: ModelEntry) -> str:
    """Write an entry as TOML; what `read_entry` reads back equal."""
    fields: dict[str, Any] = msgspec.to_builtins(entry, builtin_types=_MOMENTS)
    files = fields.pop("files")
    lines = [f"{key} = {_toml(value)}" for key, value in fields.items()]
    for item in files:
        lines.append("\n[[files]]")
        lines += [f"{key} = {_toml(value)}" for key, value in item.items()]
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    """Write a value in one line: TOML's inline tables and arrays hold any other value."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_key(k)} = {_toml(v)}' for k, v in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, _MOMENTS):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # inf and nan, where JSON has other words
    # JSON's strings, numbers and booleans are TOML's, but for DEL.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _toml(key)
