from __future__ import annotations

from pathlib import Path

from stackctl.cli import demonstration

CHARACTERS_OF_A_CHUNK = 500
"""A little less than what chunks of code hold on average."""


def test_the_demo_has_the_answer_and_the_guide() -> None:
    files = [Path(f) for f in demonstration.files()]

    assert any(f.parts[-2:] == ("logging", "handlers.py") for f in files)
    assert any(f.suffix == ".md" for f in files)
    assert all(f.is_file() for f in files)


def test_two_cores_can_embed_the_demo_while_somebody_waits() -> None:
    characters = sum(len(Path(f).read_text("utf-8")) for f in demonstration.files())

    assert characters / CHARACTERS_OF_A_CHUNK < 500
