"""The parsers, called here; that they run in a process of their own is test_extractor's."""

from __future__ import annotations

import io
from pathlib import Path

import docx

from stackctl_daemon.search.formats import parse


def pdf(*pages: str, title: str = "") -> bytes:
    """Give a PDF of one line of text a page."""
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Count {len(pages)} /Kids [{kids}] >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, text in enumerate(pages):
        content = f"BT /F1 12 Tf 20 100 Td ({text}) Tj ET".encode()
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 200] /Contents %d 0 R"
            b" /Resources << /Font << /F1 3 0 R >> >> >>" % (5 + 2 * number)
        )
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content))
    objects.append(f"<< /Title ({title}) >>".encode())
    data, places = bytearray(b"%PDF-1.4\n"), []
    for number, item in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, item)
    start = len(data)
    data += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    data += b"".join(b"%010d 00000 n \n" % place for place in places)
    data += b"trailer << /Size %d /Root 1 0 R /Info %d 0 R >>\nstartxref\n%d\n%%%%EOF" % (
        len(objects) + 1, len(objects), start,
    )  # fmt: skip
    return bytes(data)


def test_pages_of_a_pdf_are_numbered_and_empty_ones_left_out() -> None:
    found = parse("pdf", pdf("Walrus", " ", "Otter", title="Sea"), "sea.pdf")

    assert found.title == "Sea"
    assert [(block.text, block.page) for block in found.blocks] == [("Walrus", 1), ("Otter", 3)]


def test_a_file_without_a_title_has_its_name() -> None:
    assert parse("pdf", pdf("Walrus"), "sea.pdf").title == "sea.pdf"
    assert parse("html", b"<p>Walrus", "sea.html").title == "sea.html"


def test_headings_and_tables_of_a_docx(tmp_path: Path) -> None:
    document = docx.Document()
    document.add_paragraph("Before.")
    document.add_heading("Ships", 1)
    document.add_paragraph("They float.")
    document.add_heading("Masts", 2)
    table = document.add_table(rows=1, cols=2)
    table.rows[0].cells[0].text, table.rows[0].cells[1].text = "fore", "main"
    document.add_heading("Harbours", 1)
    document.add_paragraph("They wait.")
    data = io.BytesIO()
    document.save(data)

    found = parse("docx", data.getvalue(), "ships.docx")

    assert found.title == "Ships"
    assert [(block.text, block.heading) for block in found.blocks] == [
        ("Before.", ""),
        ("Ships\nThey float.", "Ships"),
        ("Masts\nfore | main", "Ships > Masts"),
        ("Harbours\nThey wait.", "Harbours"),
    ]


def test_headings_of_a_page_and_what_is_not_text() -> None:
    page = (
        b"<html><head><title> Sea  life </title><style>p{}</style></head><nav>menu</nav>"
        b"<h1>Birds</h1><p>Au<b>k</b>s</p><script>x()</script><h3>Deep</h3><ul><li>a<li>b</ul>"
        b"<!-- not this --><h1>Fish</h1>tail<br>end</html>"
    )

    found = parse("html", page, "sea.html")

    assert found.title == "Sea life"
    assert [block.heading for block in found.blocks] == ["Birds", "Birds > Deep", "Fish"]
    assert [block.text.split() for block in found.blocks] == [
        ["Birds", "Auks"], ["Deep", "a", "b"], ["Fish", "tail", "end"],
    ]  # fmt: skip


def test_a_page_in_the_charset_that_it_names() -> None:
    page = '<meta charset="iso-8859-1"><p>Åland, é'.encode("latin-1")

    [block] = parse("html", page, "a.html").blocks

    assert block.text == "Åland, é"


def test_a_page_with_a_text_past_ten_megabytes_is_whole() -> None:
    page = b"<h1>Top</h1><p>" + b"walrus " * (3 << 19) + b"<h1>Otter</h1>"

    blocks = parse("html", page, "a.html").blocks

    assert [block.heading for block in blocks] == ["Top", "Otter"]
    assert blocks[0].text.count("walrus") == 3 << 19
