"""What the client and the daemon share, and every front end."""

TYPE_CHECKING = False  # importing typing would cost `--version` a half of its time
if TYPE_CHECKING:
    from stackctl.client.events import EventRecorder as EventRecorder
    from stackctl.client.events import flush_events as flush_events
    from stackctl.client.events import record_event as record_event

__version__ = "0.1.0"
_EVENTS = ("EventRecorder", "flush_events", "record_event")


def __getattr__(name: str) -> object:
    if name not in _EVENTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # By name: who only wants the version imports no client, and the daemon never does.
    from importlib import import_module

    return getattr(import_module("stackctl.client.events"), name)
