"""CPU of the quick commands as multiples of bare Python, interleaved; exit 1 above the budget.

CPU and not wall time: a loaded machine changes the second and hardly the first. Bytecode comes
from a folder of this run, as an installed package's does from its own: compiling is not startup.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import tomllib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import Stack

BUDGETS = tomllib.loads(
    (Path(__file__).resolve().parents[2] / "config" / "budgets.toml").read_text()
)["startup"]


def cpu_s(command: list[str], env: dict[str, str]) -> float:
    """Run a command with its output thrown away and give its user and system CPU seconds.

    Raises:
        RuntimeError: it did not end with 0.
    """
    null = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
    pid = os.posix_spawn(command[0], command, env, file_actions=null)
    _, status, usage = os.wait4(pid, 0)
    if status != 0:
        raise RuntimeError(f"{command} ended with {os.waitstatus_to_exitcode(status)}")
    return usage.ru_utime + usage.ru_stime


def main() -> int:
    """Measure, print the table and give the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    script = Path(sys.executable).with_name("stackctl")
    command = [str(script)] if script.exists() else [sys.executable, "-m", "stackctl"]
    cases = {
        "--version": ["--version"],
        "completion": ["__complete", "commands", ""],
        "--help": ["--help"],
        "status": ["status"],
    }
    measured = {
        "bare": [sys.executable, "-c", "pass"],
        **{name: [*command, *arguments] for name, arguments in cases.items()},
    }
    taken: dict[str, list[float]] = {name: [] for name in measured}
    with Stack(model=False) as stack, tempfile.TemporaryDirectory() as bytecode:
        env = {**stack.env, "PYTHONPYCACHEPREFIX": bytecode}
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        for words in measured.values():
            cpu_s(words, env)
        for _ in range(runs):
            for name, words in measured.items():
                taken[name].append(cpu_s(words, env))
    bare = min(taken["bare"])
    print(f"{'command':<12}{'min ms':>8}{'median':>8}{'x bare':>8}{'budget':>8}")
    over = []
    for name, values in taken.items():
        ratio, budget = min(values) / bare, BUDGETS.get(name)
        shown = f"{budget:.0f}" if budget else "-"
        print(
            f"{name:<12}{min(values) * 1000:>8.1f}{statistics.median(values) * 1000:>8.1f}"
            f"{ratio:>8.2f}{shown:>8}"
        )
        if budget and ratio > budget:
            over.append(name)
    if over:
        print(f"above the budget: {', '.join(over)}")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
