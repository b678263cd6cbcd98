"""How a program of this user reaches the API's port; refuses to make a token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stackctl import paths
from stackctl.errors import Conflict, Denied, NotFound

if TYPE_CHECKING:
    from stackctl.contracts.system import Status

_FIX = "env STACKCTL_API__LISTEN=127.0.0.1:8484 stackctl up"


def token() -> dict[str, str]:
    """Give the token and its file.

    Raises:
        NotFound: the daemon has never opened the port.
        Denied: the file is not this user's.
    """
    file = paths.api_token()
    try:
        return {"token": file.read_text(encoding="latin-1").strip(), "path": str(file)}
    except FileNotFoundError as err:
        raise NotFound(
            f"{file} is not there: stackctld makes it when it first opens the port api.listen",
            hint=_FIX,
        ) from err
    except OSError as err:
        raise Denied(f"{file} cannot be read: {err.strerror}", hint=f"ls -l {file}") from err


def read(status: Status) -> dict[str, str]:
    """Give address and token.

    Raises:
        Conflict: the port is not open.
        NotFound: see `token`.
        Denied: see `token`.
    """
    if not status.api_url:
        raise Conflict("the API's port is not open: api.listen is empty", hint=_FIX)
    return {"url": status.api_url, **token()}


def environment(reply: dict[str, str]) -> list[str]:
    """Write lines that a shell evaluates."""
    return [
        f"export OPENAI_BASE_URL={reply['url']}/v1",
        f"export OPENAI_API_KEY={reply['token']}",
    ]
