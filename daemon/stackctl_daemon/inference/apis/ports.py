"""What the protocols need of others."""

from __future__ import annotations

from typing import Protocol

from stackctl.contracts.model import ModelList
from stackctl_daemon.inference.ports import ReadyModel


class Models(Protocol):
    """Knows the models."""

    async def ready(self, name: str) -> ReadyModel:
        """Give a model with its files; raises as `inference.ports.ModelStore.ready`."""
        ...

    async def list(self) -> ModelList:
        """Give every known model beside what is on this disk."""
        ...
