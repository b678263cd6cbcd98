"""The configuration as the files and the environment give it, read without the daemon."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stackctl.cli.text import clean
from stackctl.client.view import mapping


def read() -> dict[str, Any]:
    """Give values and sources in the shape of `stackctl.contracts.system.ConfigReply`.

    Raises:
        BadConfig: with file and line.
    """
    # Deferred: tomllib and msgspec cost 60 ms, and only these commands need them.
    import msgspec

    from stackctl.settings import load

    settings, sources = load()
    return {"values": msgspec.to_builtins(settings), "sources": sources}


def lines(reply: Any) -> Iterator[str]:
    """Write the settings as TOML, so that what is shown can be pasted into the file."""
    fields = mapping(reply)
    yield f"# from {', '.join(clean(s) for s in fields['sources'])}"
    for name, section in mapping(fields["values"]).items():
        yield ""
        yield f"[{name}]"
        for key, value in mapping(section).items():
            yield f"{key} = {_toml(value)}"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{clean(escaped)}"'
    if isinstance(value, list):
        return f"[{', '.join(_toml(entry) for entry in value)}]"
    return str(value)
