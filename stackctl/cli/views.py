"""How replies read as text: columns and lines; refuses to ask the daemon anything."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from stackctl.cli.output import Output
from stackctl.cli.progress import amount, describe
from stackctl.cli.table import Column
from stackctl.cli.text import clean, duration, local_time, short_path, size, visible_width
from stackctl.client.view import mapping

if TYPE_CHECKING:
    from stackctl.contracts.job import Job
    from stackctl.contracts.model import ModelVerification
    from stackctl.contracts.system import Status, Version

MODELS = [
    Column("NAME", lambda m: m.name),
    Column("STATE", lambda m: m.state),
    Column("TASK", lambda m: m.task, optional=True),
    Column("SIZE", lambda m: size(m.size_bytes), lambda m: m.size_bytes, right=True),
    Column("DIM", lambda m: m.dimensions, right=True, optional=True),
    Column("LOADED", lambda m: ", ".join(m.loaded_on), optional=True),
    Column("ALIASES", lambda m: ", ".join(m.aliases), optional=True, shrink=True),
    Column("LICENCE", lambda m: m.licence, optional=True),
    Column("SUMMARY", lambda m: m.summary, shrink=True),
]
DEVICES = [
    Column("ID", lambda d: d.id),
    Column("KIND", lambda d: d.kind, optional=True),
    Column("WORKER", lambda d: d.worker_state),
    Column("PROVIDER", lambda d: d.execution_provider, optional=True),
    Column("MODELS", lambda d: ", ".join(d.models), shrink=True),
    Column("QUEUE", lambda d: d.queued, right=True, optional=True),
    Column(
        "MEMORY",
        lambda d: f"{size(d.memory_used_bytes)} / {size(d.memory_total_bytes)}",
        lambda d: d.memory_used_bytes,
    ),
    Column(
        "WORKER MEMORY",
        lambda d: measured(d.worker_memory_bytes if d.worker_pid else None),
        lambda d: d.worker_memory_bytes,
        right=True,
        optional=True,
    ),
    Column(
        "OF MODELS",
        lambda d: size(d.models_memory_bytes) if d.worker_pid else None,
        lambda d: d.models_memory_bytes,
        right=True,
        optional=True,
    ),
    Column(
        "USE",
        lambda d: None if d.utilisation is None else f"{d.utilisation:.0%}",
        lambda d: d.utilisation,
        right=True,
        optional=True,
    ),
    Column("NAME", lambda d: d.name, shrink=True, optional=True),
]
JOBS = [
    Column("ID", lambda j: j.id),
    Column("STATE", lambda j: j.state),
    Column("KIND", lambda j: j.kind, optional=True),
    Column("CREATED", lambda j: local_time(j.created_at), lambda j: j.created_at, optional=True),
    Column("TITLE", lambda j: j.title, shrink=True),
    Column("PROGRESS", lambda j: _progress(j) or None, lambda j: j.progress.done, shrink=True),
]
COLLECTIONS = [
    Column("COLLECTION", lambda c: c.name),
    Column("DOCUMENTS", lambda c: c.documents, right=True),
    Column("CHUNKS", lambda c: c.chunks, right=True),
    Column("MODEL", lambda c: c.model, optional=True),
    Column("UPDATED", lambda c: local_time(c.updated_at), lambda c: c.updated_at, optional=True),
    Column("SOURCES", lambda c: _sources(c.sources), shrink=True),
]
FIGURES = [
    Column("FIGURES", lambda r: f"{r.kind} {r.name}"),
    Column("COUNT", lambda r: r.count, right=True),
    Column("ERRORS", lambda r: r.errors, right=True),
    Column("P50", lambda r: duration(r.p50_s), lambda r: r.p50_s, right=True),
    Column("P95", lambda r: duration(r.p95_s), lambda r: r.p95_s, right=True),
    Column("P99", lambda r: duration(r.p99_s), lambda r: r.p99_s, right=True, optional=True),
]
MOST_FIGURES = 12
"""More push devices and collections off a terminal of 24 lines; ``--json`` has all."""
STATE_STYLES = {
    "ready": "green",
    "succeeded": "green",
    "degraded": "yellow",
    "cancelled": "yellow",
    "interrupted": "yellow",
    "failed": "red",
}


def state_line(output: Output, version: Version) -> str:
    """Say in one line who answers."""
    return (
        f"{output.style('running', 'green')}  stackctl {version.version}, pid {version.pid}, "
        f"target {version.target}, up {duration(version.uptime_s)}"
    )


def status_lines(output: Output, status: Status) -> Iterator[str]:
    """Give the whole picture, a section a noun; what is empty says so in a word."""
    head, *rest = f"{state_line(output, status.daemon)}, {size(status.memory_rss_bytes)}".split(
        ", "
    )
    yield from wrapped(output, head, rest)
    states = [f"{a.name} {output.style(a.state, *_style(a.state))}" for a in status.areas]
    yield from wrapped(output, f"areas    {states[0]}" if states else "areas    -", states[1:])
    for area in status.areas:
        if area.state == "degraded":
            yield f"  {area.name}: {clean(area.reason)}"
            if area.hint:
                yield f"  fix: {area.hint}"
    yield ""
    device_columns = [
        c for c in DEVICES if c.head not in ("KIND", "USE", "WORKER MEMORY", "OF MODELS")
    ]
    yield from _section(output, status.devices, device_columns, "no devices")
    yield from _section(
        output, status.collections, COLLECTIONS, "no collections (stackctl index PATH)"
    )
    yield from _section(output, status.jobs, JOBS, "no jobs are running")
    summary = status.summary
    if summary is None:
        yield "no figures: analytics is not ready"
        return
    rows = _telling(summary.rows)
    yield from _section(output, rows, FIGURES, "no figures yet")
    hidden = len(summary.rows) - len(rows)
    window = duration(summary.window_s)
    rest = [f"{summary.events_pending} pending", f"figures of the last {window}"]
    more = [f"{hidden} more with --json"] if hidden else []
    yield from wrapped(output, f"{summary.events_stored} events stored", [*rest, *more])


def job_lines(output: Output, job: Job) -> Iterator[str]:
    """Give a job in full."""
    yield f"{job.id}  {output.style(job.state, *_style(job.state))}  {clean(job.title)}"
    rows = {"kind": job.kind, "created": local_time(job.created_at)}
    if job.finished_at:
        rows["finished"] = local_time(job.finished_at)
    rows["progress"] = _progress(job)
    if job.attempts > 1:
        rows["attempts"] = str(job.attempts)
    rows.update({name: _brief(value) for name, value in mapping(job.result).items()})
    if job.error_message:
        rows["error"] = clean(job.error_message)
        if job.error_hint:
            rows["fix"] = job.error_hint
    longest = max(map(len, rows))
    yield from (f"  {name:<{longest}}  {value}" for name, value in rows.items())


def index_lines(output: Output, job: Job, collection: str) -> Iterator[str]:
    """Say what an index job did, or that it has begun."""
    if job.state != "succeeded":
        yield f"job {job.id} has begun; follow it with: stackctl jobs watch {job.id}"
        return
    result = mapping(job.result)
    counts = ", ".join(f"{result.get(k, 0)} {k}" for k in ("indexed", "unchanged", "removed"))
    yield (
        f"{output.style('done', 'green')}  {counts}; {_counted(result.get('chunks', 0), 'chunk')} "
        f"in {duration(result.get('elapsed_s'))}"
    )
    for kind in ("skipped", "failed"):
        yield from _refused(output, kind, result.get(kind) or [])
    if result.get("chunks") or result.get("unchanged"):
        option = "" if collection == "default" else f" --collection {collection}"
        yield f'next: stackctl search "your question"{option}'


def verification_lines(found: ModelVerification) -> Iterator[str]:
    """Say whether a model is what the catalogue says."""
    yield f"{found.name}: {'every byte is right' if found.ok else 'damaged'}"
    for problem in found.problems:
        yield f"  {clean(problem)}"
    if not found.ok:
        yield f"fix: stackctl models pull {found.name}"


def measured(count: int | None) -> str | None:
    """Give bytes; nothing where nothing measures them."""
    return None if count is None else size(count)


def _refused(output: Output, kind: str, files: list[Any], most: int = 5) -> Iterator[str]:
    """Name the first files that were left out, with the reason."""
    if files:
        yield f"{output.style(kind, 'yellow')}  {_counted(len(files), 'file')}"
    for file in files[:most]:
        yield f"  {clean(file['path'])}: {clean(file['reason'])}"
    if len(files) > most:
        yield f"  and {len(files) - most} more (--json lists all)"


def _telling(rows: Iterable[Any]) -> list[Any]:
    """Give the rows that say most: all errors that find room, then the most frequent."""
    chosen = sorted(rows, key=lambda r: (not r.errors, -r.count, r.kind, r.name))[:MOST_FIGURES]
    return sorted(chosen, key=lambda r: (-r.count, r.kind, r.name))


def _section(output: Output, items: list[Any], columns: list[Column], empty: str) -> Iterator[str]:
    if items:
        yield from output.table(items, columns)
    else:
        yield output.style(empty, "dim")
    yield ""


def _progress(job: Job) -> str:
    if job.state in ("queued", "running"):
        return describe(job.progress)
    return amount(job.progress, of_total=False)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' if count != 1 else ''}"


def _brief(value: Any) -> str:
    """A result's value in a word: lists by their length."""
    if isinstance(value, list):
        return f"{len(value)} entries" if value else "none"
    return clean(f"{value:.4g}" if isinstance(value, float) else value)


def _sources(sources: Sequence[Any]) -> str:
    """The one path that a collection was fed from, or how many there are."""
    watched = sum(1 for source in sources if source.watched)
    if len(sources) == 1:
        return f"{short_path(sources[0].path)}{' (watched)' if watched else ''}"
    return f"{len(sources)}{f' ({watched} watched)' if watched else ''}"


def wrapped(output: Output, line: str, parts: Iterable[str]) -> Iterator[str]:
    """Join parts by commas in lines that the terminal holds."""
    for part in parts:
        longer = f"{line}, {part}"
        if output.width is not None and visible_width(longer) >= output.width:
            yield f"{line},"
            line = f"         {part}"
        else:
            line = longer
    yield line


def _style(state: str) -> tuple[str, ...]:
    return (STATE_STYLES[state],) if state in STATE_STYLES else ()
