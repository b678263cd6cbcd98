from __future__ import annotations

from pathlib import Path

import msgspec
from model_source import entry

from stackctl_daemon.models.catalogue import read_entry, to_toml


def test_entries_survive_toml(tmp_path: Path) -> None:
    odd = msgspec.structs.replace(entry("file:/a b/NAME"), summary='q"\\ \n\t\x7f é 𝄞')
    file = tmp_path / "x.toml"
    file.write_text(to_toml(odd), encoding="utf-8")

    assert read_entry(file) == odd
