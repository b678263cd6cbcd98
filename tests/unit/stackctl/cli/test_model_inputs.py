from __future__ import annotations

import base64
import io
import shlex
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stackctl.cli import model_inputs, npy
from stackctl.cli.model_inputs import Given, read_inputs, read_options
from stackctl.errors import Invalid, NotFound, StackctlError, TooLarge


class Terminal(io.BytesIO):
    def isatty(self) -> bool:
        return True


def test_words_are_texts_for_a_model_that_reads_text(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("from a file\nof two lines")

    found = read_inputs(["plain", f"@{file}", "@@home"], task="embedding", model="m")

    assert [given.wire["text"] for given in found] == [
        "plain",
        "from a file\nof two lines",
        "@home",
    ]


def test_words_are_paths_for_a_model_that_reads_bytes(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"\x89PNG")

    for word in (str(file), f"@{file}"):
        [given] = read_inputs([word], task="ocr", model="m")
        assert given == Given(str(file), {"data": base64.b64encode(b"\x89PNG").decode()})


def test_a_model_of_both_takes_files_that_are_there_and_texts(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"\x89PNG")

    found = read_inputs(["a dog", str(file), f"@{file}"], task="image-text-embedding", model="m")

    assert [list(given.wire) for given in found] == [["text"], ["data"], ["data"]]


@pytest.mark.parametrize("words", [[], ["-"]])
def test_stdin_gives_a_document_a_line_and_one_text_to_generate_from(words: list[str]) -> None:
    data = b"one\n\ntwo\n"

    lines = read_inputs(words, task="embedding", model="m", stdin=io.BytesIO(data))
    whole = read_inputs(words, task="generation", model="m", stdin=io.BytesIO(data))
    raw = read_inputs(words, task="file-type", model="m", stdin=io.BytesIO(data))

    assert [given.wire for given in lines] == [{"text": "one"}, {"text": "two"}]
    assert [given.wire for given in whole] == [{"text": "one\n\ntwo\n"}]
    assert raw == [model_inputs.of_bytes("stdin", data)]


def test_tensors_come_from_files_and_from_what_is_typed(tmp_path: Path) -> None:
    file = tmp_path / "x.npy"
    file.write_bytes(npy.write(npy.literal([[1.5, 2.5]])))

    [given] = read_inputs([f"x={file}", "ids:<i4=[1, 2]"], task="tensor", model="m")

    assert given.label == "x, ids"
    shapes = [(t["name"], t["dtype"], t["shape"]) for t in given.wire["tensors"]]
    assert shapes == [("x", "<f4", [1, 2]), ("ids", "<i4", [2])]


def graph(*tensors: tuple[str, str, list[int]]) -> Any:
    return [SimpleNamespace(name=n, datatype=d, shape=s) for n, d, s in tensors]


def test_typed_numbers_have_the_types_of_the_graph() -> None:
    tensors = graph(
        ("x", "FP32", [-1, 3]), ("ids", "INT64", [2]), ("mask", "BOOL", [2]), ("b", "UINT8", [1])
    )

    [given] = read_inputs(
        ["x=[[1,2,3]]", "ids=[1.0, 2]", "mask=[true, 0]", "b:<f8=[1]"],
        task="tensor",
        model="m",
        graph=lambda: tensors,
    )

    assert [t["dtype"] for t in given.wire["tensors"]] == ["<f4", "<i8", "|b1", "<f8"]
    data = [base64.b64decode(t["data"]) for t in given.wire["tensors"]]
    assert struct.unpack("<3f", data[0]) == (1.0, 2.0, 3.0)
    assert struct.unpack("<2q", data[1]) == (1, 2)


def test_a_typed_number_that_the_graph_cannot_take_is_refused_by_its_value() -> None:
    with pytest.raises(Invalid, match=r"it holds 1\.5, expected whole numbers \(<i8\)"):
        read_inputs(
            ["x=[1.5]"], task="tensor", model="m", graph=lambda: graph(("x", "INT64", [1]))
        )


def test_a_graph_that_is_given_nothing_says_what_it_takes() -> None:
    tensors = graph(("x", "FP32", [-1, 3]))

    for words in ([], ["x"]):
        with pytest.raises(Invalid) as caught:
            read_inputs(words, task="tensor", model="m", stdin=Terminal(), graph=lambda: tensors)

        assert caught.value.hint == "stackctl models run m 'x=[[0, 0, 0]]'"


def test_the_example_of_a_graph_runs_as_it_stands() -> None:
    tensors = graph(("x", "FP32", [-1, 3]), ("on", "BOOL", [2]))
    command = model_inputs.tensor_example("m", tensors)

    assert command == "stackctl models run m 'x=[[0, 0, 0]]' 'on=[false, false]'"
    [given] = read_inputs(
        shlex.split(command)[4:], task="tensor", model="m", graph=lambda: tensors
    )
    assert [t["shape"] for t in given.wire["tensors"]] == [[1, 3], [2]]
    large = model_inputs.tensor_example("m", graph(("x", "FP32", [1, 3, 224, 224])))
    assert large == "stackctl models run --help"


@pytest.mark.parametrize(
    ("words", "task", "kind", "problem", "fix"),
    [
        ([], "ocr", Invalid, "was given nothing", "stackctl models run m PICTURE"),
        (["-", "-"], "ocr", Invalid, "read once", "run m"),
        (["/"], "ocr", Invalid, "is a folder", "models run m /*"),
        (["nowhere.png"], "ocr", NotFound, "no file or folder", "ls -la"),
        (["x"], "tensor", Invalid, "is no tensor", "NAME=FILE.npy"),
        (["x=[1, [2]]"], "tensor", Invalid, "differ in length", "--help"),
        (["x=[1"], "tensor", Invalid, 'tensor "x"', "--help"),
        (["a"] * 2049, "embedding", TooLarge, "2049 inputs", "head -n 2048"),
    ],
)
def test_bad_input_names_a_fix(
    words: list[str], task: str, kind: type[StackctlError], problem: str, fix: str
) -> None:
    with pytest.raises(kind, match=problem) as caught:
        read_inputs(words, task=task, model="m", stdin=Terminal())

    assert fix in caught.value.hint


def test_what_a_request_cannot_hold_is_refused_unread(tmp_path: Path) -> None:
    file = tmp_path / "a disc.iso"
    with file.open("wb") as stream:
        stream.truncate(model_inputs.MOST_BYTES + 1)

    with pytest.raises(TooLarge, match="67108865 bytes") as caught:
        read_inputs([str(file)], task="file-type", model="m")

    assert caught.value.hint == f"head -c 67108864 '{file}' | stackctl models run m -"


@pytest.mark.parametrize(
    ("data", "problem"), [(b" \n", "stdin is empty"), (b"ab\xff", "0xff at 2")]
)
def test_stdin_must_hold_what_the_model_reads(data: bytes, problem: str) -> None:
    with pytest.raises(Invalid, match=problem):
        read_inputs(["-"], task="embedding", model="m", stdin=io.BytesIO(data))


def test_options_have_the_types_of_json() -> None:
    found = read_options(["a=1", "b=0.5", "c=true", "d=plain words", 'e="7"', 'f=["x"]', "g=a=b"])

    assert found == {
        "a": 1,
        "b": 0.5,
        "c": True,
        "d": "plain words",
        "e": "7",
        "f": ["x"],
        "g": "a=b",
    }


@pytest.mark.parametrize("pairs", [["a"], ["=1"], ["a=1", "a=2"]])
def test_an_option_must_be_one(pairs: list[str]) -> None:
    with pytest.raises(Invalid, match=r"no key=value|twice"):
        read_options(pairs)
