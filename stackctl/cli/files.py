"""Paths that a user names, as the daemon needs them; refuses to open them."""

from __future__ import annotations

import os
from collections.abc import Sequence

from stackctl.errors import Invalid, NotFound


def absolute(paths: Sequence[str]) -> list[str]:
    """Give absolute paths, without following links.

    Raises:
        NotFound: one does not exist.
        Invalid: one's name is not UTF-8, which JSON cannot carry.
    """
    found = []
    for path in paths:
        full = os.path.abspath(os.path.expanduser(path))  # noqa: PTH100, PTH111 - resolve() follows links
        if not os.path.lexists(full):
            raise NotFound(f'no file or folder "{path}"', hint="ls")
        try:
            full.encode()
        except UnicodeEncodeError as err:
            raise Invalid(
                f"the name {os.fsencode(full)!r} is not UTF-8", hint="stackctl index FOLDER"
            ) from err
        found.append(full)
    return found
