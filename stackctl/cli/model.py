"""Sees to it that the default model is there before something needs it."""

from __future__ import annotations

from stackctl.cli.context import Here
from stackctl.cli.progress import follow
from stackctl.errors import NotFound


def need_default(here: Here) -> None:
    """Pull the configured model when it is not on this disk, showing how far it is.

    Raises:
        ModelFetchFailed: no source gave it.
    """
    try:
        model = here.client.models.show("default")
    except NotFound:
        return  # a daemon of search alone: its models are another daemon's
    if model.state != "present":
        here.output.note(f"fetching the model {model.name}, once")
        follow(here, here.client.models.pull("default"))
