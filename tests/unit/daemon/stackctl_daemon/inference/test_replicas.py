"""Several batches at once, in a worker of its own, spoken to as the daemon does."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from tiny_model import POISON, TABLE, write_tokenizer
from tiny_seq2seq import write_graphs
from worker_talk import Talk, loading, working

from stackctl_daemon.inference import protocol as wire

WORDS = ["river", "copper", "lantern", "orchard"]


def asking(count: int, *, first: int = 1) -> list[wire.Run]:
    """Requests whose answers differ."""
    return [
        wire.Run(n, "tiny-1", ("batch", "interactive")[n % 2], texts=texts_of(n))
        for n in range(first, first + count)
    ]


def places(number: int) -> list[int]:
    return [number % 4, number // 4 % 4, number // 16 % 4]


def texts_of(number: int) -> list[str]:
    """Of one length: the tiny graph's mean counts padding."""
    words = [WORDS[place] for place in places(number)]
    return [" ".join(words), " ".join(words[:1] * 3)]


def expected(number: int) -> np.ndarray:
    rows = TABLE[1:][places(number)]
    return np.stack([rows.mean(0), rows[0]])


def check_all(talk: Talk, numbers: range) -> None:
    left = set(numbers)
    while left:
        answer, vectors = talk.answer()
        assert isinstance(answer, wire.Answer), answer
        np.testing.assert_allclose(vectors, expected(answer.id), atol=1e-6)
        left.remove(answer.id)


def told(talk: Talk, kind: type[wire.Report]) -> wire.Report:
    while not isinstance(report := talk.read()[0], kind):
        pass
    return report


def test_every_request_gets_its_own_answer(tmp_path: Path) -> None:
    with working() as talk:
        talk.send(loading(tmp_path, replicas=4), *asking(300))
        loaded = told(talk, wire.Loaded)

        assert isinstance(loaded, wire.Loaded)
        assert loaded.replicas == 4
        check_all(talk, range(1, 301))
        assert talk.end() == 0


def test_a_bad_text_is_found_among_good_ones(tmp_path: Path) -> None:
    with working() as talk:
        good = asking(40)
        bad = wire.Run(99, "tiny-1", "batch", texts=["river", POISON])
        talk.send(loading(tmp_path, replicas=3), *good[:20], bad, *good[20:])

        answers = {a.id: a for a, _ in (talk.answer() for _ in range(41))}

    refused = answers.pop(99)
    assert isinstance(refused, wire.Refused)
    assert "ONNX Runtime" in refused.message
    assert {type(answer) for answer in answers.values()} == {wire.Answer}


@pytest.mark.parametrize(("before", "after"), [(1, 4), (4, 1), (2, 3)])
def test_another_number_of_replicas_leaves_no_request_unanswered(
    tmp_path: Path, before: int, after: int
) -> None:
    load = loading(tmp_path, replicas=before)
    with working() as talk:
        talk.send(load, *asking(150))
        talk.send(msgspec.structs.replace(load, replicas=after), *asking(150, first=151))
        check_all(talk, range(1, 301))
        talk.send(msgspec.structs.replace(load, replicas=after), wire.Unload("tiny-1"))

        found = told(talk, wire.Loaded)
        assert isinstance(found, wire.Loaded)
        assert found.replicas == after
        assert isinstance(told(talk, wire.Unloaded), wire.Unloaded)


def test_another_number_of_replicas_brings_its_budget(tmp_path: Path) -> None:
    first = loading(tmp_path)
    again = msgspec.structs.replace(first, replicas=2, budget=400)
    with working(batch_tokens=16) as talk:
        talk.send(first, again, wire.Run(1, "tiny-1", "batch", texts=[" ".join(WORDS)] * 400))
        sizes = set()
        while not isinstance(report := talk.read()[0], wire.Answer):
            if isinstance(report, wire.Computed):
                sizes.add(report.items)

    assert max(sizes) == 100


def test_replicas_that_cannot_be_had_leave_the_model_as_it_was(tmp_path: Path) -> None:
    load = loading(tmp_path, replicas=2)
    with working() as talk:
        talk.send(load)
        told(talk, wire.Loaded)
        Path(load.graph).write_bytes(b"damaged")
        talk.send(msgspec.structs.replace(load, replicas=4), *asking(8))

        failed = told(talk, wire.LoadFailed)
        assert isinstance(failed, wire.LoadFailed)
        assert failed.kept
        assert "cannot open" in failed.message
        check_all(talk, range(1, 9))


def test_batch_work_has_its_turns_where_another_model_has_more_replicas(tmp_path: Path) -> None:
    """While its model computes all that it may, its lists wait on."""
    other = loading(tmp_path, key="other-1", replicas=2, name="other")
    bulk = [wire.Run(10_000 + n, "tiny-1", "batch", texts=[*WORDS]) for n in range(30)]
    calm = [wire.Run(n, "tiny-1", "interactive", texts=[*WORDS]) for n in range(1500)]
    with working() as talk:
        talk.send(other, loading(tmp_path), *bulk, *calm)
        order = [talk.answer()[0].id for _ in range(1530)]

    places = [place for place, number in enumerate(order) if number >= 10_000]
    assert len([place for place in places if place < 1000]) >= 20


def test_a_forgotten_request_is_not_answered(tmp_path: Path) -> None:
    with working() as talk:
        many = wire.Run(1, "tiny-1", "batch", texts=["river copper lantern"] * 500)
        talk.send(loading(tmp_path, replicas=2), many, wire.Forget(1), *asking(1, first=2))

        check_all(talk, range(2, 3))


def test_a_model_is_closed_once_its_batches_have_ended(tmp_path: Path) -> None:
    with working() as talk:
        many = wire.Run(1, "tiny-1", "batch", texts=["river copper lantern"] * 400)
        talk.send(loading(tmp_path, replicas=4), many)
        told(talk, wire.Loaded)
        talk.send(wire.Unload("tiny-1"))
        kinds = []
        while not kinds or kinds[-1] is not wire.Unloaded:
            kinds.append(type(talk.read()[0]))

        assert kinds.count(wire.Answer) == 1
        talk.send(loading(tmp_path), *asking(4))  # and without replicas again
        check_all(talk, range(1, 5))


def test_a_calibration_runs_while_nothing_else_does(tmp_path: Path) -> None:
    with working() as talk:
        talk.send(loading(tmp_path, replicas=2), wire.Tune("tiny-1", 0.2), *asking(50))
        seen: list[wire.Report] = []
        while not any(isinstance(report, wire.Tuned) for report in seen):
            seen.append(talk.read()[0])
        answered = [report for report in seen if isinstance(report, wire.Answer)]
        tuned = seen[-1]
        assert isinstance(tuned, wire.Tuned)
        assert tuned.budget > 0
        talk.send(*asking(10, first=100))
        while len(answered) < 60:
            report, _ = talk.answer()
            assert isinstance(report, wire.Answer)
            answered.append(report)


def test_a_target_of_latency_is_reported_on(tmp_path: Path) -> None:
    load = loading(tmp_path, replicas=2)
    with working() as talk:
        talk.send(load, msgspec.structs.replace(load, latency_target_s=0.25))
        number, paced = 0, None
        while paced is None:
            number += 1
            talk.send(*asking(1, first=number))
            while not isinstance(report := talk.read()[0], wire.Answer):
                paced = report if isinstance(report, wire.Paced) else paced

        assert paced.key == "tiny-1"
        assert paced.budget > 0
        assert 0 < paced.p95_s < 0.25


def generating(directory: Path, replicas: int) -> wire.Load:
    write_graphs(directory)
    tokenizer, options = str(write_tokenizer(directory)), {"start": "[UNK]", "end": "orchard"}
    return wire.Load(
        "gen-1", "gen", "seq2seq", str(directory), "", tokenizer, 8, 0, options, replicas=replicas
    )


def test_streams_run_side_by_side_and_each_in_order(tmp_path: Path) -> None:
    with working() as talk:
        talk.send(generating(tmp_path, 2), loading(tmp_path))
        wished = {"max_new_tokens": 30}
        for number in range(1, 6):
            talk.send(
                wire.Run(number, "gen-1", "batch", ["copper"], options=wished, stream=True),
                *asking(1, first=100 + number),
            )
        talk.send(wire.Forget(3))
        streamed: dict[int, list[str]] = {}
        ended: dict[int, str] = {}
        batches = 0
        while len(ended.keys() - {3}) < 4 or batches < 5:
            report, _ = talk.read()
            if isinstance(report, wire.Part):
                assert report.id not in ended
                streamed.setdefault(report.id, []).append(report.value["text"])
            elif isinstance(report, wire.Answer) and report.id < 100:
                ended[report.id] = report.values[0]["text"]
            batches += isinstance(report, wire.Answer) and report.id > 100

    assert len(set(ended.values())) == 1
    assert all("".join(streamed[number]) == text for number, text in ended.items())
    assert len(streamed[1]) > 10
