"""Results of every task as people and programs get them."""

from __future__ import annotations

import base64
import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stackctl.cli import model_lines
from stackctl.cli.model_results import Answer, answers, as_json, bare, check_output, rows, save
from stackctl.cli.output import Output
from stackctl.client.view import decode, encode
from stackctl.errors import Invalid


def reply(task: str, *values: Any, tensors: list[list[Any]] | None = None, **more: Any) -> Any:
    items = [{"value": value, "tensors": []} for value in values]
    for numbers in tensors or []:
        data = base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()
        tensor = {"name": "out", "dtype": "<f4", "shape": [len(numbers)], "data": data}
        items.append({"value": None, "tensors": [tensor]})
    whole = {
        "model": "m",
        "task": task,
        "items": items,
        "tokens": 0,
        "truncated": 0,
        "device": "cpu:0",
        "execution_provider": "CPUExecutionProvider",
        "queue_s": 0.001,
        "batch_s": 0.002,
        "compute_s": 0.25,
    }
    return decode(json.dumps(whole | more))


def told(found: Any, *labels: str) -> list[Answer]:
    return answers(found, labels)


def text(task: str, found: list[Answer], width: int | None = 60, encoding: str = "utf-8") -> str:
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    return "\n".join(model_lines.lines(Output(width=width, out=out), task, found))


SPOKEN = {
    "text": "ever tried ever failed",
    "segments": [
        {"start_s": 0.0, "end_s": 3.2, "text": "ever tried " * 8},
        {"start_s": 63.2, "end_s": 65.0, "text": "ever\x1bfailed"},
    ],
    "duration_s": 66.0,
    "language": "en",
}
PAGE = {
    "text": "one\ntwo",
    "lines": [
        {"text": "one", "score": 0.987, "box": [[1, 2], [3, 2], [3, 4], [1, 4]]},
        {"text": "\u6587" * 40, "score": 0.5, "box": [[1, 5], [3, 5], [3, 9], [1, 9]]},
    ],
}
SPEECH = {
    "segments": [{"start_s": 2.5, "end_s": 5.0}],
    "speech_ratio": 0.25,
    "duration_s": 10.0,
}
CLASSES = {
    "label": "cat",
    "score": 0.9,
    "labels": [{"label": "cat", "score": 0.9}, {"label": "dog", "score": 0.1}],
}
FILE = {
    "label": "png",
    "mime": "image/png",
    "group": "image",
    "description": "PNG image",
    "text": False,
    "score": 1.0,
}


def test_vectors_show_their_length_and_what_they_have_in_common() -> None:
    found = told(reply("embedding", tensors=[[1, 0], [0.6, 0.8]]), "east", "a long text " * 9)

    shown = text("embedding", found)

    assert "0.60" in shown
    assert "1.0000" in shown
    assert max(map(len, shown.splitlines())) <= 60
    assert next(rows("embedding", found)) == [1.0, 0.0]


def test_many_vectors_are_not_compared_on_a_narrow_terminal() -> None:
    found = told(reply("embedding", tensors=[[1, 0]] * 9), *"abcdefghi")

    assert "do not fit here" in text("embedding", found)
    assert "do not fit here" not in text("embedding", found, width=80)


def test_a_ranking_has_the_best_first_and_keeps_the_numbers_of_the_inputs() -> None:
    answer = reply("rerank", {"score": -0.1}, {"score": 0.8})
    found = told(answer, "bad", "good")

    shown = text("rerank", found).splitlines()

    assert shown[1].split() == ["1", "0.8000", "█" * 10, "good"]
    assert shown[2].split() == ["2", "-0.1000", "bad"]
    assert list(rows("rerank", found)) == [[1, 0.8, 1, "good"], [2, -0.1, 0, "bad"]]
    assert list(bare("rerank", found)) == ["good", "bad"]
    assert [item["rank"] for item in as_json(answer, found)["items"]] == [2, 1]


def test_what_was_said_stands_beside_its_times_in_lines_that_fit() -> None:
    found = told(reply("transcription", SPOKEN), "a.wav")

    shown = text("transcription", found).splitlines()

    assert shown[0].startswith("0:00.00 - 0:03.20  ever tried")
    assert shown[1].startswith(" " * 19 + "tried ever")
    assert shown[-1] == "1:03.20 - 1:05.00  ever failed"
    assert max(map(len, shown)) <= 60
    assert list(rows("transcription", found))[1][:3] == ["a.wav", 63.2, 65.0]


def test_lines_of_a_page_wrap_by_what_they_take() -> None:
    found = told(reply("ocr", PAGE), "a.png")

    shown = text("ocr", found).splitlines()

    assert shown[0] == "0.99  one"
    assert [line.strip("0.5 ") for line in shown[1:]] == ["\u6587" * 27, "\u6587" * 13]
    assert text("ocr", found, width=None).splitlines()[1] == "0.50  " + "\u6587" * 40
    assert next(rows("ocr", found)) == ["a.png", 0.987, 1, 2, "one"]
    assert "no text" in text("ocr", told(reply("ocr", {"text": "", "lines": []}), "b"))


def test_speech_is_drawn_along_the_recording() -> None:
    found = told(reply("voice-activity", SPEECH), "a.wav")

    shown = text("voice-activity", found).splitlines()

    assert shown[0] == "speech in 25% of 10 s, 1 segment"
    assert shown[1] == "░" * 15 + "█" * 15 + "░" * 30
    assert shown[3].split() == ["0:02.50", "0:05.00", "2.5", "s"]
    assert text("voice-activity", found, encoding="ascii").splitlines()[1].count("#") == 15
    silence = {"segments": [], "speech_ratio": 0.0, "duration_s": 1.0}
    assert text("voice-activity", told(reply("voice-activity", silence), "b")).count("\n") == 0


def test_classes_have_bars_and_several_pictures_headings() -> None:
    found = told(reply("image-classification", CLASSES, CLASSES), "a.png", "b.png")

    shown = text("image-classification", found)

    assert shown.splitlines()[:2] == ["a.png", "cat   90.0%  " + "█" * 18]
    assert "b.png" in shown
    assert "##" in text("image-classification", found, encoding="ascii")
    assert list(bare("image-classification", found)) == ["cat", "cat"]
    assert len(list(rows("image-classification", found))) == 4


def test_types_of_files_are_a_table() -> None:
    found = told(reply("file-type", FILE), "/a/b.png")

    assert text("file-type", found).splitlines()[1].split()[:3] == ["/a/b.png", "png", "1.000"]
    assert list(rows("file-type", found)) == [["/a/b.png", "png", 1.0, "image/png", "image"]]


def test_generated_text_cannot_move_the_cursor() -> None:
    found = told(reply("generation", {"text": "a\x1b[2Jb\nc"}), "x")

    assert text("generation", found) == "a [2Jb\nc"


def test_tensors_show_their_kind_and_first_numbers() -> None:
    found = told(reply("tensor", tensors=[[1, 2, 3, 4, 5, 6, float("nan")]]), "x")

    assert text("tensor", found).splitlines()[1] == "out     <f4   7      1 2 3 4 5 6 …"
    numbers = as_json(reply("tensor"), found)["items"][0]["tensors"]["out"]["values"]
    assert numbers == [1, 2, 3, 4, 5, 6, None]
    assert next(rows("tensor", found))[:4] == ["x", "out", "<f4", "7"]


def test_the_footer_says_where_and_how_long() -> None:
    footer = model_lines.footer(reply("embedding", tokens=9, truncated=1), 2)

    assert footer == (
        "2 inputs, 9 tokens; 1 cut to the model's window; m on cpu:0; 250 ms computing,"
        " 3 ms waiting"
    )


def test_vectors_are_saved_as_numpy_and_json_read_them(tmp_path: Path) -> None:
    answer = reply("embedding", tensors=[[1, 0], [0, 1]])
    found = told(answer, "a", "b")

    said = save(str(tmp_path / "v.npy"), answer, found)
    save(str(tmp_path / "v.json"), answer, found)

    assert said.startswith("wrote 2 x 2 <f4 to ")
    assert np.load(tmp_path / "v.npy").tolist() == [[1, 0], [0, 1]]
    items = json.loads((tmp_path / "v.json").read_text())["items"]
    assert [item["vector"] for item in items] == [[1, 0], [0, 1]]
    assert json.loads(encode(as_json(answer, found)))["device"] == "cpu:0"


def test_what_is_no_array_is_not_saved_as_one(tmp_path: Path) -> None:
    answer = reply("file-type", FILE)

    with pytest.raises(Invalid, match="no array"):
        save(str(tmp_path / "v.npy"), answer, told(answer, "a"))
    with pytest.raises(Invalid, match=r"neither \.npy nor \.json"):
        check_output("v.txt", "m")
    with pytest.raises(Invalid, match="no folder"):
        check_output(str(tmp_path / "no" / "v.npy"), "m")
