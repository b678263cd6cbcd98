"""What adapters that listen share; refuses to know what they listen for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from stackctl.errors import Invalid
from stackctl_daemon.inference.adapters.audio import decoding
from stackctl_daemon.inference.adapters.base import Blobs, FloatArray, Input


class Sounds(Blobs):
    """Mixin of adapters that read sound files."""

    reads = "sound files"

    def sounds(self, inputs: Sequence[Input]) -> Iterator[FloatArray | None]:
        """Give the inputs as 16 kHz mono, and None after each step in between.

        Raises:
            Invalid: an input is no sound that we read; see `audio.decode`.
        """
        for number, data in enumerate(self.blobs(inputs)):
            try:
                yield from decoding(data)
            except Invalid as err:
                where = f"input {number}: " if len(inputs) > 1 else ""
                raise Invalid(where + err.message, hint=err.hint) from err
