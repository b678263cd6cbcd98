"""Files over HTTPS: resumed by Range; refuses plain HTTP off loopback, redirects included.

The part file is the state: it is kept after a failure and the next attempt goes on from its end.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stackctl.errors import DiskFull, ModelFetchFailed

Progress = Callable[[int], None]
"""Told the bytes of the file that are here; raises to stop the transfer."""

_BLOCK = 1 << 18
_MAX_REASON = 200


def disk_error(err: OSError, path: Path) -> DiskFull | None:
    """Give the error that stands for a full disk, or None for another failure."""
    if err.errno in (errno.ENOSPC, errno.EDQUOT):
        return disk_full(path)
    return None


def disk_full(path: Path) -> DiskFull:
    """Give the error for a file that there is no space for."""
    return DiskFull(f"no space left for {path}", hint=f"df -h {path.parent}")


def hash_file(file: Path, progress: Progress | None = None) -> str:
    """Give the SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    done = 0
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
            done += len(block)
            if progress:
                progress(done)
    return digest.hexdigest()


def download(
    url: str,
    part: Path,
    *,
    size_bytes: int,
    timeout_s: float,
    progress: Progress,
    token: str = "",
) -> None:
    """Fetch ``url`` into ``part``, going on where it ends.

    ``token`` is sent to the host of ``url`` alone, never to where it redirects.

    Raises:
        ModelFetchFailed: the server did not give the file; ``part`` holds what came.
        DiskFull: there is no space; ``part`` holds what fitted.
    """
    here = part.stat().st_size if part.exists() else 0
    if here > size_bytes:
        part.unlink()
        here = 0
    try:
        _check_scheme(url)
        if here < size_bytes:
            request = _request(url, here, token)
            _stream(
                request, part, here, size_bytes=size_bytes, timeout_s=timeout_s, progress=progress
            )
    except urllib.error.HTTPError as err:
        err.close()
        if err.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink(missing_ok=True)  # not of this file: its end would be refused for ever
        raise _refused(url, err) from err
    except ValueError as err:
        raise ModelFetchFailed(f"{url} is no URL: {err}") from err
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError) as err:
        raise ModelFetchFailed(f"{url}: {getattr(err, 'reason', err) or err!r}") from err
    except OSError as err:
        full = disk_error(err, part)
        raise full or ModelFetchFailed(f"{url}: {err}") from err


def _check_scheme(url: str) -> None:
    parsed = urllib.parse.urlsplit(url)
    if parsed.scheme != "https" and parsed.hostname not in ("127.0.0.1", "::1", "localhost"):
        # Without the query, which may hold a signature.
        raise ModelFetchFailed(f"{url.partition('?')[0]} is not https")


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(  # noqa: PLR0917  as the standard library has it, Any included
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        _check_scheme(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _request(url: str, here: int, token: str) -> urllib.request.Request:
    headers = {"User-Agent": "stackctl", "Accept-Encoding": "identity"}
    if here:
        headers["Range"] = f"bytes={here}-"
    request = urllib.request.Request(url, headers=headers)  # noqa: S310  scheme checked above
    if token:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    return request


def _refused(url: str, err: urllib.error.HTTPError) -> ModelFetchFailed:
    host = urllib.parse.urlsplit(err.url).netloc
    through = "" if host == urllib.parse.urlsplit(url).netloc else f" through {host}"
    # The words of the hub, which uses 401 and 404 for several things; see _from_hub.
    told = (err.headers.get("X-Error-Message") or "")[:_MAX_REASON]
    return ModelFetchFailed(
        f"{url} answered {err.code}{through}{f': {told}' if told else ''}",
        hint="hf auth login" if err.headers.get("X-Error-Code") == "GatedRepo" else "",
    )


def _stream(
    request: urllib.request.Request,
    part: Path,
    here: int,
    *,
    size_bytes: int,
    timeout_s: float,
    progress: Progress,
) -> None:
    opener = urllib.request.build_opener(_SafeRedirects)
    with opener.open(request, timeout=timeout_s) as reply:
        resumed = reply.status == http.HTTPStatus.PARTIAL_CONTENT
        done = here if resumed else 0
        url = request.full_url
        if reply.length is not None and done + reply.length != size_bytes:
            found = done + reply.length
            raise ModelFetchFailed(f"{url} has {found} bytes, expected {size_bytes}")
        with part.open("ab" if resumed else "wb") as stream:
            _copy(reply, stream, done, size_bytes=size_bytes, url=url, progress=progress)


def _copy(
    reply: Any,  # Any: urlopen's reply has no narrower type
    stream: Any,
    done: int,
    *,
    size_bytes: int,
    url: str,
    progress: Progress,
) -> None:
    # Not synced here: the caller hashes the whole file and syncs it before the rename.
    progress(done)
    while block := reply.read1(_BLOCK):
        done += len(block)
        if done > size_bytes:
            raise ModelFetchFailed(f"{url} gives more than {size_bytes} bytes")
        stream.write(block)
        progress(done)
    if done < size_bytes:
        raise ModelFetchFailed(f"{url} ended after {done} of {size_bytes} bytes")
