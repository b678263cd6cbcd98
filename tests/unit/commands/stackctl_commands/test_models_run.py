"""``stackctl models run`` against a scripted server."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from control_server import MODEL, ControlServer, error, job, script

from stackctl.cli import model_run
from stackctl.cli.context import Here
from stackctl.cli.output import Output
from stackctl.cli.run import run
from stackctl.errors import Invalid
from stackctl_commands.index import INDEX

MODELS = [
    MODEL,
    {**MODEL, "name": "titles", "task": "generation", "aliases": []},
    {**MODEL, "name": "ranker", "task": "rerank", "aliases": []},
    {**MODEL, "name": "reader", "task": "ocr", "aliases": [], "state": "absent"},
    {**MODEL, "name": "listener", "task": "transcription", "aliases": [], "state": "corrupt"},
]
FIGURES = {
    "tokens": 4,
    "truncated": 0,
    "device": "cpu:0",
    "execution_provider": "CPUExecutionProvider",
    "queue_s": 0.0,
    "batch_s": 0.0,
    "compute_s": 0.01,
}


def reply(model: str, task: str, *items: Any) -> Any:
    return {"model": model, "task": task, "items": list(items), **FIGURES}


def vector(data: bytes) -> Any:
    tensor = {
        "name": "embedding",
        "dtype": "<f4",
        "shape": [len(data) // 4],
        "data": base64.b64encode(data).decode(),
    }
    return {"value": None, "tensors": [tensor]}


ONE = bytes(4) + b"\x00\x00\x80?"  # 0 and 1


@pytest.fixture
def server(own_home: Path) -> Iterator[ControlServer]:
    with ControlServer(own_home / "run" / "stackctld.sock") as running:
        (own_home / "run").chmod(0o700)
        script(running)
        running.routes["GET", "/v1/models"] = {"items": MODELS}
        running.routes |= {("GET", f"/v1/models/{model['name']}"): model for model in MODELS}
        running.routes["GET", "/v1/models/all-minilm"] = (
            404,
            error("not_found", 'no model "all-minilm" in the catalogue', "stackctl models list"),
        )
        yield running


@pytest.fixture
def cli(server: ControlServer, capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*arguments: str) -> tuple[int, str, str]:
        status = run(("models", "run", *arguments), INDEX)
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return call


def asked(server: ControlServer) -> Any:
    return server.seen[-1][2]


def test_texts_and_options_reach_the_model(
    server: ControlServer, cli: Any, tmp_path: Path
) -> None:
    given = reply("all-minilm-l6-v2", "embedding", vector(ONE))
    server.routes["POST", "/v1/models/minilm/run"] = given

    status, out, err = cli("minilm", "a", "-o", "dimensions=2", "--timeout", "9")

    assert (status, asked(server)) == (
        0,
        {"inputs": [{"text": "a"}], "options": {"dimensions": 2}, "timeout_s": 9.0},
    )
    assert "+0.000 +1.000" in out
    assert "4 tokens" in err
    assert cli("minilm", "a", "--plain")[1] == "0.0\t1.0\n"
    assert json.loads(cli("minilm", "a", "--json")[1])["items"][0]["vector"] == [0.0, 1.0]
    assert cli("minilm", "a", "--quiet")[1] == "0.0 1.0\n"
    file = tmp_path / "v.npy"
    assert "wrote 1 x 2 <f4" in cli("minilm", "a", "--output", str(file))[2]
    assert file.read_bytes().startswith(b"\x93NUMPY")


def test_documents_are_ranked_for_the_query(server: ControlServer, cli: Any) -> None:
    items = [{"value": {"score": score}, "tensors": []} for score in (0.1, 0.9)]
    server.routes["POST", "/v1/models/ranker/run"] = reply("ranker", "rerank", *items)

    _, out, _ = cli("ranker", "--query", "q", "worse", "better", "--plain")

    assert asked(server)["options"] == {"query": "q"}
    assert out == "1\t0.9\t1\tbetter\n2\t0.1\t0\tworse\n"


def test_a_streamed_text_is_printed_as_it_comes_about(server: ControlServer, cli: Any) -> None:
    value = {"text": "Read it", "tokens": 2, "finish_reason": "end"}
    whole = reply("titles", "generation", {"value": value, "tensors": []})
    server.routes["POST", "/v1/models/titles/run"] = [
        {"value": {"text": "Read"}, "reply": None},
        {"value": {"text": " it"}, "reply": None},
        {"value": None, "reply": whole},
    ]

    status, out, err = cli("titles", "some text", "--stream")

    assert (status, out, asked(server)["stream"]) == (0, "Read it\n", True)
    assert "titles on cpu:0" in err
    lines = cli("titles", "some text", "--stream", "--json")[1].splitlines()
    assert json.loads(lines[0]) == {"value": {"text": "Read"}}


def test_a_stream_that_breaks_off_is_an_error(server: ControlServer, cli: Any) -> None:
    server.routes["POST", "/v1/models/titles/run"] = [
        {"value": {"text": "Read"}, "reply": None},
        error("worker_crashed", "the text ends every worker"),
    ]

    status, out, err = cli("titles", "x", "--stream")

    assert (status, out) == (1, "Read\n")
    assert err.startswith("error: the text ends")


@pytest.mark.parametrize(
    ("arguments", "status", "problem", "fix"),
    [
        (["reader", "x.png"], 4, 'model "reader" is not on this disk', "models pull reader"),
        (["listener", "x.wav"], 1, "are damaged", "models pull listener"),
        (["all-minilm", "x"], 4, 'did you mean "all-minilm-l6-v2"?', "models list"),
        (["ranker", "a"], 2, "has none", "models run ranker --query"),
        (["minilm", "a", "--query", "q"], 2, "takes no --query", "models run minilm 'a text'"),
        (["minilm", "a", "-o", "b"], 2, 'option "b" is no key=value', "models run --help"),
        (["minilm", "a", "--stream"], 2, "gives its answer whole", "models run minilm"),
        (["titles", "a", "--stream", "--plain"], 2, "--stream goes with", "models run titles"),
        (["minilm", "a", "--output", "v.csv"], 2, "neither .npy nor .json", "results.npy"),
        (["minilm", "@nowhere"], 4, 'no file or folder "nowhere"', "ls -la"),
    ],
)
def test_a_mistake_says_what_to_run(
    cli: Any, arguments: list[str], status: int, problem: str, fix: str
) -> None:
    found, out, err = cli(*arguments)

    assert (found, out) == (status, "")
    assert problem in err
    assert fix in err.rpartition("fix: ")[2]


def test_pull_fetches_what_is_not_here_first(
    server: ControlServer, cli: Any, tmp_path: Path
) -> None:
    page = tmp_path / "page.png"
    page.write_bytes(b"\x89PNG")
    server.routes["POST", "/v1/models/reader/pull"] = (202, job("running"))
    server.routes["GET", "/v1/jobs/j1/events"] = [job()]
    value = {"text": "a line", "lines": []}
    server.routes["POST", "/v1/models/reader/run"] = reply(
        "reader", "ocr", {"value": value, "tensors": []}
    )

    status, out, _ = cli("reader", str(page), "--pull", "--quiet")

    assert (status, out) == (0, "a line\n")


def test_a_terminal_streams_unless_it_is_told_not_to() -> None:
    terminal, pipe = Here(Output(width=80)), Here(Output(width=None))

    def decide(here: Here, task: str, wanted: bool | None = None, file: str = "") -> bool:
        return model_run.streams(here, task, wanted=wanted, output_file=file)

    assert decide(terminal, "generation")
    assert decide(terminal, "transcription")
    assert not decide(terminal, "ocr")
    assert not decide(terminal, "generation", False)
    assert not decide(terminal, "generation", file="x.json")
    assert not decide(pipe, "generation")
    with pytest.raises(Invalid, match="whole"):
        decide(terminal, "ocr", True)


def test_default_means_the_configured_model(server: ControlServer, cli: Any) -> None:
    given = reply("all-minilm-l6-v2", "embedding", vector(ONE))
    server.routes["POST", "/v1/models/default/run"] = given

    assert cli("default", "a", "--plain")[1] == "0.0\t1.0\n"


def test_bench_measures_through_the_daemon(
    server: ControlServer, capsys: pytest.CaptureFixture[str]
) -> None:
    given = reply("all-minilm-l6-v2", "embedding", vector(ONE))
    server.routes["POST", "/v1/models/all-minilm-l6-v2/run"] = given

    arguments = ("models", "bench", "minilm", "--concurrency", "1,2", "--seconds", "0.1")
    status = run(arguments, INDEX)
    shown = capsys.readouterr()
    run((*arguments, "--json"), INDEX)
    items = json.loads(capsys.readouterr().out)["items"]

    assert status == 0
    assert "CPUExecutionProvider" in shown.out
    assert [item["concurrency"] for item in items] == [1, 2]
    assert all(item["requests"] > 0 for item in items)


def test_a_refusal_names_the_file_and_not_its_number(
    server: ControlServer, cli: Any, tmp_path: Path
) -> None:
    sound = tmp_path / "a sound.wav"
    sound.write_bytes(b"RIFF")
    server.routes["GET", "/v1/models/listener"] = {**MODELS[4], "state": "present"}
    refusal = error("invalid", "input 0 is no sound", "ffmpeg -i INPUT out.wav")
    server.routes["POST", "/v1/models/listener/run"] = (400, refusal)

    status, _, err = cli("listener", str(sound))

    assert status == 2
    assert err == f"error: \"{sound}\" is no sound\nfix: ffmpeg -i '{sound}' out.wav\n"


def test_a_refusal_without_a_fix_gets_an_example(server: ControlServer, cli: Any) -> None:
    server.routes["POST", "/v1/models/minilm/run"] = (400, error("invalid", "input 0 is bad"))

    status, _, err = cli("minilm", "a text")

    assert status == 2
    assert err == (
        "error: input 0 is bad\nfix: stackctl models run minilm 'a text' 'another text'\n"
    )
