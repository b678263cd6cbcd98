"""What the protocols need of others."""

from __future__ import annotations

from typing import Protocol

from stackctl.contracts.model import ModelList


class Models(Protocol):
    """Knows the models."""

    async def list(self) -> ModelList:
        """Give every known model beside what is on this disk."""
