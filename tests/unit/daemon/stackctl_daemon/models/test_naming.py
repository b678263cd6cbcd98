"""Which model a name means, and which names are free."""

from __future__ import annotations

import msgspec
import pytest
from model_source import entry

from stackctl.contracts.model import ModelEntry, ModelImport
from stackctl.errors import Conflict, Invalid, NotFound
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


def take(model: str) -> ModelImport:
    return ModelImport(name=model, path="/a folder")


@pytest.mark.parametrize("name", ["default", "aliases:1", "running", "import", "stats"])
def test_a_name_that_means_something_else_is_refused(name: str) -> None:
    with pytest.raises(Invalid, match="stands for something else than a model") as caught:
        names().check_free({}, take(name))

    assert caught.value.hint == f"stackctl models import my-{name} '/a folder'"


@pytest.mark.parametrize(
    ("name", "told", "fix"),
    [
        ("own", 'alias of model "x"', "stackctl models import my-own '/a folder'"),
        ("own:1", 'alias of model "x"', "stackctl models import my-own:1 '/a folder'"),
        ("whisper-1", 'alias of model "x"', "stackctl models import my-whisper-1 '/a folder'"),
        ("live", 'alias of model "x"', "stackctl models alias Live --remove"),
        ("live:2", 'alias of model "x"', "stackctl models alias Live --remove"),
        ("m:9", 'alias of model "m:1"', "stackctl models alias m:9 --remove"),
    ],
)
def test_a_name_that_is_an_alias_is_refused(name: str, told: str, fix: str) -> None:
    entries = known("x", "m:1", **{"own": "x", "Whisper-1": "x"})

    with pytest.raises(Conflict, match=told) as caught:
        names(**{"Live": "x", "m:9": "m:1"}).check_free(entries, take(name))

    assert caught.value.hint == fix


@pytest.mark.parametrize(
    ("name", "told", "fix"),
    [
        ("x:1", 'model "x" has no version', "stackctl models import x-1 '/a folder'"),
        ("m", 'model "m" has versions, 9, 10', "stackctl models import m:11 '/a folder'"),
        ("r", 'model "r" has versions, rc', "stackctl models import r:1 '/a folder'"),
    ],
)
def test_a_version_never_stands_beside_a_model_without_one(name: str, told: str, fix: str) -> None:
    with pytest.raises(Conflict, match=told) as caught:
        names().check_free(known("x", "m:9", "m:10", "r:rc"), take(name))

    assert caught.value.hint == fix


@pytest.mark.parametrize("name", ["new", "new:1", "m:2", "x", "m:1", "own-2"])
def test_a_free_name_is_taken(name: str) -> None:
    entries = known("x", "m:1", own="x")

    names(m="m:1", live="x").check_free(entries, take(name))
