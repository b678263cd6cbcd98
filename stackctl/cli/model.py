"""Sees to it that the default model is there before something needs it."""

from __future__ import annotations

from stackctl.cli.context import Here
from stackctl.cli.progress import follow
from stackctl.client.view import mapping
from stackctl.errors import NotFound


def need_default(here: Here) -> None:
    """Pull the configured model when it is not on this disk, showing how far it is.

    Raises:
        ModelFetchFailed: no source gave it.
    """
    inference = mapping(mapping(here.client.system.config().values).get("inference"))
    name = inference.get("default_model")
    try:
        states = {model.name: model.state for model in here.client.models.list().items}
    except NotFound:
        return  # a daemon of search alone: its models are another daemon's
    if name in states and states[name] != "present":
        here.output.note(f"fetching the model {name}, once")
        follow(here, here.client.models.pull("default"))
