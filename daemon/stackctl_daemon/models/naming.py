"""Which model a name means, for every call that takes one, and which names are free.

Refuses to know what is on this disk: it is told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from stackctl.contracts.model import RESERVED_NAMES, ModelEntry
from stackctl.errors import Conflict
from stackctl_daemon.models.catalogue import resolve, version_order
from stackctl_daemon.models.ports import Aliases

Entries = Mapping[str, ModelEntry]
Here = Callable[[ModelEntry], bool]


class NoAliases:
    """Nobody gave a model another name."""

    def resolve(self, name: str) -> str:
        """Give the name itself."""
        return name

    def of(self, model: str) -> list[str]:
        """Give none."""
        return []

    def all(self) -> dict[str, str]:
        """Give none."""
        return {}


class Names:
    """Names of models, those that users gave among them."""

    def __init__(self, default: str) -> None:
        self.default = default
        self.aliases: Aliases = NoAliases()
        """Set by the composition root once the area is there that keeps them."""

    def find(self, entries: Entries, name: str, *, here: Here) -> ModelEntry:
        """Give the model that a name means: ``default``, an alias, a name or what versions share.

        Raises:
            NotFound: there is none.
        """
        asked = self.default if name == "default" else name
        return resolve(entries, self.aliases.resolve(asked), here=here)

    def find_exact(self, entries: Entries, name: str, *, here: Here) -> ModelEntry:
        """Give the model of this very name: what deletes one must not mean another.

        Raises:
            NotFound: no name means a model.
            Conflict: it is an alias, or the name that versions share.
        """
        if name in entries:
            return entries[name]
        meant = self.find(entries, name, here=here)
        versions = _versions(entries, name)
        told = (
            f'"{name}" is the name of versions, {", ".join(versions)}'
            if versions
            else f'"{name}" is another name of model "{meant.name}"'
        )
        raise Conflict(
            f"{told}: expected the very name of a model",
            hint=f"stackctl models remove {meant.name}",
        )

    def claimed(self, entries: Entries) -> dict[str, str]:
        """Give models by the names, in small letters, that cannot be another's alias."""
        found = dict.fromkeys(RESERVED_NAMES, "")
        found |= {alias.lower(): model for alias, model in self.aliases.all().items()}
        for entry in entries.values():
            found |= dict.fromkeys((alias.lower() for alias in entry.aliases), entry.name)
        found |= {entry.family: entry.name for entry in entries.values()}
        return found | {name: name for name in entries}


def _versions(entries: Entries, family: str) -> list[str]:
    found = (e.version for e in entries.values() if e.family == family and e.version)
    return sorted(found, key=version_order)
