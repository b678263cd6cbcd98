"""``stackctl index --remove``: asks for the job, waits for it and says what is forgotten."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from stackctl.cli.context import Here
from stackctl.cli.output import Output
from stackctl.cli.progress import follow
from stackctl.cli.text import clean
from stackctl.client.view import mapping
from stackctl.errors import Invalid

if TYPE_CHECKING:
    from stackctl.contracts.job import Job


def check(*, watch: bool | None, force: bool) -> None:
    """Refuse options that mean nothing beside ``--remove``.

    Raises:
        Invalid: one was given.
    """
    given = [
        name
        for name, on in (("--watch", watch), ("--no-watch", watch is False), ("--force", force))
        if on
    ]
    if given:
        raise Invalid(
            f"--remove with {given[0]}, expected --remove alone: it also ends the watching",
            hint="stackctl index --help",
        )


def run(here: Here, paths: Sequence[str], collection: str, *, detach: bool) -> None:
    """Make a collection forget absolute paths, and print what was removed.

    Raises:
        NotFound: it holds nothing of them.
    """
    job = here.client.search.forget(paths, collection=collection)
    if not detach:
        job = follow(here, job)
    here.output.show(job, lambda j: _lines(here.output, j), quiet=lambda j: [j.id])


def _lines(output: Output, job: Job) -> Iterator[str]:
    if job.state != "succeeded":
        yield f"job {job.id} has begun; follow it with: stackctl jobs watch {job.id}"
        return
    result = mapping(job.result)
    count = result.get("removed", 0)
    head = output.style("removed", "green")
    yield f"{head}  {count} document{'s' if count != 1 else ''}; the files stay"
    for item in result.get("paths") or []:
        yield f"  {clean(item['path'])}: {item['documents']}"
        if item["source_above"]:
            above = clean(item["source_above"])
            yield f"    the next index of {above} reads again what is still there"
