"""How results of models read: a table, bars or running text by what the model does.

Refuses to compute anything but what a reader compares: lengths and cosines.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from stackctl.cli import npy
from stackctl.cli.model_results import VECTORS, Answer, ranked
from stackctl.cli.output import Output
from stackctl.cli.table import Column
from stackctl.cli.text import clean, cut, display_width, duration, short_path

if TYPE_CHECKING:
    from stackctl.contracts.inference import RunReply

MOST_COMPARED = 12
"""Vectors in a table of cosines."""
_MARGIN = 96
_BAR = 20

Lines = Iterator[str]


def lines(output: Output, task: str, found: Sequence[Answer]) -> Lines:
    """Give results for people."""
    if task in VECTORS:
        yield from _vectors(output, found)
    elif task in _WHOLE:
        yield from _WHOLE[task](output, found)
    else:
        for number, answer in enumerate(found):
            if len(found) > 1:
                yield from ([""] if number else [])
                yield output.style(cut(clean(_named(answer)), _width(output)), "cyan")
            yield from _EACH.get(task, _tensors)(output, answer)


def footer(reply: RunReply, count: int) -> str:
    """Say on what it ran and how long it took."""
    parts = [f"{count} input{'s' if count != 1 else ''}"]
    if reply.tokens:
        parts[0] += f", {reply.tokens} tokens"
    if reply.truncated:
        parts.append(f"{reply.truncated} cut to the model's window")
    waited = reply.queue_s + reply.batch_s
    parts.append(f"{reply.model} on {reply.device}")
    parts.append(f"{duration(reply.compute_s)} computing, {duration(waited)} waiting")
    return "; ".join(parts)


def clock(seconds: float) -> str:
    """A place in a recording: ``0:03.20``."""
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}:{rest:05.2f}"


def running(text: str) -> str:
    """Make foreign text of several lines safe for a terminal; its line ends stay."""
    return "\n".join(map(clean, text.split("\n")))


def segment_lines(output: Output, segments: Sequence[Any]) -> Lines:
    """Give what was said, with its times, wrapped beside them."""
    for segment in segments:
        head = f"{clock(segment.start_s)} - {clock(segment.end_s)}"
        yield from _beside(output, head, clean(segment.text))


def _vectors(output: Output, found: Sequence[Answer]) -> Lines:
    vectors = [answer.vector for answer in found]
    norms = [math.sqrt(sum(n * n for n in vector)) for vector in vectors]
    table = [
        (number, answer, vector, norm)
        for number, (answer, vector, norm) in enumerate(zip(found, vectors, norms, strict=True), 1)
    ]
    columns = [
        Column("#", lambda r: r[0], right=True),
        Column("INPUT", lambda r: _named(r[1]), shrink=True),
        Column("DIM", lambda r: len(r[2]), right=True),
        Column("NORM", lambda r: f"{r[3]:.4f}", right=True),
        Column("BEGINS WITH", lambda r: " ".join(f"{n:+.3f}" for n in r[2][:3]), optional=True),
    ]
    yield from output.table(table, columns)
    if len(found) < 2:
        return
    most = min(MOST_COMPARED, (_width(output) - 4) // 7)
    yield ""
    if len(found) > most:
        yield output.style(
            f"cosines of {len(found)} vectors do not fit here; --output FILE.npy has them all",
            "dim",
        )
        return
    cosines = [
        [
            sum(map(float.__mul__, a, b)) / (p * q if p * q else 1.0)
            for b, q in zip(vectors, norms, strict=True)
        ]
        for a, p in zip(vectors, norms, strict=True)
    ]
    yield from output.table(
        list(enumerate(cosines, 1)),
        [Column("COSINE", lambda r: r[0], right=True)]
        + [Column(str(n + 1), _cell(n), right=True) for n in range(len(found))],
    )


def _cell(number: int) -> Callable[[Any], str]:
    return lambda row: f"{row[1][number]:.2f}"


def _ranking(output: Output, found: Sequence[Answer]) -> Lines:
    best = ranked(found)
    top = max((answer.value.score for _, answer in best), default=0) or 1.0
    yield from output.table(
        [(rank, number, answer) for rank, (number, answer) in enumerate(best, 1)],
        [
            Column("RANK", lambda r: r[0], right=True),
            Column("SCORE", lambda r: f"{r[2].value.score:.4f}", right=True),
            Column("", lambda r: bar(output, r[2].value.score / top, 10) or " ", optional=True),
            Column("DOCUMENT", lambda r: _named(r[2]), shrink=True),
        ],
    )


def _types(output: Output, found: Sequence[Answer]) -> Lines:
    yield from output.table(
        found,
        [
            Column("FILE", _named, shrink=True),
            Column("TYPE", lambda a: a.value.label),
            Column("SCORE", lambda a: f"{a.value.score:.3f}", right=True),
            Column("MIME", lambda a: a.value.mime, optional=True),
            Column("GROUP", lambda a: a.value.group, optional=True),
            Column("DESCRIPTION", lambda a: a.value.description, shrink=True, optional=True),
        ],
    )


def _generated(output: Output, answer: Answer) -> Lines:
    yield running(answer.value.text)


def _text_lines(output: Output, answer: Answer) -> Lines:
    if not answer.value.lines:
        yield output.style("no text was found", "dim")
    for line in answer.value.lines:
        yield from _beside(output, f"{line.score:.2f}", clean(line.text))


def _speech(output: Output, answer: Answer) -> Lines:
    value = answer.value
    count = len(value.segments)
    yield (
        f"speech in {value.speech_ratio:.0%} of {duration(value.duration_s)},"
        f" {count} segment{'s' if count != 1 else ''}"
    )
    if not count:
        return
    yield output.style(_timeline(output, value), "green")
    columns = [
        Column("START", lambda s: clock(s.start_s), right=True),
        Column("END", lambda s: clock(s.end_s), right=True),
        Column("LENGTH", lambda s: duration(s.end_s - s.start_s), right=True),
    ]
    yield from output.table(value.segments, columns)


def _timeline(output: Output, value: Any) -> str:
    width = min(_width(output), 60)
    full, empty = ("█", "░") if _draws(output) else ("#", ".")
    cells = [empty] * width
    for segment in value.segments:
        first = int(segment.start_s / value.duration_s * width)
        last = math.ceil(segment.end_s / value.duration_s * width)
        cells[first:last] = full * len(cells[first:last])
    return "".join(cells)


def _said(output: Output, answer: Answer) -> Lines:
    if not answer.value.segments:
        yield output.style("nobody speaks", "dim")
    yield from segment_lines(output, answer.value.segments)


def _classes(output: Output, answer: Answer) -> Lines:
    longest = max(display_width(clean(one.label)) for one in answer.value.labels)
    longest = min(longest, max(_width(output) - _BAR - 10, 6))
    for one in answer.value.labels:
        label = cut(clean(one.label), longest)
        pad = " " * (longest - display_width(label))
        drawn = output.style(bar(output, one.score, _BAR), "green")
        yield f"{label}{pad}  {one.score:6.1%}  {drawn}".rstrip()


def _tensors(output: Output, answer: Answer) -> Lines:
    if answer.value is not None:
        yield clean(answer.value)
    columns = [
        Column("TENSOR", lambda t: t[0], shrink=True),
        Column("TYPE", lambda t: t[1].dtype),
        Column("SHAPE", lambda t: " x ".join(map(str, t[1].shape)) or "scalar"),
        Column("BEGINS WITH", _beginning, shrink=True),
    ]
    if answer.tensors:
        yield from output.table(list(answer.tensors.items()), columns)


def _beginning(named: tuple[str, npy.Array]) -> str:
    found = npy.numbers(named[1])
    shown = " ".join(f"{n:.4g}" if isinstance(n, float) else str(n) for n in found[:6])
    return f"{shown} …" if len(found) > 6 else shown


def bar(output: Output, share: float, width: int) -> str:
    """Draw a share of 1, in eighths of a column where the terminal has them."""
    share = max(0.0, min(1.0, share))
    if not _draws(output):
        return "#" * round(share * width)
    eighths = round(share * width * 8)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def _draws(output: Output) -> bool:
    try:
        "█▏░".encode(getattr(output.out, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _beside(output: Output, head: str, text: str) -> Lines:
    """Give text wrapped to the right of a head."""
    gap = " " * (len(head) + 2)
    room = max(min(_width(output), _MARGIN + len(gap)) - len(gap), 20)
    parts = _wrap(text, room) if output.width is not None else [text]
    yield f"{output.style(head, 'dim')}  {parts[0] if parts else ''}".rstrip()
    yield from (f"{gap}{part}" for part in parts[1:])


def _wrap(text: str, room: int) -> list[str]:
    """Wrap by columns: scripts without blanks are cut where a line is full."""
    if text.isascii():
        return textwrap.wrap(text, room)
    found, line = [], ""
    for word in text.split(" "):
        longer = f"{line} {word}" if line else word
        if display_width(longer) > room and line:
            found.append(line)
            longer = word
        while display_width(longer) > room:
            head = cut(longer, room + 1)[:-1] or longer[:1]
            found.append(head)
            longer = longer[len(head) :]
        line = longer
    return [*found, line] if line else found


def _named(answer: Answer) -> str:
    return short_path(answer.label).strip()


def _width(output: Output) -> int:
    return output.width or 100


_WHOLE: dict[str, Callable[[Output, Sequence[Answer]], Lines]] = {
    "rerank": _ranking,
    "file-type": _types,
}
_EACH: dict[str, Callable[[Output, Answer], Lines]] = {
    "generation": _generated,
    "ocr": _text_lines,
    "voice-activity": _speech,
    "transcription": _said,
    "image-classification": _classes,
}
