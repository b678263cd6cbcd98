"""What the routes of the whole daemon ask of names."""

from __future__ import annotations

from pathlib import Path

from stackctl.contracts.model import RESERVED_NAMES
from stackctl.settings import Settings
from stackctl_daemon.app import App


def test_no_model_can_be_named_as_a_path_is_spelled(own_home: Path) -> None:
    app = App(Settings(), [], "all", probe=False)
    paths = [r.path.split("/") for r in (*app.registry.routes, *app.api.routes)]
    before = {
        tuple(path[:place])
        for path in paths
        for place, part in enumerate(path)
        if part in ("{name}", "{model}") and "models" in path[:place]
    }

    spelled = {
        path[len(start)]
        for path in paths
        for start in before
        if tuple(path[: len(start)]) == start and len(path) > len(start)
    }

    assert {name for name in spelled if not name.startswith("{")} == RESERVED_NAMES - {"default"}
