"""The wheel installs three unmistakable names and what they need at run time."""

from __future__ import annotations

import tomllib

from repository import PACKAGES, ROOT

BUILD = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
WHEEL = BUILD["targets"]["wheel"]


def test_wheel_has_exactly_the_three_packages() -> None:
    assert {path.rsplit("/", 1)[-1] for path in WHEEL["packages"]} == set(PACKAGES)


def test_what_the_wheel_bundles_is_in_the_checkout_and_under_stackctl() -> None:
    bundled = WHEEL["force-include"]

    assert [source for source in bundled if not (ROOT / source).exists()] == []
    assert all(target.startswith("stackctl/_bundled/") for target in bundled.values())
