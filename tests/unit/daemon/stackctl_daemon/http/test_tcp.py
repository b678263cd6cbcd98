from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from stackctl.errors import BadConfig, Denied, Failed
from stackctl_daemon.http import tcp
from stackctl_daemon.http.tcp import NoToken, TokenGate

TOKEN = "a-token-of-enough-characters"  # noqa: S105 - of no daemon
HOSTS = ["127.0.0.1:8484", "localhost:8484", "[::1]:8484", "LOCALHOST:8484"]
WRONG = [None, "Bearer ", "Bearer x", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer \xff"]


def admit(gate: TokenGate, **more: str | None) -> None:
    headers = {"host": "127.0.0.1:8484", "authorization": f"Bearer {TOKEN}"}
    told = headers | {name.replace("_", "-"): value for name, value in more.items() if value}
    for name in [name for name, value in more.items() if value is None]:
        told.pop(name)
    with socket.socket() as sock:
        gate.admit(gate.peer(sock), told)


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8484", "localhost:8484", "[::1]:8484", "LOCALHOST:8484"]
)
def test_loopback_names_with_the_token_come_in(host: str) -> None:
    admit(TokenGate(TOKEN, 8484), host=host)
    admit(TokenGate(TOKEN, 8484), host=host, origin=f"http://{host}", sec_fetch_site="same-origin")
    admit(TokenGate(TOKEN, 8484), host=host, authorization=f"bearer  {TOKEN} ")


def test_the_port_may_be_left_out_where_it_is_the_schemes_own() -> None:
    admit(TokenGate(TOKEN, 80), host="localhost")


@pytest.mark.parametrize(
    "more",
    [
        {"host": None},
        {"host": "localhost"},
        {"host": "localhost:8485"},
        {"host": "evil.example:8484"},
        {"host": "127.0.0.1:8484, evil.example"},
        {"origin": "http://evil.example"},
        {"origin": "https://127.0.0.1:8484"},
        {"origin": "null"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ],
)
def test_other_hosts_and_sites_are_refused_before_the_token(more: dict[str, str | None]) -> None:
    with pytest.raises(Denied) as caught:
        admit(TokenGate(TOKEN, 8484), **more)
    assert caught.value.status == 403


@pytest.mark.parametrize(
    "given",
    [None, "Bearer ", "Bearer x", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer \xff"],
)
def test_a_wrong_token_is_refused(given: str | None) -> None:
    with pytest.raises(NoToken) as caught:
        admit(TokenGate(TOKEN, 8484), authorization=given)
    assert caught.value.status == 401
    assert TOKEN not in caught.value.message


def test_the_token_may_not_administrate() -> None:
    gate = TokenGate(TOKEN, 8484)
    with socket.socket() as sock:
        peer = gate.peer(sock)

    gate.require(peer, "operate")
    with pytest.raises(Denied, match="admin"):
        gate.require(peer, "admin")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8484", ("127.0.0.1", 8484)),
        ("127.9.9.9:0", ("127.9.9.9", 0)),
        ("localhost:1", ("127.0.0.1", 1)),
        ("[::1]:8484", ("::1", 8484)),
    ],
)
def test_loopback_addresses_are_read(text: str, address: tuple[str, int]) -> None:
    assert tcp.parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    ["0.0.0.0:80", "[::]:80", "192.168.0.1:80", "example.com:80", "127.0.0.1", ":80", "127.0.0.1:",
     "127.0.0.1:99999", "127.0.0.1.5:80", "::1:80"],
)  # fmt: skip
def test_every_other_address_is_refused(text: str) -> None:
    with pytest.raises(BadConfig, match="no loopback address"):
        tcp.parse_address(text)


def test_a_taken_port_says_so() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(Failed, match="address already in use"),
    ):
        tcp.listen(taken.getsockname()[:2])


def test_a_token_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "state" / "api-token"
    old = os.umask(0)
    try:
        made = tcp.token(file)
    finally:
        os.umask(old)

    assert made.startswith(tcp.PREFIX)
    assert len(made) > 40
    assert file.stat().st_mode & 0o777 == 0o600
    assert tcp.token(file) == made


def test_a_token_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "api-token"
    tcp.token(file)
    file.chmod(0o640)

    with pytest.raises(Denied, match="mode 0640, expected 0600"):
        tcp.token(file)


def test_a_link_or_a_folder_in_the_tokens_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").write_text(TOKEN)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "folder").mkdir()

    for name in ("link", "folder"):
        with pytest.raises(Denied):
            tcp.token(tmp_path / name)


@pytest.mark.parametrize("text", ["", "short", "two words of some length", "x" * 600])
def test_a_file_without_a_token_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "api-token"
    file.write_text(text)
    file.chmod(0o600)

    with pytest.raises(BadConfig, match="holds no token"):
        tcp.token(file)
