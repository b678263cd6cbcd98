"""The job that makes a collection forget paths; refuses to touch files."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from stackctl.errors import NotFound
from stackctl_daemon.jobs import JobContext
from stackctl_daemon.search.roots import is_below, parse
from stackctl_daemon.search.store import Store
from stackctl_daemon.search.threads import StoreThreads
from stackctl_daemon.search.walk import shown

BATCH_DOCUMENTS = 100
"""Removed in one transaction."""


def matched(store: Store, name: str, paths: Sequence[str]) -> list[bytes]:
    """Give the paths of which a collection holds something.

    Args:
        store: the store.
        name: the collection.
        paths: as they travel, or as a hit shows them: such a path with ``\\xNN`` in it stands
            for a name that is not UTF-8, unless it is there as it is written.

    Raises:
        Invalid: a path is not absolute.
        NotFound: there is no such collection, or it holds nothing of any path.
    """
    found = store.collection(name)
    roots: dict[bytes, None] = {}
    for path in paths:
        root = parse(path)
        if store.holds(found.id, root):
            roots[root] = None
        elif b"\\x" in root:
            roots |= dict.fromkeys(store.shown_as(found.id, shown(root)))
    if not roots:
        said = ", ".join(f'"{shown(parse(path))}"' for path in paths[:3])
        more = f" and {len(paths) - 3} more" if paths[3:] else ""
        raise NotFound(
            f'collection "{name}" holds nothing of {said}{more}',
            hint="stackctl collections list --json",
        )
    return list(roots)


async def remove(
    context: JobContext, threads: StoreThreads, name: str, roots: Sequence[bytes]
) -> dict[str, Any]:
    """Remove what a collection holds at and under paths, and give the job's result."""
    began, removed = time.monotonic(), 0
    paths: list[dict[str, Any]] = []
    found = await threads.read(lambda store: store.collection(name))
    sources = await threads.read(lambda store: store.sources(found.id))
    for root in roots:
        known = await threads.read(partial(Store.known, collection_id=found.id, root=root))
        ids = [row.id for row in known.values()]
        for start in range(0, len(ids), BATCH_DOCUMENTS):
            context.check_cancelled()
            part = ids[start : start + BATCH_DOCUMENTS]
            await threads.write(partial(Store.remove, name=name, document_ids=part))
            removed += len(part)
            context.progress(removed, None, unit="document", message=shown(root))
        above = [source for source, _ in sources if is_below(root, source)]
        paths.append(
            {
                "path": shown(root),
                "documents": len(ids),
                "source_above": shown(above[-1]) if above else None,
            }
        )
    return {"removed": removed, "paths": paths, "elapsed_s": round(time.monotonic() - began, 3)}
