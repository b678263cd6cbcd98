"""Tells what kind of document a file is from its name and first bytes; refuses to parse it."""

from __future__ import annotations

import os
from typing import Literal

DocumentType = Literal["text", "markdown", "code", "html", "pdf", "docx"]

SNIFF_BYTES = 8192

_BY_SUFFIX: dict[str, DocumentType] = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".mdx": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".pdf": "pdf",
    ".docx": "docx",
}
_CODE = (
    "py pyi js mjs cjs ts tsx jsx java kt kts scala go rs c h cc cpp cxx hpp hh cs swift m mm rb"
    " php pl pm lua r jl sh bash zsh fish ps1 sql proto thrift graphql css scss less vue svelte"
    " hs ml mli ex exs erl clj cljs el lisp vim nix tf hcl gradle groovy dart zig asm s cmake"
    " toml yaml yml json jsonl xml ini cfg conf dockerfile makefile mk"
)
_BY_SUFFIX |= {f".{suffix}": "code" for suffix in _CODE.split()}
_CODE_NAMES = frozenset({"makefile", "dockerfile", "rakefile", "gemfile", "justfile"})
_BINARY_SUFFIXES = frozenset(
    [
        ".png",
        ".jpg",
        ".jpeg",
        ".gif",
        ".webp",
        ".bmp",
        ".ico",
        ".tiff",
        ".mp3",
        ".mp4",
        ".wav",
        ".ogg",
        ".flac",
        ".mov",
        ".avi",
        ".mkv",
        ".zip",
        ".gz",
        ".bz2",
        ".xz",
        ".zst",
        ".tar",
        ".7z",
        ".rar",
        ".jar",
        ".whl",
        ".exe",
        ".dll",
        ".so",
        ".dylib",
        ".a",
        ".o",
        ".pyc",
        ".class",
        ".wasm",
        ".bin",
        ".safetensors",
        ".onnx",
        ".pt",
        ".parquet",
        ".arrow",
        ".duckdb",
        ".sqlite",
        ".db",
        ".ttf",
        ".otf",
        ".woff",
        ".woff2",
    ]
)


def detect(path: bytes, head: bytes) -> DocumentType | None:
    """Give the type of a document, or None when it is binary.

    Args:
        path: the file's name decides among texts.
        head: its first bytes decide between text and binary, and over a wrong suffix.
    """
    name = os.path.basename(path).decode("utf-8", "replace").lower()  # noqa: PTH119 - bytes
    suffix = os.path.splitext(name)[1]  # noqa: PTH122 - a name, not a path
    by_name = _BY_SUFFIX.get(suffix) or ("code" if name in _CODE_NAMES else None)
    if head.startswith(b"%PDF-"):
        return "pdf"
    if by_name in ("pdf", "docx"):
        # Broken or not, the name says what was meant: the parser reports what is wrong.
        return by_name
    if suffix in _BINARY_SUFFIXES or is_binary(head):
        return None
    if by_name is None and head.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html")):
        return "html"
    if by_name is None and head.startswith(b"#!"):
        return "code"
    return by_name or "text"


def is_binary(head: bytes) -> bool:
    """Tell whether bytes cannot be text: a NUL outside UTF-16, or many control characters."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return False
    if b"\0" in head:
        return True
    controls = sum(byte < 32 and byte not in b"\t\n\r\f\b\x1b" for byte in head)
    return controls > len(head) // 50


def decode(data: bytes) -> tuple[str, str]:
    """Give the text of a file and a note on its encoding, empty for UTF-8."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace"), "utf-16"
    try:
        return data.decode("utf-8-sig"), ""
    except UnicodeDecodeError:
        return data.decode("latin-1"), "latin-1"
