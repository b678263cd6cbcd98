"""The README's two lines are there and are what CI runs."""

from __future__ import annotations

import re

import pytest
from repository import ROOT


@pytest.mark.parametrize(("marker", "last"), [("run", "stackctl demo"), ("test", "-m pytest")])
def test_line_stands_under_its_marker(marker: str, last: str) -> None:
    text = (ROOT / "README.md").read_text()

    found = re.search(rf"<!-- line: {marker} -->\n```\w*\n([^\n]+)\n```", text)

    assert found, f"no one-line fenced block right under <!-- line: {marker} -->"
    assert found[1].endswith(last)


def test_ci_reads_the_line_and_does_not_repeat_it() -> None:
    script = (ROOT / ".ci" / "run").read_text()

    assert "<!-- line: test -->" in script
    assert "-m pytest" not in script
