"""Which model a name means, for every call that takes one, and which names are free.

Refuses to know what is on this disk: it is told.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping

from stackctl.contracts.model import RESERVED_NAMES, ModelEntry, ModelImport
from stackctl.errors import Conflict, Invalid
from stackctl_daemon.models.catalogue import check_name, resolve, version_order
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

    def check_free(self, entries: Entries, request: ModelImport) -> None:
        """Refuse a name under which the imported model, or another, could not be asked.

        Raises:
            Invalid: it is no name, or stands for something else in commands and paths.
            Conflict: it is another model's, or a version would stand beside a model without one.
        """
        family, _, version = check_name(request.name).partition(":")
        if family in RESERVED_NAMES:
            raise Invalid(
                f'"{family}" stands for something else than a model, expected another name',
                hint=_import(f"my-{request.name}", request),
            )
        given = {alias.lower(): alias for alias in self.aliases.all()}
        shared = given.get(family)
        if shared and self.aliases.resolve(shared).partition(":")[0] == family and version:
            shared = None  # it says which version the name alone means
        alias = given.get(request.name) or shared
        if alias:
            raise Conflict(
                f'"{alias}" is an alias of model "{self.aliases.resolve(alias)}", expected a name'
                " that is free",
                hint=f"stackctl models alias {shlex.quote(alias)} --remove",
            )
        owner = self.claimed(entries).get(family, family)
        if owner.partition(":")[0] != family:
            raise Conflict(
                f'"{family}" is an alias of model "{owner}", expected a name that is free',
                hint=_import(f"my-{request.name}", request),
            )
        _check_versions(entries, request)


def _check_versions(entries: Entries, request: ModelImport) -> None:
    """Refuse a version beside a model without one: asked for by version 1, both would be meant."""
    family, _, version = request.name.partition(":")
    if version and family in entries:
        raise Conflict(
            f'model "{family}" has no version, so "{request.name}" cannot stand beside it:'
            " expected another name",
            hint=_import(f"{family}-{version}", request),
        )
    versions = _versions(entries, family)
    if not version and versions:
        following = 1 + max((int(v) for v in versions if v.isdecimal()), default=0)
        raise Conflict(
            f'model "{family}" has versions, {", ".join(versions)}: expected one too, as in'
            f" {family}:{following}",
            hint=_import(f"{family}:{following}", request),
        )


def _versions(entries: Entries, family: str) -> list[str]:
    found = (e.version for e in entries.values() if e.family == family and e.version)
    return sorted(found, key=version_order)


def _import(name: str, request: ModelImport) -> str:
    return f"stackctl models import {name} {shlex.quote(request.path)}"
