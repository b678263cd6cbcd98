"""What adapters that listen share; refuses to know what they listen for."""

from __future__ import annotations

from collections.abc import Sequence

from stackctl.errors import Invalid
from stackctl_daemon.inference.adapters.audio import decode
from stackctl_daemon.inference.adapters.base import Blobs, FloatArray, Input


class Sounds(Blobs):
    """Mixin of adapters that read sound files."""

    reads = "sound files"

    def sounds(self, inputs: Sequence[Input]) -> list[FloatArray]:
        """Give the inputs as 16 kHz mono.

        Raises:
            Invalid: an input is no sound that we read; see `audio.decode`.
        """
        found = []
        for number, data in enumerate(self.blobs(inputs)):
            try:
                found.append(decode(data))
            except Invalid as err:
                where = f"input {number}: " if len(inputs) > 1 else ""
                raise Invalid(where + err.message, hint=err.hint) from err
        return found
