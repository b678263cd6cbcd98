"""Which model a name means, and which names are free."""

from __future__ import annotations

import msgspec
import pytest
from model_source import entry

from stackctl.contracts.model import ModelEntry
from stackctl.errors import Conflict, NotFound
from stackctl_daemon.inference.control import Aliases
from stackctl_daemon.inference.state_file import StateFile
from stackctl_daemon.models.naming import Names


def known(*names: str, **aliases: str) -> dict[str, ModelEntry]:
    """Entries by name; ``aliases`` are models by an alias of their entries."""
    return {
        name: msgspec.structs.replace(
            entry("file:/x"), name=name, aliases=[a for a, m in aliases.items() if m == name]
        )
        for name in names
    }


def names(default: str = "m", **aliases: str) -> Names:
    """Names with those that users gave, kept as the daemon keeps them."""
    made = Names(default)
    kept = Aliases(StateFile(None, str))
    for alias, model in aliases.items():
        kept.put(alias, model)
    made.aliases = kept
    return made


def anywhere(entry: ModelEntry) -> bool:
    return True


@pytest.mark.parametrize(
    ("asked", "meant"),
    [("default", "m:1"), ("live", "m:1"), ("m", "m:1"), ("m:2", "m:2"), ("own", "x"), ("x", "x")],
)
def test_a_name_means_one_model(asked: str, meant: str) -> None:
    entries = known("m:1", "m:2", "x", own="x")
    found = names("live", live="m:1", m="m:1").find(entries, asked, here=anywhere)

    assert found.name == meant


@pytest.mark.parametrize("asked", ["default", "live", "m", "own"])
def test_what_deletes_takes_the_very_name_alone(asked: str) -> None:
    entries = known("m:1", "m:2", "x", own="x")

    with pytest.raises(Conflict) as caught:
        names("live", live="m:1").find_exact(entries, asked, here=anywhere)

    meant = {"own": "x", "m": "m:2"}.get(asked, "m:1")
    assert caught.value.hint == f"stackctl models remove {meant}"


def test_the_very_name_is_taken_though_an_alias_has_it() -> None:
    """An entry that somebody put into the catalogue later."""
    entries = known("m", "x")

    assert names(m="x").find_exact(entries, "m", here=anywhere).name == "m"
    with pytest.raises(NotFound):
        names().find_exact(entries, "nosuch", here=anywhere)
