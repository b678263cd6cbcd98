from __future__ import annotations

import pytest

from stackctl.contracts.model import ModelEntry
from stackctl.errors import Overloaded
from stackctl_daemon.inference.limits import Limits, ModelLimits, Waiting


def entry(**given: int) -> ModelEntry:
    return ModelEntry(
        name="m", task="tensor", summary="", licence="", architecture="files", files=[], **given
    )


def test_what_a_load_says_wins_over_the_entry_until_it_is_forgotten() -> None:
    limits = ModelLimits()
    assert limits.of("m") == Limits(0, 0.0)
    limits.learn(entry(max_queued=3))
    assert limits.of("m") == Limits(3, 0.0)
    limits.change("m", max_queued=None, timeout_s=1.5)
    assert limits.of("m") == Limits(3, 1.5)
    limits.change("m", max_queued=0, timeout_s=None)
    assert limits.of("m") == Limits(0, 1.5)

    limits.forget("m")
    assert limits.of("m") == Limits(3, 0.0)


def test_a_load_that_says_nothing_leaves_the_entry_in_force() -> None:
    limits = ModelLimits()
    limits.learn(entry(max_queued=3))
    limits.change("m", max_queued=None, timeout_s=None)
    limits.learn(entry(max_queued=5))

    assert limits.of("m") == Limits(5, 0.0)


def test_inputs_above_the_limit_are_refused_and_not_counted() -> None:
    waiting = Waiting()
    waiting.enter("m", 3, limit=4, wait_s=float)
    with pytest.raises(Overloaded) as caught:
        waiting.enter("m", 2, limit=4, wait_s=lambda short: 0.54 * short)
    waiting.enter("m", 1, limit=4, wait_s=float)
    waiting.enter("other", 9, limit=0, wait_s=float)
    waiting.leave("m", 4)
    waiting.enter("m", 4, limit=4, wait_s=float)

    assert caught.value.retry_after_s == 0.5
    assert caught.value.message == (
        "3 inputs of m are queued, 2 more are above its limit of 4 (stackctl models load m"
        " --max-queued)"
    )
