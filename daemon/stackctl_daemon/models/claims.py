"""Which model is being changed, one change of a name at a time; refuses to know how."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from stackctl.errors import Conflict


@dataclass(slots=True)
class _Claim:
    doing: str
    job_id: str
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Claims:
    """Names of models that somebody pulls, imports, exports or removes (of one loop)."""

    def __init__(self) -> None:
        self._held: dict[str, _Claim] = {}

    @asynccontextmanager
    async def hold(
        self, name: str, doing: str, *, job_id: str = "", wait: bool = False
    ) -> AsyncIterator[None]:
        """Have a name for oneself.

        Args:
            name: of the model.
            doing: what is done to it: it "is being ..." to the others.
            job_id: of the job that does it; empty: a request does.
            wait: for the one that has it, as a job may.

        Raises:
            Conflict: another has it, and ``wait`` is not set.
        """
        while (other := self._held.get(name)) is not None:
            if not wait:
                raise conflict(name, other.doing, other.job_id)
            await other.ended.wait()
        mine = self._held[name] = _Claim(doing, job_id)
        try:
            yield
        finally:
            del self._held[name]
            mine.ended.set()


def conflict(name: str, doing: str, job_id: str) -> Conflict:
    """Give the error of a change that meets another one of the same model."""
    by = f" by job {job_id}" if job_id else ""
    return Conflict(
        f'model "{name}" is being {doing}{by}, expected one change of it at a time',
        hint=f"stackctl jobs cancel {job_id}" if job_id else "stackctl models list",
    )
