"""What adapters that listen share: their inputs and the checks of their options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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

    def known(self, options: Mapping[str, Any], names: Sequence[str]) -> None:
        """Refuse options of other names.

        Raises:
            Invalid: there is one.
        """
        other = [name for name in options if name not in names]
        if other:
            raise Invalid(
                f'model "{self.spec.name}" has no option "{other[0]}", known: {", ".join(names)}'
            )

    def number(
        self, options: Mapping[str, Any], name: str, default: float, *, low: float, high: float
    ) -> float:
        """Give an option that is a number; the entry's where the request has none.

        Raises:
            Invalid: it is not a number from ``low`` to ``high``.
        """
        value = options.get(name, self.spec.options.get(name, default))
        plain = isinstance(value, int | float) and not isinstance(value, bool)
        if not plain or not low <= value <= high:
            raise Invalid(
                f'option "{name}" of model "{self.spec.name}" is {value!r}, expected a number from'
                f" {low:g} to {high:g}"
            )
        return float(value)
