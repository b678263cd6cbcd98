"""Forms with files (multipart/form-data); refuses nested parts and encodings other than bytes.

Source: RFC 7578, with the framing of RFC 2046, section 5.1.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from stackctl.errors import Invalid

CONTENT_TYPE = "multipart/form-data"
MAX_PARTS = 64
_PARAMETER = re.compile(r';\s*([A-Za-z0-9_*-]+)=(?:"((?:[^"\\]|\\.)*)"|([^;\s]*))')
_MAX_HEADER_BYTES = 8192


class Part(NamedTuple):
    """A field of the form."""

    name: str
    filename: str
    content_type: str
    data: bytes


def read(content_type: str, body: bytes) -> list[Part]:
    """Give the parts of a form, in order.

    Raises:
        Invalid: it is no form, or a part is broken.
    """
    kind, parameters = _parse(content_type)
    boundary = parameters.get("boundary", "")
    if kind != CONTENT_TYPE or not 1 <= len(boundary) <= 70:
        raise Invalid(
            f'the content type "{content_type[:80]}" is not {CONTENT_TYPE} with a boundary'
        )
    delimiter = b"\r\n--" + boundary.encode("latin-1")
    # Not all of them: a body of nothing but boundaries would be millions of pieces.
    pieces = (b"\r\n" + body).split(delimiter, MAX_PARTS + 2)
    # Before the first delimiter stands a preamble, after the last one "--" and an epilogue.
    if len(pieces) - 2 > MAX_PARTS:
        raise Invalid(f"the form has more than {MAX_PARTS} parts")
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise Invalid("the form does not end with its boundary")
    return [_part(piece) for piece in pieces[1:-1]]


def _part(piece: bytes) -> Part:
    start = piece.find(b"\r\n")
    end = piece.find(b"\r\n\r\n", max(start, 0), _MAX_HEADER_BYTES)
    if start < 0 or piece[:start].strip(b" \t") or end < 0:
        raise Invalid("a part of the form has no header")
    fields: dict[str, str] = {}
    for line in piece[start + 2 : end].decode("utf-8", "replace").split("\r\n"):
        name, _, value = line.partition(":")
        fields[name.strip().lower()] = value.strip()
    kind, parameters = _parse(fields.get("content-disposition", ""))
    if kind != "form-data" or not parameters.get("name"):
        raise Invalid("a part of the form has no name")
    return Part(
        parameters["name"],
        parameters.get("filename", ""),
        fields.get("content-type", ""),
        piece[end + 4 :],
    )


def _parse(value: str) -> tuple[str, dict[str, str]]:
    kind, _, rest = value.partition(";")
    found = {
        name.lower(): re.sub(r"\\(.)", r"\1", quoted) if quoted else plain
        for name, quoted, plain in _PARAMETER.findall(";" + rest)
    }
    return kind.strip().lower(), found
