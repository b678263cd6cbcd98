"""The whole error tree; refuses to know about HTTP or terminals.

    StackctlError                 internal          70
    |- Failed                     failed             1
    |  |- JobFailed               job_failed         1
    |  |- ModelFetchFailed        model_fetch_failed 1
    |  |- ModelCorrupt            model_corrupt      1
    |  |- WorkerCrashed           worker_crashed     1
    |  |- StoreCorrupt            store_corrupt      1
    |  `- DiskFull                disk_full          1
    |- Invalid                    invalid            2
    |- FindingsReported           findings           3
    |- NotFound                   not_found          4
    |- Conflict                   conflict           5
    |- Denied                     denied             6
    |- TimedOut                   timed_out          7
    |- Overloaded                 overloaded         1
    |- TooLarge                   too_large          2
    |- Unreachable                unreachable       69
    |- BadConfig                  bad_config        78
    `- Interrupted                interrupted      130

A message says what failed, with which value and what was expected: lower case, no full stop.
``hint`` is one command that can be run as it stands.
"""

from __future__ import annotations


class StackctlError(Exception):
    """Base of every error that crosses a layer; by itself it means our bug."""

    code: str = "internal"
    """Name on the wire; never renamed."""
    exit_code: int = 70
    """Exit status of a command that ends with this error."""
    status: int = 500
    """HTTP status of the daemon's answer."""
    queue_s: float | None = None
    """How long the request waited in a queue, at most, before it failed; None: not known."""
    model: str = ""
    """The model that was asked, where one was; for the request's event."""

    def __init__(self, message: str, *, hint: str = "", retry_after_s: float | None = None):
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.retry_after_s = retry_after_s


class Failed(StackctlError):
    """The operation was understood and did not succeed."""

    code, exit_code, status = "failed", 1, 500


class JobFailed(Failed):
    """A job that the caller waited for ended in failure."""

    code, status = "job_failed", 409


class ModelFetchFailed(Failed):
    """No source of a model gave the file."""

    code, status = "model_fetch_failed", 502


class ModelCorrupt(Failed):
    """A model file's bytes are not those of the catalogue."""

    code, status = "model_corrupt", 409


class WorkerCrashed(Failed):
    """A request ended several workers; it is not tried again."""

    code, status = "worker_crashed", 503
    text: str = ""
    """The one text that did it, when it stood alone; never on the wire."""


class StoreCorrupt(Failed):
    """A database of ours fails its integrity check."""

    code, status = "store_corrupt", 503


class DiskFull(Failed):
    """There is no space left for what must be durable."""

    code, status = "disk_full", 507


class Invalid(StackctlError):
    """The request itself is wrong."""

    code, exit_code, status = "invalid", 2, 400


class FindingsReported(StackctlError):
    """A check ran well and found problems."""

    code, exit_code, status = "findings", 3, 200


class NotFound(StackctlError):
    """The named thing does not exist."""

    code, exit_code, status = "not_found", 4, 404


class Conflict(StackctlError):
    """The thing exists already, or is in a state that forbids this."""

    code, exit_code, status = "conflict", 5, 409


class Denied(StackctlError):
    """The caller may not do this."""

    code, exit_code, status = "denied", 6, 403


class TimedOut(StackctlError):
    """Nothing answered in the time allowed."""

    code, exit_code, status = "timed_out", 7, 504


class Overloaded(StackctlError):
    """A bounded queue is full; ``retry_after_s`` says when to come back."""

    code, exit_code, status = "overloaded", 1, 429


class TooLarge(StackctlError):
    """A body is above the route's cap."""

    code, exit_code, status = "too_large", 2, 413


class Unreachable(StackctlError):
    """The daemon does not answer."""

    code, exit_code, status = "unreachable", 69, 503


class BadConfig(StackctlError):
    """The configuration has an unknown key, a wrong type or a wrong value."""

    code, exit_code, status = "bad_config", 78, 409


class Interrupted(StackctlError):
    """The user or a signal ended the operation."""

    code, exit_code, status = "interrupted", 130, 409


def _tree(root: type[StackctlError]) -> dict[str, type[StackctlError]]:
    found = {root.code: root}
    for child in root.__subclasses__():
        found |= _tree(child)
    return found


BY_CODE: dict[str, type[StackctlError]] = _tree(StackctlError)
"""Every class by its wire code, so that a client can rebuild what the daemon raised."""


def rebuild(
    code: str, message: str, *, hint: str = "", retry_after_s: float | None = None
) -> StackctlError:
    """Give the error that a wire ``code`` stands for; an unknown code gives the base class."""
    return BY_CODE.get(code, StackctlError)(message, hint=hint, retry_after_s=retry_after_s)
