"""What errors of DuckDB and of the file system mean to us; refuses to decide what happens next."""

from __future__ import annotations

from pathlib import Path

from stackctl.errors import Conflict, DiskFull, Failed, Overloaded, StackctlError, StoreCorrupt

_FULL = ("No space left", "File too large", "quota exceeded")
_DAMAGE = (
    "Corrupt database file",
    "not a valid DuckDB",
    "Could not read enough bytes",
    # Of a write-ahead log that is another file's, or whose checksums are wrong.
    "Failure while replaying WAL",
)


def translate(err: Exception, path: Path, *, opening: bool = False) -> StackctlError:
    """Give our error for one of DuckDB's or the system's that was met at the file ``path``."""
    import duckdb  # loaded already: somebody raised its error

    text = str(err)
    first = text.splitlines()[0] if text else type(err).__name__
    if any(part in text for part in _FULL):
        return DiskFull(f"no space left for {path}", hint=f"df -h {path.parent}")
    if "lock on file" in text:
        return Conflict(f"{path} is open in another process", hint=f"fuser -v {path}")
    if isinstance(err, duckdb.InterruptException):
        return Overloaded("the analytics store was closed meanwhile", retry_after_s=1.0)
    if isinstance(err, duckdb.OutOfMemoryException):
        return Failed(
            "the analytics store needs more memory for this than it may take: "
            "ask for a shorter window"
        )
    broken = isinstance(err, (duckdb.SerializationException, duckdb.InternalException))
    missing = isinstance(err, (duckdb.CatalogException, duckdb.BinderException))
    if broken or any(part in text for part in _DAMAGE) or (opening and missing):
        return StoreCorrupt(f"{path} is damaged: {first}", hint="stackctl doctor --repair")
    return Failed(f"the analytics store failed: {first}")
