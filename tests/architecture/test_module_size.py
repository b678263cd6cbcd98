"""No module grows past what one reads in a sitting."""

from __future__ import annotations

import tomllib
import warnings

from repository import ROOT, python_files

LIMITS = tomllib.loads((ROOT / "config" / "budgets.toml").read_text())["modules"]


def test_no_module_is_past_the_limit() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in python_files()}

    over = {str(p.relative_to(ROOT)): n for p, n in lengths.items() if n > LIMITS["fail"]}
    assert over == {}
    for path, length in lengths.items():
        if length > LIMITS["look_twice"]:
            with warnings.catch_warnings():
                warnings.simplefilter("default")
                warnings.warn(f"{path.relative_to(ROOT)} has {length} lines", stacklevel=1)
