"""What cannot be answered, asked of a real daemon: each gets a code, its value and what to do."""

from __future__ import annotations

import base64
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faults.inference_models import BALLOON, FILE_TYPE, LINEAR, MINILM, STATIC, UNKNOWN, VICTIMS
from faults.inference_models import Models as FaultModels
from harness import Stack
from inference_stack import CACHE

pytestmark = pytest.mark.model

PICTURES, SPEECH = "open-nsfw", "silero-vad"


class Asked:
    """A stack and the models in its home."""

    def __init__(self, stack: Stack, models: FaultModels) -> None:
        self.stack, self.models = stack, models

    def refused(self, path: str, body: Any) -> tuple[int, str, str]:
        status, reply = self.stack.request("POST", path, body)
        assert status >= 400, reply
        error = reply["error"]
        assert error["request_id"]
        return status, error["code"], error["message"]

    def works(self) -> None:
        question = self.models.embedding(MINILM, [3, 1, 4])
        reply = self.stack.ok("POST", question.path, question.body)
        assert question.check(reply) == ""


@pytest.fixture(scope="module")
def asked(fetched_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    home = tmp_path_factory.mktemp("h")
    models = FaultModels(home)
    for name in (PICTURES, SPEECH):
        if (CACHE / "models" / name).is_dir():
            shutil.copytree(CACHE / "models" / name, models.directory / name)
    with Stack(home, model=False, env={"STACKCTL_MODELS__OFFLINE": "true"}) as stack:
        yield Asked(stack, models)


def run(model: str) -> str:
    return f"/v1/models/{model}/run"


def tensor(value: Any, **changed: Any) -> dict[str, Any]:
    array = np.asarray(value)
    data = base64.b64encode(array.tobytes()).decode()
    given = {"name": "x", "dtype": array.dtype.str, "shape": list(array.shape), "data": data}
    return {"inputs": [{"tensors": [given | changed]}]}


ROW = np.ones((1, 8), np.float32)
EMBED = "/v1/embed"


@pytest.mark.parametrize(
    ("path", "body", "expected", "words"),
    [
        (EMBED, {"texts": []}, (400, "invalid"), "0 inputs, expected 1 to 2048"),
        (EMBED, {"texts": ["word"] * 10_000}, (400, "invalid"), "10000 inputs"),
        (EMBED, {"texts": [None]}, (400, "invalid"), "str"),
        (EMBED, {"texts": ["a"], "model": "nonesuch"}, (404, "not_found"), '"nonesuch"'),
        (EMBED, {"texts": ["a"], "model": FILE_TYPE}, (400, "invalid"), "not embedding"),
        (run(LINEAR), tensor(ROW) | {"timeout_s": -1}, (400, "invalid"), "timeout_s"),
        (run(LINEAR), tensor(ROW) | {"options": {"x": [1 << 90]}}, (400, "invalid"), "64 bits"),
        (run(LINEAR), tensor(ROW.astype(np.int64)), (400, "invalid"), "int64, expected float32"),
        (run(LINEAR), tensor(np.ones((1, 9), np.float32)), (400, "invalid"), "[1, 9], expected"),
        (run(LINEAR), tensor(np.ones(8, np.float32)), (400, "invalid"), "[8], expected"),
        (run(LINEAR), tensor(ROW, shape=[2, 8]), (400, "invalid"), "32 bytes, expected 64"),
        (run(LINEAR), tensor(ROW, shape=[-1, 8]), (400, "invalid"), "[-1, 8]"),
        (run(LINEAR), tensor(ROW, dtype="<f3"), (400, "invalid"), '"<f3"'),
        (run(LINEAR), tensor(ROW, data="no base64!"), (400, "invalid"), "not base64"),
        (run(LINEAR), tensor(ROW, name="z"), (400, "invalid"), 'lacks "x"'),
        (run(LINEAR), {"inputs": [{"text": "a text"}]}, (400, "invalid"), "reads tensors"),
        (run(LINEAR), {"inputs": [{}]}, (400, "invalid"), "nothing, expected one of"),
        (run(LINEAR), {"inputs": []}, (400, "invalid"), "0 inputs"),
        (run(MINILM), {"inputs": [{"data": "AAAA"}]}, (400, "invalid"), "text"),
        (run(UNKNOWN), tensor(ROW), (500, "failed"), "Nonesuch"),
    ],
)  # fmt: skip
def test_what_cannot_be_answered_is_named(
    asked: Asked, path: str, body: Any, expected: tuple[int, str], words: str
) -> None:
    status, code, message = asked.refused(path, body)

    assert (status, code) == expected
    assert words in message
    asked.works()


@pytest.mark.parametrize(
    ("model", "data"),
    [
        (PICTURES, b"this is no picture"),
        (PICTURES, b"\x89PNG\r\n\x1a\n" + bytes(64)),
        (SPEECH, b"this is no sound"),
        (SPEECH, b"RIFF\xff\xff\xff\xffWAVEfmt " + bytes(12)),
    ],
)
def test_a_broken_picture_or_sound_is_refused(asked: Asked, model: str, data: bytes) -> None:
    if not (asked.models.directory / model).is_dir():
        pytest.skip(f"{model} is not in {CACHE}")
    body = {"inputs": [{"data": base64.b64encode(data).decode()}]}

    status, code, message = asked.refused(run(model), body)

    assert (status, code) == (400, "invalid"), message
    asked.works()


def test_nan_goes_in_and_comes_out_and_touches_nobody_else(asked: Asked) -> None:
    body = tensor(np.full((1, 8), np.nan, np.float32))
    body["inputs"] += tensor(ROW)["inputs"]

    items = asked.stack.ok("POST", run(LINEAR), body)["items"]

    found = [np.frombuffer(base64.b64decode(i["tensors"][0]["data"]), "<f4") for i in items]
    assert np.isnan(found[0]).all()
    assert np.isfinite(found[1]).all()


def test_an_over_long_text_is_cut_and_counted(asked: Asked) -> None:
    body = {"texts": ["short", "word " * 50_000], "model": MINILM}

    reply = asked.stack.ok("POST", EMBED, body)

    assert (reply["count"], reply["truncated"]) == (2, 1)
    vectors = np.frombuffer(base64.b64decode(reply["vectors"]), "<f4").reshape(2, -1)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_what_a_device_cannot_hold_is_refused_and_the_device_goes_on(asked: Asked) -> None:
    size = np.array([1 << 48], np.int64)

    status, code, message = asked.refused(run(BALLOON), tensor(size, name="size"))

    assert (status, code) == (500, "failed"), message
    asked.works()


@pytest.mark.parametrize("how", ["truncated", "corrupt", "removed"])
def test_a_damaged_file_is_said_to_be_damaged(asked: Asked, how: str) -> None:
    name = VICTIMS[("truncated", "corrupt", "removed").index(how)]
    file = asked.models.directory / name / "model.onnx"
    whole = file.read_bytes()
    if how == "removed":
        file.unlink()
    else:
        rest = b"" if how == "truncated" else bytes(len(whole) - 100)
        file.write_bytes(whole[:100] + rest)

    status, code, message = asked.refused(run(name), tensor(ROW))

    expected = (404, "not_found") if how == "removed" else (409, "model_corrupt")
    assert (status, code) == expected
    assert name in message
    file.write_bytes(whole)
    asked.stack.ok("POST", run(name), tensor(ROW))


def test_a_deadline_is_an_answer(asked: Asked) -> None:
    question = asked.models.timed(0.005)

    status, code, message = asked.refused(question.path, question.body)

    assert (status, code) == (504, "timed_out")
    assert "not computed in time" in message or "not begun" in message
    asked.works()


def test_one_and_many_are_refused_alike_when_the_queue_is_full(fetched_model: Path) -> None:
    with (
        Stack(env={"STACKCTL_INFERENCE__MAX_QUEUED_TEXTS": "300"}) as stack,
        ThreadPoolExecutor(5) as threads,
    ):
        # A longer list would go in windows; the last 37 are for users who have none queued.
        backlog = [{"texts": ["word " * 250] * count} for count in (56, 56, 56, 56, 39)]
        filling = [
            threads.submit(stack.request, "POST", EMBED, texts, timeout_s=120) for texts in backlog
        ]
        while not any(d["queued"] >= 263 for d in stack.ok("GET", "/v1/devices")["items"]):
            assert not any(request.done() for request in filling)

        for texts in (["one"], ["many"] * 200):
            status, reply = stack.request("POST", EMBED, {"texts": texts})
            assert (status, reply["error"]["code"]) == (429, "overloaded")
            assert "263 inputs are queued" in reply["error"]["message"]

        assert [request.result()[0] for request in filling] == [200] * 5


def test_models_share_a_request_stream_in_order(asked: Asked) -> None:
    for which in ([5, 5, 9], list(range(60)), [0]):
        question = asked.models.embedding(STATIC, which)
        assert question.check(asked.stack.ok("POST", question.path, question.body)) == ""


def test_a_question_is_let_in_beside_lists_that_fill_their_part(fetched_model: Path) -> None:
    """Six callers keep sending lists of batch priority, as long as one may be at once."""
    with (
        Stack(env={"STACKCTL_INFERENCE__MAX_QUEUED_TEXTS": "400"}) as stack,
        ThreadPoolExecutor(6) as threads,
    ):
        stack.ok("POST", EMBED, {"texts": ["warm"]})
        over = threading.Event()
        refused = threading.Event()

        def bulk() -> set[int]:
            lists, seen = {"texts": ["word " * 50] * 75, "priority": "batch"}, set[int]()
            while not over.is_set():
                seen.add(stack.request("POST", EMBED, lists, timeout_s=120)[0])
                if 429 in seen:
                    refused.set()
            return seen

        callers = [threads.submit(bulk) for _ in range(6)]
        try:
            assert refused.wait(60)
            asked = [stack.request("POST", EMBED, {"texts": ["why"]})[0] for _ in range(20)]
        finally:
            over.set()

        assert asked == [200] * 20
        assert set.union(*(caller.result() for caller in callers)) == {200, 429}
