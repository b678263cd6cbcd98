"""Nothing in the checkout names a package mirror or a path of somebody's machine."""

from __future__ import annotations

import re

from repository import ROOT, text_files

FORBIDDEN = re.compile(
    # Split so that this file does not match itself.
    r"--(extra-)?index-url[ =]\S"
    r"|--find-links[ =]\S"
    r"|pypi\.org/"
    r"simple"
    r"|files\.python"
    r"hosted\.org"
    r"|(?<![\w.])/(root|work|home/\w+)/"
)


def test_no_file_names_a_package_mirror_or_a_private_path() -> None:
    hits = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for path in text_files()
        if path.name not in {"test_hosts.py", "LICENSE"}
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if FORBIDDEN.search(line)
    ]

    assert hits == []


def test_locks_record_no_address_at_all() -> None:
    named = [path.name for path in (ROOT / "locks").iterdir() if "//" in path.read_text()]

    assert named == []
