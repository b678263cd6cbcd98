from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackctl.errors import Invalid
from stackctl_daemon.inference.apis import multipart

KIND = "multipart/form-data; boundary=XyZ"


def form(*parts: tuple[str, bytes], boundary: bytes = b"XyZ") -> bytes:
    out = b""
    for disposition, data in parts:
        head = f"Content-Disposition: form-data; {disposition}\r\n\r\n".encode()
        out += b"--" + boundary + b"\r\n" + head + data + b"\r\n"
    return out + b"--" + boundary + b"--\r\n"


def test_fields_and_files_are_told_apart() -> None:
    body = form(('name="model"', b"m"), ('name="file"; filename="a \\"b\\".wav"', b"\r\n--Xy\r\n"))
    model, file = multipart.read('multipart/form-data; charset=x; boundary="XyZ"', body)

    assert (model.name, model.filename, model.data) == ("model", "", b"m")
    assert (file.name, file.filename, file.data) == ("file", 'a "b".wav', b"\r\n--Xy\r\n")


@given(st.binary().filter(lambda data: b"\r\n--XyZ" not in b"\r\n" + data))
def test_any_bytes_come_back(data: bytes) -> None:
    [part] = multipart.read(KIND, form(('name="file"', data)))

    assert part.data == data


@pytest.mark.parametrize(
    ("kind", "body", "words"),
    [
        ("", b"", "is not multipart/form-data"),
        ("multipart/form-data", b"", "with a boundary"),
        ("application/json; boundary=XyZ", b"", "is not multipart/form-data"),
        (KIND, b"", "does not end"),
        (KIND, form(("x", b"a")), "has no name"),
        (KIND, form(('name="a"', b"a"))[:-8], "does not end"),
        (KIND, b"--XyZ\r\nno header--XyZ--", "does not end"),
        (KIND, b"--XyZ\r\nno header\r\n--XyZ--", "has no header"),
        (KIND, form(*[('name="a"', b"")] * 65), "more than 64 parts"),
    ],
)
def test_what_is_no_form_is_refused(kind: str, body: bytes, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        multipart.read(kind, body)


@given(st.binary())
def test_rubbish_is_refused_and_nothing_else(body: bytes) -> None:
    try:
        multipart.read(KIND, b"--XyZ\r\n" + body + b"\r\n--XyZ--")
    except Invalid as err:
        assert err.message
