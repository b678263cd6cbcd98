"""Keys: no two meanings, and the guide says what there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from stackctl.tui import bindings
from stackctl.tui.app import Dashboard
from stackctl.tui.screens import registry

ROOT = Path(__file__).resolve().parents[4]


@pytest.mark.parametrize("page", bindings.PAGES)
def test_no_key_of_a_screen_hides_one_of_everywhere(page: str) -> None:
    keys = [key.key for key in [*bindings.EVERYWHERE, *bindings.PAGE_KEYS.get(page, [])]]

    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("page", bindings.PAGES)
def test_every_key_has_an_action(page: str) -> None:
    owner = registry.PAGES[page]

    for key in bindings.PAGE_KEYS.get(page, []):
        name = f"action_{key.action.partition('(')[0]}"
        assert hasattr(owner, name) or hasattr(Dashboard, name), key


def test_every_key_of_everywhere_has_an_action() -> None:
    for key in bindings.EVERYWHERE:
        assert hasattr(Dashboard, f"action_{key.action.partition('(')[0]}"), key


def test_the_guide_has_every_key() -> None:
    guide = (ROOT / "docs" / "guide" / "dashboard.md").read_text()

    assert bindings.markdown() in guide
