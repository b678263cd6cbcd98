"""Unit tests lie where their modules lie: a test of nothing has moved or lost its subject."""

from __future__ import annotations

from repository import PACKAGES, ROOT


def test_every_unit_test_folder_mirrors_a_package_folder() -> None:
    unit = ROOT / "tests" / "unit"
    folders = {path.parent.relative_to(unit) for path in unit.rglob("test_*.py")}

    orphans = [str(folder) for folder in sorted(folders) if not (ROOT / folder).is_dir()]

    assert orphans == []


def test_modules_without_a_unit_test_are_listed() -> None:
    unit = ROOT / "tests" / "unit"
    tested = {path.name for path in unit.rglob("test_*.py")}
    missing = sorted(
        str(path.relative_to(ROOT))
        for package in PACKAGES.values()
        for path in package.rglob("*.py")
        if path.name != "__init__.py" and f"test_{path.name}" not in tested
    )

    # Told and not failed: some modules are proven by integration tests alone.
    print(f"{len(missing)} modules without a unit test of their name:", *missing, sep="\n  ")
