"""Every failpoint of the event store with every action: strike, restart, count.

Refuses to pass over a failpoint: one that is armed and not reached is a finding.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from faults.analytics_check import Verdict, verify
from faults.analytics_child import NOT_HEALED, REFUSED_TO_START
from faults.analytics_scenes import SCENES
from faults.findings import Findings

from stackctl_daemon.failpoints import POINTS, VARIABLE

CHILD = Path(__file__).with_name("analytics_child.py")
CHILD_TIMEOUT_S = 60.0
AT_ONCE = 2
ERRORS = ("ENOSPC", "EIO")
VIA = {
    "segment.rotate.before_unlink": "segment.rotate.before_sync=error:EIO",
    "segment.cut.before_truncate": "segment.append.before_fsync=error:EIO@2",
}
"""Places that are reached only after another failure."""
_SCENES = {
    "segment.directory": "fresh",
    "store.create": "fresh",
    "store.migrate": "fresh",
    "store.set_aside": "damaged",
}


@dataclass(frozen=True, slots=True)
class Strike:
    """One failpoint, one action."""

    point: str
    action: str

    @property
    def text(self) -> str:
        """What the child is armed with."""
        via = VIA.get(self.point, "")
        return f"{self.point}={self.action}" + (f";{via}" if via else "")

    @property
    def scene(self) -> str:
        """The state that the child begins in."""
        return _SCENES.get(self.point.rpartition(".")[0], "aged")


def strikes(*, every: bool) -> Iterator[Strike]:
    """Give the strikes: each action once at each point; ``every``: and at later passes."""
    for point, actions in POINTS.items():
        chosen = ["kill", "error:ENOSPC", "torn"]
        if every:
            chosen += ["kill@2", "error:ENOSPC@2", "error:EIO", "error:EIO@2", "torn:1@2"]
            chosen += ["torn:9@3"]
        yield from (Strike(point, text) for text in chosen if text.startswith(actions))


def strike_points(findings: Findings, say: Callable[[str], None], *, every: bool) -> None:
    """Strike them all, two at a time, and tell what was found."""
    chosen = list(strikes(every=every))
    tally: Counter[str] = Counter()
    reached: set[str] = set()
    with tempfile.TemporaryDirectory(prefix="fp", dir="/tmp") as folder:
        scenes = Path(folder)
        for name, make in SCENES.items():
            make(scenes / name)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            results = pool.map(lambda strike: _strike(strike, scenes), chosen)
            for done, (strike, (ended, verdict)) in enumerate(
                zip(chosen, results, strict=True), 1
            ):
                _judge(strike, ended, verdict, findings, tally)
                if ended.struck:
                    reached.add(strike.point)
                if done % 20 == 0:
                    say(f"{done}/{len(chosen)} strikes")
    findings.tell("failpoints", len(POINTS))
    findings.expect("of these not reached", ", ".join(sorted(set(POINTS) - reached)) or 0, 0)
    findings.tell("strikes", len(chosen))
    for what in ("killed", "healed without a restart", "refused to start, said why"):
        findings.tell(f"  {what}", tally[what])
    findings.tell("  later passes that there were not", tally["no such pass"])
    findings.tell("events acknowledged", tally["acknowledged"])
    findings.expect("acknowledged events lost", tally["lost"], 0)
    findings.expect("events doubled", tally["doubled"], 0)
    findings.expect("strikes with another fault", tally["faulty"], 0)


@dataclass(frozen=True, slots=True)
class _Ended:
    """How a child ended."""

    status: int
    struck: bool
    output: str


def _strike(strike: Strike, scenes: Path) -> tuple[_Ended, Verdict]:
    """Run a child under one strike on a copy of its scene, then look at what it left."""
    place = Path(tempfile.mkdtemp(prefix="s", dir=scenes))
    home = place / "scene"
    shutil.copytree(scenes / strike.scene, home)
    done = subprocess.run(
        [sys.executable, str(CHILD), str(home / "data"), str(home / "ledger")],
        env=os.environ | {VARIABLE: strike.text, "PYTHONPATH": str(CHILD.parents[1])},
        capture_output=True,
        text=True,
        timeout=CHILD_TIMEOUT_S,
        check=False,
    )
    struck = f"failpoint_struck name={strike.point} " in done.stderr
    verdict = verify(home / "data", home / "ledger")
    shutil.rmtree(place)
    return _Ended(done.returncode, struck, done.stderr), verdict


def _judge(
    strike: Strike, ended: _Ended, verdict: Verdict, findings: Findings, tally: Counter[str]
) -> None:
    tally["acknowledged"] += verdict.acknowledged
    tally["lost"] += verdict.lost
    tally["doubled"] += verdict.doubled
    wrong = list(verdict.wrong)
    if not ended.struck:
        tally["no such pass"] += 1
    fatal = strike.action.startswith(("kill", "torn")) and ended.struck
    if fatal and ended.status == -signal.SIGKILL:
        tally["killed"] += 1
    elif not fatal and ended.status == 0:
        tally["healed without a restart"] += ended.struck
    elif not fatal and ended.status == REFUSED_TO_START:
        tally["refused to start, said why"] += 1
    elif ended.status == NOT_HEALED:
        wrong.append("not healed without a restart")
    else:
        wrong.append(f"ended with {ended.status}")
    if "Traceback" in ended.output:
        wrong.append("a traceback instead of a clear error")
    full = "ENOSPC" in strike.action and strike.point not in VIA
    if full and "code=failed" in ended.output:
        wrong.append("a full disk that is not called one")
    if wrong or not verdict.sound:
        tally["faulty"] += 1
        tail = "\n        ".join(ended.output.splitlines()[-6:])
        findings.losses.append(
            f"{strike.text} on {strike.scene}: lost {verdict.lost}, doubled {verdict.doubled}, "
            f"{'; '.join(wrong)}\n        {tail}"
        )
