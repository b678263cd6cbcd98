from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from stackctl.errors import Invalid
from stackctl_daemon.models.ctranslate2_file import read_ctranslate2


def text(value: str) -> bytes:
    data = value.encode() + b"\0"
    return struct.pack("<H", len(data)) + data


def variable(name: str, shape: list[int], kind: int, data: bytes) -> bytes:
    head = struct.pack(f"<B{len(shape)}I", len(shape), *shape)
    return text(name) + head + struct.pack("<BI", kind, len(data)) + data


def written(path: Path, *variables: bytes, version: int = 6, aliases: bytes = b"") -> Path:
    head = struct.pack("<I", version) + text("WhisperSpec") + struct.pack("<II", 3, len(variables))
    path.write_bytes(head + b"".join(variables) + (aliases or struct.pack("<I", 0)))
    return path


HEADS = variable("decoder/num_heads", [], 2, struct.pack("<h", 6))
WEIGHT = variable("a/weight", [2, 3], 4, bytes(range(12)))


def test_places_aliases_and_numbers(tmp_path: Path) -> None:
    aliases = struct.pack("<I", 1) + text("b/weight") + text("a/weight")
    file = written(tmp_path / "model.bin", HEADS, WEIGHT, aliases=aliases)

    found = read_ctranslate2(file)

    place = found.tensors["b/weight"]
    assert (found.spec, found.numbers) == ("WhisperSpec", {"decoder/num_heads": 6})
    assert (place.dtype, place.shape, place.length) == ("F16", (2, 3), 12)
    assert file.read_bytes()[place.offset : place.offset + 12] == bytes(range(12))
    assert place == found.tensors["a/weight"]


@pytest.mark.parametrize(
    ("variables", "options", "message"),
    [
        ([HEADS], {"version": 99}, "binary version 99, expected 4 to 6"),
        ([variable("x", [2, 3], 4, b"12345")], {}, r"x of F16 \[2, 3\] has 5 bytes .* 12"),
        ([variable("x", [1], 9, b"1")], {}, "x has the type 9"),
        ([variable("x", [1] * 9, 1, b"1")], {}, "x has rank 9"),
        ([HEADS], {"aliases": struct.pack("<I", 1) + text("b") + text("c")}, "b stands for c"),
    ],
)
def test_what_is_unsound_is_refused(
    tmp_path: Path, variables: list[bytes], options: dict[str, Any], message: str
) -> None:
    file = written(tmp_path / "model.bin", *variables, **options)

    with pytest.raises(Invalid, match=message):
        read_ctranslate2(file)


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = written(tmp_path / "model.bin", HEADS, WEIGHT).read_bytes()
    for length in range(len(whole)):
        (tmp_path / "cut.bin").write_bytes(whole[:length])
        with pytest.raises(Invalid, match="not a sound CTranslate2 file"):
            read_ctranslate2(tmp_path / "cut.bin")
