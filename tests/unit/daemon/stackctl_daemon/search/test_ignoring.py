"""Ignore patterns: the same verdicts as pathspec's own, and none that takes years."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from types import FrameType

import pathspec
import pytest

from stackctl_daemon.search.ignoring import MAX_PATTERNS, compiled

PIECES = ("**", "**", "*", "?a", "a*b", "*a*", "a*b*a", "*?b*", "a**b", "[ab]*a", "a[!b]*", "ab")


@pytest.fixture
def limit() -> Iterator[None]:
    """End a match that hangs: one in compiled code looks for signals now and then."""

    def raised(_number: int, _frame: FrameType | None) -> None:
        raise AssertionError("a pattern took more than 20 s")

    old = signal.signal(signal.SIGALRM, raised)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, old)


@pytest.mark.usefixtures("limit")
@pytest.mark.parametrize("path", ["a" * 255, "a/" * 2000 + "c", ("a" * 100 + "/") * 40 + "c"])
@pytest.mark.parametrize(
    "pattern",
    ["*a" * 40 + "*b", "?*" * 40 + "b", "**/a/" * 40 + "b", "**/*a*a*a/" * 30 + "*a*b"],
)
def test_a_pattern_made_to_hang_is_decided(pattern: str, path: str) -> None:
    assert compiled([pattern]).check_file(path).include is None


def test_every_verdict_is_that_of_pathspec() -> None:
    chance = random.Random(7)
    for _ in range(2000):
        pieces = "/".join(chance.choices(PIECES, k=chance.randint(1, 5)))
        pattern = chance.choice(("", "!", "/")) + pieces + chance.choice(("", "/"))
        lines = ["**", pattern] if pattern.startswith("!") else [pattern]
        ours, theirs = compiled(lines), pathspec.GitIgnoreSpec.from_lines(lines)
        for _ in range(10):
            names = ("".join(chance.choices("ab", k=chance.randint(1, 4))) for _ in range(4))
            path = "/".join([*names][: chance.randint(1, 4)]) + chance.choice(("", "/"))
            verdicts = (ours.check_file(path).include, theirs.check_file(path).include)
            assert verdicts[0] == verdicts[1], (pattern, path)


@pytest.mark.parametrize("line", ["!", "\\", "[z-a]"])
def test_a_line_that_is_no_pattern_leaves_the_others_in_force(line: str) -> None:
    assert compiled(["secret.txt", line]).check_file("secret.txt").include


def test_patterns_past_the_limit_are_not_kept() -> None:
    assert len(compiled(f"{n}" for n in range(MAX_PATTERNS + 5))) == MAX_PATTERNS
