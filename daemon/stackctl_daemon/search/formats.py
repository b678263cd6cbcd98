"""Parses every type of document; refuses to touch the disk or the index.

Only the extractor process calls it: a hostile file can hang or crash these parsers, or fill
the address space.
"""

from __future__ import annotations

import io

from stackctl_daemon.search.extract import Block, Extracted, extract_plain
from stackctl_daemon.search.filetype import DocumentType, decode


def parse(type_: DocumentType, data: bytes, name: str) -> Extracted:
    """Give the text of one file named ``name``."""
    if type_ == "pdf":
        title, blocks = _pdf(data)
    elif type_ == "docx":
        title, blocks = _docx(data)
    elif type_ == "html":
        title, blocks = _html(data)
    else:
        return extract_plain(data, type_, name)
    return Extracted(title.strip()[:200] or name, blocks)


def _pdf(data: bytes) -> tuple[str, list[Block]]:
    # Imported here, as in the other parsers: a run of HTML files needs no PDF library.
    import pypdfium2

    document = pypdfium2.PdfDocument(data)
    try:
        title = str(document.get_metadata_dict().get("Title") or "")
        blocks = []
        for number in range(len(document)):
            page = document[number]
            text = page.get_textpage().get_text_range()
            page.close()
            if text.strip():
                blocks.append(Block(_clean(text), page=number + 1))
    finally:
        document.close()
    return title, blocks


def _docx(data: bytes) -> tuple[str, list[Block]]:
    import docx
    from docx.table import Table

    document = docx.Document(io.BytesIO(data))
    title = document.core_properties.title or ""
    blocks: list[Block] = []
    path: list[tuple[int, str]] = []
    body: list[str] = []

    def close() -> None:
        if any(part.strip() for part in body):
            blocks.append(Block(_clean("\n".join(body)), " > ".join(name for _, name in path)))
        body.clear()

    for item in document.iter_inner_content():
        if isinstance(item, Table):
            body += [" | ".join(cell.text for cell in row.cells) for row in item.rows]
            continue
        style = str(item.style.name or "") if item.style is not None else ""
        if style == "Title" and item.text.strip():
            title = title or item.text
        if style.startswith("Heading ") and item.text.strip():
            close()
            level = int(style.split()[1]) if style.split()[1].isdigit() else 1
            path = [*(old for old in path if old[0] < level), (level, item.text.strip())]
            title = title or item.text
        body.append(item.text)
    close()
    return title, blocks


_DROPPED = "script style noscript template svg head nav iframe"
_PARAGRAPHS = frozenset(
    [
        "p",
        "div",
        "li",
        "ul",
        "ol",
        "table",
        "tr",
        "pre",
        "blockquote",
        "section",
        "article",
        "br",
        "dt",
        "dd",
        "main",
        "header",
        "footer",
        "figcaption",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
    ]
)


def _html(data: bytes) -> tuple[str, list[Block]]:
    # etree is compiled and lxml ships no stub for it.
    from lxml import etree, html  # pyright: ignore[reportAttributeAccessIssue]

    text = decode(data)[0]
    # Bytes let lxml honour the page's own charset where the bytes are not UTF-8.
    is_utf8 = text.encode("utf-8", "replace") == data
    # Huge: else a text of 10 MB ends the page without a word. What bounds it is our own room.
    parser = html.HTMLParser(
        encoding="utf-8" if is_utf8 else None, no_network=True, huge_tree=True
    )
    root = html.document_fromstring(data, parser=parser)
    title = " ".join((root.findtext(".//title") or "").split())
    for tag in _DROPPED.split():
        etree.strip_elements(root, tag, with_tail=False)
    blocks: list[Block] = []
    path: list[tuple[int, str]] = []
    body: list[str] = []

    def close() -> None:
        joined = _clean("".join(body))
        if joined.strip():
            blocks.append(Block(joined, " > ".join(name for _, name in path)))
        body.clear()

    for event, node in etree.iterwalk(root, events=("start", "end", "comment", "pi")):
        tag = node.tag if isinstance(node.tag, str) else ""
        if event == "start":
            if len(tag) == 2 and tag[0] == "h" and tag[1] in "123456":
                close()
                name = " ".join("".join(node.itertext()).split())[:200]
                path = [old for old in path if old[0] < int(tag[1])]
                path += [(int(tag[1]), name)] if name else []
                title = title or name
            if tag in _PARAGRAPHS:
                body.append("\n")
            body.append(node.text or "")
        else:
            body.append("\n" if tag in _PARAGRAPHS else "")
            body.append(node.tail or "")
    close()
    return title, blocks


def _clean(text: str) -> str:
    """Put line ends and blank runs in order; PDF hyphens at line ends become words again."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", " ")
    text = text.replace("\ufffe\n", "").replace("\ufffe", "").replace("\u00ad", "")
    lines = [" ".join(line.split()) for line in text.split("\n")]
    kept = [line for i, line in enumerate(lines) if line or (i and lines[i - 1])]
    return "\n".join(kept).strip()
