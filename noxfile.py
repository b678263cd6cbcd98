"""The contributor's manual: ``nox -l`` lists everything that can be run on this checkout."""

from __future__ import annotations

import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

import nox

nox.needs_version = ">=2025.5"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "tests"]

TYPED = ["stackctl", "daemon/stackctl_daemon", "commands/stackctl_commands", "noxfile.py"]
TOP_LEVEL = {"stackctl", "stackctl_daemon", "stackctl_commands"}
LOCKS = {"run": [], "test": ["test"], "lint": ["lint"]}
"""File under ``locks`` by the extras that it pins."""


@nox.session
def lint(session: nox.Session) -> None:
    """Check format, style, types, import contracts and spelling."""
    session.install("-e", ".[lint,test]")
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("lint-imports")
    session.run("mypy", *TYPED)
    session.run("codespell", "README.md", "docs", "stackctl", "daemon", "commands")
    # The PyPI package is a wrapper that downloads Node where there is none.
    if shutil.which("node"):
        session.run("pyright", *TYPED, success_codes=[0])
    else:
        session.log("pyright skipped: no node on this machine")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the unit, contract and architecture tests; arguments go to pytest."""
    session.install("-e", ".[test]")
    session.run("pytest", "--ignore=tests/integration", *session.posargs)


@nox.session
def integration(session: nox.Session) -> None:
    """Run the tests with real daemons, workers and the real model."""
    session.install("-e", ".[test]")
    session.run("pytest", "tests/integration", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Run every test with branch coverage, child processes included."""
    session.install("-e", ".[test]")
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *session.posargs)
    session.run("coverage", "combine")
    session.run("coverage", "report")


@nox.session
def quality(session: nox.Session) -> None:
    """Measure nDCG@10 of keyword, semantic and hybrid search on Cranfield."""
    session.install("-e", ".[test]")
    session.run("python", "tests/quality/cranfield.py", *session.posargs)


@nox.session
def insights(session: nox.Session) -> None:
    """Score the insights engine on injected incidents and quiet days."""
    session.install("-e", ".[test]")
    # Small matrices: more threads than processes only wait for one another.
    session.run(
        "python", "tests/quality/insights.py", *session.posargs, env={"OPENBLAS_NUM_THREADS": "1"}
    )


@nox.session
def startup(session: nox.Session) -> None:
    """Measure the CPU of quick commands as multiples of bare Python."""
    session.install("-e", ".[test]")
    session.run("python", "tests/bench/startup.py", *session.posargs)


@nox.session
def faults(session: nox.Session) -> None:
    """Kill daemon and workers and count losses; `-- inference`, `-- analytics`: faults there."""
    session.install("-e", ".[test]")
    session.run("python", "tests/faults/run.py", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure ratios of a named baseline in the same run; ``-- inference --full`` picks one."""
    # Some baselines are other servers, each in an environment that uv makes.
    session.install("-e", ".[test]", "uv")
    names = [argument for argument in session.posargs[:1] if not argument.startswith("-")]
    for script in sorted(Path("tests/bench").glob("bench_*.py")):
        if all(name in script.name for name in names):
            session.run("python", str(script), *session.posargs[len(names) :])


@nox.session
def gpu(session: nox.Session) -> None:
    """Compare GPUs with the CPU and write the evidence; says so where there is none."""
    session.install("-e", ".[test]")
    session.run("python", "tests/gpu/run.py", *session.posargs)


@nox.session
def ray(session: nox.Session) -> None:
    """Run a daemon on two replicas of Ray Serve, and measure it beside its own workers."""
    # Some 900 MB: nothing else needs it, so it is in no other session's environment.
    session.install("-e", ".[ray,test]")
    session.run("pytest", "tests/unit/daemon/stackctl_daemon/inference/scale_out")
    session.run("pytest", "tests/integration/test_ray_serve.py")
    session.run("python", "tests/bench/ray_serve.py", *session.posargs)


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the wheel, install it into an empty environment and run the demo there."""
    session.install("build")
    with tempfile.TemporaryDirectory(prefix="sw") as scratch:
        session.run("python", "-m", "build", "--wheel", "--outdir", scratch)
        [built] = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(built) as archive:
            found = {name.split("/")[0] for name in archive.namelist()}
        extra = {name for name in found if not name.endswith(".dist-info")} ^ TOP_LEVEL
        if extra:
            session.error(f"top level of the wheel is not the three names: {sorted(extra)}")
        empty = Path(scratch) / "venv"
        session.run(sys.executable, "-m", "venv", str(empty), external=True)
        python = str(empty / "bin" / "python")
        session.run(python, "-m", "pip", "install", "--quiet", str(built), external=True)
        # Its own home, and a folder that is not the checkout: only the wheel can answer.
        with session.chdir(scratch):
            home = {"STACKCTL_HOME": str(Path(scratch) / "h")}
            session.run(str(empty / "bin" / "stackctl"), "demo", env=home, external=True)
            session.run(str(empty / "bin" / "stackctl"), "down", env=home, external=True)


@nox.session
def docs(session: nox.Session) -> None:
    """Check that every generated file is what the code gives now."""
    session.install("-e", ".[test]")
    session.run("python", "docs/generate.py", "--check")


@nox.session
def security(session: nox.Session) -> None:
    """Look for insecure code with bandit."""
    session.install("bandit")
    session.run(
        "bandit", "-q", "-r", "-ll", "stackctl", "daemon/stackctl_daemon", "commands", "-c",
        "pyproject.toml",
    )  # fmt: skip


@nox.session
def locks(session: nox.Session) -> None:
    """Pin every dependency with its hashes; arguments such as --upgrade go to uv."""
    session.install("uv")
    for name, extras in LOCKS.items():
        chosen = [part for extra in extras for part in ("--extra", extra)]
        session.run(
            "uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11",
            "--generate-hashes", "--no-emit-index-url", "--no-emit-find-links", "--no-header",
            "--no-annotate", *chosen, *session.posargs, "-o", f"locks/{name}.txt",
            "pyproject.toml",
        )  # fmt: skip
