"""The worker as a process of its own, spoken to as the daemon does."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tiny_model import POISON, TABLE, write_tokenizer
from tiny_seq2seq import write_graphs
from worker_talk import WAIT_S, loading, working

from stackctl_daemon.inference import protocol as wire


def test_texts_become_vectors_and_a_closed_socket_ends_it(tmp_path: Path) -> None:
    core = min(os.sched_getaffinity(0))
    with working(cores=str(core)) as talk:
        ready, _ = talk.read()
        assert ready == wire.Ready(talk.process.pid)
        assert os.sched_getaffinity(talk.process.pid) == {core}
        talk.send(
            loading(tmp_path),
            wire.Run(1, "tiny-1", "batch", texts=["river copper", "orchard lantern"]),
        )

        loaded, _ = talk.read()
        assert isinstance(loaded, wire.Loaded)
        assert (loaded.key, loaded.execution_provider) == ("tiny-1", "CPUExecutionProvider")
        answer, vectors = talk.answer()

        assert isinstance(answer, wire.Answer)
        assert (answer.id, answer.tokens, answer.truncated) == (1, 4, 0)
        np.testing.assert_allclose(
            vectors, [TABLE[[1, 2]].mean(0), TABLE[[4, 3]].mean(0)], atol=1e-6
        )
        assert talk.end() == 0


def test_a_bad_text_is_found_among_good_ones(tmp_path: Path) -> None:
    with working() as talk:
        good = [wire.Run(n, "tiny-1", "batch", texts=["river lantern"]) for n in range(1, 5)]
        bad = wire.Run(9, "tiny-1", "batch", texts=["river", POISON])
        talk.send(loading(tmp_path), *good[:2], bad, *good[2:])

        answers = {a.id: a for a, _ in (talk.answer() for _ in range(5))}

        refused = answers.pop(9)
        assert isinstance(refused, wire.Refused)
        assert "ONNX Runtime" in refused.message
        assert not refused.device_fault
        assert sorted(answers) == [1, 2, 3, 4]
        assert {type(answer) for answer in answers.values()} == {wire.Answer}


def test_an_entry_with_the_wrong_width_is_refused_with_both(tmp_path: Path) -> None:
    with working() as talk:
        talk.send(loading(tmp_path, dimensions=7), wire.Run(1, "tiny-1", "batch", texts=["river"]))

        refused, _ = talk.answer()

        assert isinstance(refused, wire.Refused)
        assert refused.message == 'model "tiny" gave vectors of 4, its entry says 7'


@pytest.mark.parametrize("missing", ["graph", "tokenizer"])
def test_a_model_that_cannot_be_opened_is_refused_and_the_worker_lives(
    tmp_path: Path, missing: str
) -> None:
    load = loading(tmp_path)
    Path(getattr(load, missing)).write_bytes(b"damaged")
    with working() as talk:
        talk.send(load, wire.Run(1, "tiny-1", "batch", texts=["river"]))
        refused, _ = talk.answer()
        talk.send(loading(tmp_path, key="tiny-2"), wire.Run(2, "tiny-2", "batch", texts=["river"]))
        done, vectors = talk.answer()

    assert isinstance(refused, wire.Refused)
    assert not refused.device_fault
    assert done.id == 2
    np.testing.assert_allclose(vectors, TABLE[[1]], atol=1e-6)


def test_a_forgotten_request_is_not_answered(tmp_path: Path) -> None:
    with working() as talk:
        many = wire.Run(1, "tiny-1", "batch", texts=["river copper lantern"] * 500)
        # Unknown ids are what a request that was answered meanwhile leaves.
        talk.send(loading(tmp_path), many, wire.Forget(1), wire.Forget(77))
        talk.send(wire.Run(2, "tiny-1", "interactive", texts=["river"]))

        answer, _ = talk.answer()

        assert answer.id == 2


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="a GPU here would be used")
def test_a_device_that_is_not_there_is_the_devices_fault(tmp_path: Path) -> None:
    with working("cuda") as talk:
        talk.send(loading(tmp_path), wire.Run(1, "tiny-1", "batch", texts=["river"]))

        refused, _ = talk.answer()

    assert isinstance(refused, wire.Refused)
    assert refused.device_fault
    assert "CPUExecutionProvider" in refused.message


def test_a_worker_whose_daemon_went_ends_at_once() -> None:
    with working(parent=os.getppid()) as talk:
        assert talk.process.wait(WAIT_S) == 1


def test_a_model_is_closed_once_nobody_waits_for_it(tmp_path: Path) -> None:
    with working() as talk:
        talk.send(
            loading(tmp_path),
            wire.Run(1, "tiny-1", "batch", texts=["river copper lantern"] * 200),
            wire.Unload("tiny-1"),
            wire.Run(2, "tiny-1", "batch", texts=["river"]),
        )
        first, vectors = talk.answer()
        assert (first.id, len(vectors)) == (1, 200)
        heard = [talk.read()[0] for _ in range(3)]

    # Whether the second was let in depends on which came first; it is answered either way.
    assert any(isinstance(r, wire.Unloaded) and r.key == "tiny-1" for r in heard)
    assert any(isinstance(r, wire.Answer | wire.Refused) and r.id == 2 for r in heard)


def test_what_an_entry_was_is_closed_when_it_is_again_what_it_was_before(tmp_path: Path) -> None:
    """Both are busy the while."""
    first = loading(tmp_path, key="tiny@a")
    second = msgspec.structs.replace(first, key="tiny@b")
    texts = ["river copper lantern orchard"] * 400
    runs = [wire.Run(n, f"tiny@{it}", "batch", texts=texts) for n, it in enumerate("aba")]
    with working() as talk:
        talk.send(first, runs[0], second, runs[1], first, runs[2])
        heard: list[wire.Report] = []
        while not any(isinstance(report, wire.Unloaded) for report in heard):
            heard.append(talk.read()[0])
        while sum(isinstance(report, wire.Answer) for report in heard) < 3:
            heard.append(talk.read()[0])
        talk.send(wire.Run(4, "tiny@b", "batch", texts=["river"]))
        refused, _ = talk.answer()

    assert [report.key for report in heard if isinstance(report, wire.Unloaded)] == ["tiny@b"]
    assert isinstance(refused, wire.Refused)
    assert refused.message == "tiny@b is not loaded"


def test_what_nobody_waits_for_any_more_is_not_begun(tmp_path: Path) -> None:
    with working() as talk:
        talk.send(
            loading(tmp_path),
            wire.Run(1, "tiny-1", "batch", texts=["river"], deadline=1e-9),
        )

        refused, _ = talk.answer()

    assert isinstance(refused, wire.Refused)
    assert refused.code == "timed_out"


@pytest.mark.parametrize("backlog", ["interactive", "batch"])
def test_a_model_with_a_backlog_does_not_keep_another_waiting(
    tmp_path: Path, backlog: wire.Priority
) -> None:
    other = msgspec.structs.replace(loading(tmp_path), key="other-1", name="other")
    many = wire.Run(1, "tiny-1", backlog, texts=["river copper lantern"] * 2000)
    one = wire.Run(2, "other-1", backlog, texts=["orchard"])
    with working() as talk:
        talk.send(loading(tmp_path), other, many, one)

        order = [talk.answer()[0].id for _ in range(2)]

    assert order == [2, 1]


def test_batch_work_has_turns_before_an_interactive_backlog_ends(tmp_path: Path) -> None:
    many = wire.Run(1, "tiny-1", "interactive", texts=["river copper lantern"] * 2000)
    late = wire.Run(2, "tiny-1", "batch", texts=["orchard"])
    with working() as talk:
        talk.send(loading(tmp_path), many, late)

        order = [talk.answer()[0].id for _ in range(2)]

    assert order == [2, 1]


def test_steps_of_a_stream_and_batches_take_turns(tmp_path: Path) -> None:
    """A stream is not behind another model's batches, nor these behind it."""
    (tmp_path / "titles").mkdir()
    write_graphs(tmp_path / "titles")
    words = str(write_tokenizer(tmp_path / "titles"))
    options = {"start": "[UNK]", "end": "orchard", "max_new_tokens": 4}
    titles = wire.Load(
        "titles-1", "titles", "seq2seq", str(tmp_path / "titles"), "", words, 8, 0, options
    )
    many = wire.Run(1, "tiny-1", "interactive", texts=["river copper lantern"] * 2000)
    long = wire.Run(2, "titles-1", "interactive", texts=["copper"] * 300)
    streamed = wire.Run(3, "titles-1", "interactive", texts=["copper"], stream=True)
    with working() as talk:
        talk.send(loading(tmp_path), titles, many, long, streamed)
        heard: list[wire.Report] = []
        while sum(isinstance(report, wire.Answer) for report in heard) < 3:
            heard.append(talk.read()[0])
            assert not isinstance(heard[-1], wire.Refused)

    batches = [i for i, r in enumerate(heard) if isinstance(r, wire.Computed) and r.name == "tiny"]
    steps = [i for i, r in enumerate(heard) if isinstance(r, wire.Computed) and r.name == "titles"]
    assert batches[0] < steps[len(steps) // 2]
    assert steps[0] < batches[len(batches) // 2]
