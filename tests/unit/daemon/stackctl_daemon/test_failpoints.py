from __future__ import annotations

import ast
import errno
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from repository import PACKAGES

from stackctl.errors import BadConfig
from stackctl_daemon import failpoints
from stackctl_daemon.failpoints import POINTS, failpoint

WRITE = "segment.append.before_write"
SYNC = "segment.append.before_fsync"
STRUCK = """
import os, sys
from stackctl_daemon import failpoints
fd = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
failpoints.arm(sys.argv[2])
failpoints.failpoint("segment.append.before_write", fd, b"0123456789", 3)
print("alive")
"""


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    failpoints.arm("")


def called() -> Counter[str]:
    """Give the names in the daemon's calls of `failpoint`, by how often they stand there."""
    return Counter(
        ast.literal_eval(node.args[0])
        for path in PACKAGES["stackctl_daemon"].rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "failpoint"
    )


def test_every_name_in_the_code_is_registered_and_stands_there_once() -> None:
    assert called() == dict.fromkeys(POINTS, 1)


def test_nothing_happens_where_nothing_is_armed() -> None:
    failpoints.arm("")

    failpoint(SYNC)
    failpoint("no.such.point")  # the name is not even looked at


def test_an_error_is_raised_at_its_pass_and_never_again() -> None:
    failpoints.arm(f"{SYNC}=error:ENOSPC@2; {WRITE}=error:EIO@9")

    failpoint(SYNC)
    with pytest.raises(OSError, match="No space left") as caught:
        failpoint(SYNC)
    failpoint(SYNC)
    assert caught.value.errno == errno.ENOSPC


def test_an_armed_process_refuses_a_place_that_is_not_registered() -> None:
    failpoints.arm(f"{SYNC}=error:EIO@9")

    with pytest.raises(AssertionError, match=r"no\.such\.point"):
        failpoint("no.such.point")


def test_an_error_at_a_write_leaves_half_of_it_as_a_full_disk_does(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "f", os.O_CREAT | os.O_RDWR)
    failpoints.arm(f"{WRITE}=error:ENOSPC")

    with pytest.raises(OSError, match="No space left"):
        failpoint(WRITE, fd, b"0123456789", 0)
    assert os.pread(fd, 99, 0) == b"01234"
    os.close(fd)


@pytest.mark.parametrize(
    ("action", "left"),
    [("kill", b""), ("torn", bytes(3) + b"01234"), ("torn:2", bytes(3) + b"01")],
)
def test_kill_and_torn_end_the_process_with_what_was_written(
    tmp_path: Path, action: str, left: bytes
) -> None:
    path = tmp_path / "f"
    done = subprocess.run(
        [sys.executable, "-c", STRUCK, str(path), f"{WRITE}={action}"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == -signal.SIGKILL
    assert f"failpoint_struck name={WRITE} action={action[:4]}" in done.stderr
    assert path.read_bytes() == left


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("segment.append=kill", 'no failpoint "segment.append"'),
        (f"{SYNC}", "expected one of: kill, error"),
        (f"{SYNC}=torn", "expected one of: kill, error"),
        (f"{SYNC}=error", "such as error:ENOSPC"),
        (f"{SYNC}=error:ENOSUCH", "such as error:ENOSPC"),
        (f"{SYNC}=kill@0", "or kill@3"),
        (f"{SYNC}=kill@2;{WRITE}=melt", "melt"),
    ],
)
def test_what_cannot_be_armed_is_refused_with_what_could(text: str, told: str) -> None:
    with pytest.raises(BadConfig) as caught:
        failpoints.arm(text)

    assert told in caught.value.message
    assert caught.value.hint == "unset STACKCTL_FAILPOINTS"
