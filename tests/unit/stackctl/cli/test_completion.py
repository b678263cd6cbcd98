from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from repository import ROOT

from stackctl.cli.completion import scripts
from stackctl.cli.completion_files import NAMES, install
from stackctl_commands.index import INDEX

FOLDER = ROOT / "commands" / "completions"


def test_the_shipped_scripts_are_those_of_the_commands() -> None:
    for name, text in scripts(INDEX).items():
        assert (FOLDER / name).read_text() == text, (
            f"{name} is old: python -m stackctl.cli.completion commands/completions"
        )


def _bash(words: str, *, count: int) -> list[str]:
    """Let bash complete a line; ``count`` is the number of words before the current one."""
    program = (
        f"source {FOLDER / 'stackctl.bash'}; COMP_WORDS=({words}); COMP_CWORD={count}; "
        'PATH=; _stackctl; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        [shutil.which("bash") or "bash", "-c", program], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("words", "count", "expected"),
    [
        ("stackctl jo", 1, ["jobs"]),
        ("stackctl jobs ''", 2, ["list", "show", "watch", "cancel"]),
        ("stackctl search --mode ''", 3, ["hybrid", "keyword", "semantic"]),
        ("stackctl search --mode keyword --li", 4, ["--limit"]),
        ("stackctl --json search --pl", 3, ["--plain"]),
        ("stackctl completion z", 2, ["zsh"]),
        ("stackctl status ''", 2, []),
    ],
)
def test_bash_completes_static_words_without_any_program(
    words: str, count: int, expected: list[str]
) -> None:
    # PATH is empty: a Python, or any other program, could not even be found.
    assert _bash(words, count=count) == expected


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("stackctl jo", ["jobs"]),
        ("stackctl jobs ", ["cancel", "list", "show", "watch"]),
        ("stackctl search --mode ", ["hybrid", "keyword", "semantic"]),
    ],
)
def test_fish_completes(line: str, expected: list[str]) -> None:
    program = f"source {FOLDER / 'stackctl.fish'}; complete -C '{line}'"
    done = subprocess.run(["fish", "-c", program], capture_output=True, text=True, check=True)

    assert sorted(row.split("\t")[0] for row in done.stdout.splitlines()) == expected


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_takes_the_script() -> None:
    program = f"autoload -Uz compinit; compinit -u -D; source {FOLDER / '_stackctl'}"
    done = subprocess.run(
        ["zsh", "-f", "-c", f"{program}; echo ${{_comps[stackctl]}}"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert (done.stdout, done.stderr) == ("_stackctl\n", "")


def _typed_in_zsh(line: str, expected: str) -> str:
    """Type a line and a tab into an interactive zsh; give its screen up to what is expected."""
    master, slave = pty.openpty()
    shell = subprocess.Popen(
        ["zsh", "-f", "-i"], stdin=slave, stdout=slave, stderr=slave, env={**os.environ, "PS1": ""}
    )
    os.close(slave)

    def read_until(text: str) -> str:
        seen, deadline = "", time.monotonic() + 20
        while text not in seen and time.monotonic() < deadline:
            if select.select([master], [], [], 1)[0]:
                seen += os.read(master, 4096).decode(errors="replace")
        return seen

    names = 'stackctl() { [[ "$*" == "__complete "* ]] && print -l kind-$2-one; }'
    setup = f"{names}; autoload -Uz compinit; compinit -u -D; source {FOLDER / '_stackctl'}"
    try:
        os.write(master, f"{setup}; print -r RE''ADY\n".encode())
        read_until("READY")
        os.write(master, f"{line}\t".encode())
        return read_until(expected)
    finally:
        shell.kill()
        shell.wait()
        os.close(master)


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("stackctl models verify k", "kind-models-one"),
        ("stackctl search x --collection k", "kind-collections-one"),
        ("stackctl jobs cancel k", "kind-jobs-one"),
    ],
)
def test_zsh_completes_names_that_the_daemon_knows(line: str, completed: str) -> None:
    assert completed in _typed_in_zsh(line, completed)


@pytest.mark.parametrize("shell", list(NAMES))
def test_install_writes_where_the_shell_looks(
    shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    done = install(shell)

    target = Path(done["path"])
    assert target.is_relative_to(tmp_path)
    assert target.read_text() == (FOLDER / NAMES[shell]).read_text()
    assert [p.name for p in target.parent.iterdir()] == [target.name]
