"""Measures a model through the daemon, as a program that uses it would meet it.

Refuses to compare with anything and to run for longer, or to count further, than it was told.

With a rate, requests begin when the clock says so, whether earlier ones are back or not, and
latency counts from that intended start (Tene, "How NOT to Measure Latency"). Without one, each
of ``concurrency`` callers asks again as soon as it is answered, so that the intended start is
the moment of the last answer.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from stackctl.cli import model_inputs
from stackctl.cli.context import Here
from stackctl.cli.output import Output
from stackctl.cli.table import Column
from stackctl.cli.text import duration
from stackctl.errors import Invalid, Overloaded

if TYPE_CHECKING:
    from stackctl.contracts.inference import RunReply

MOST_CALLERS = 256
MOST_REQUESTS = 200_000
TEXTS = (
    "A worker is a process of its own for each device.",
    "To rotate keys, make a new one, deploy it, and then revoke the old one.",
    "The batch is bounded by its padded tokens, so long texts wait for long texts.",
    "Logs are kept for seven days and then removed.",
    "An index can be rebuilt from the rows of the store at any time.",
    "How do I stop a program that does not react to an interrupt?",
)
"""What models that read text are asked with, 9 to 17 tokens each."""
_SETTLE_S = 0.3
_BUSY = 0.25
_BACK_OFF_S = 0.01
_PATIENCE_S = 60.0

Run = Callable[[Sequence[Mapping[str, Any]]], "RunReply"]
"""Sends one request; safe to be called from several threads."""


@dataclass(frozen=True)
class Load:
    """How a model is asked."""

    callers: int
    seconds: float
    rate_per_s: float = 0.0
    """Requests begun per second; 0: each caller asks again at once."""
    per_request: int = 1
    """Inputs of one request."""


@dataclass
class _Tally:
    latencies: list[float] = field(default_factory=list)
    queue_s: float = 0.0
    batch_s: float = 0.0
    compute_s: float = 0.0
    by_device: Counter[tuple[str, str]] = field(default_factory=Counter)
    refused: int = 0
    error: Exception | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, run: Run, inputs: Sequence[Mapping[str, Any]]) -> bool:
        """Send one request, note how it was computed, and tell whether it was answered."""
        try:
            reply = run(inputs)
        except Overloaded:
            with self.lock:
                self.refused += 1
            time.sleep(_BACK_OFF_S)
            return False
        except Exception as err:  # raised again by the thread that measures
            with self.lock:
                self.error = self.error or err
            return False
        with self.lock:
            self.queue_s += reply.queue_s
            self.batch_s += reply.batch_s
            self.compute_s += reply.compute_s
            self.by_device[reply.device, reply.execution_provider] += len(inputs)
        return True


def read_callers(text: str) -> list[int]:
    """Read the numbers of callers.

    Raises:
        Invalid: it is no list of 1 to 8 numbers, each 1 to 256.
    """
    parts = [part.strip() for part in text.split(",")]
    found = [int(part) for part in parts if part.isdecimal() and 1 <= int(part) <= MOST_CALLERS]
    if len(found) != len(parts) or len(found) > 8:
        raise Invalid(
            f'"--concurrency {text}", expected up to 8 numbers from 1 to {MOST_CALLERS}, such as'
            " 1,16",
            hint="stackctl models bench default --concurrency 1,16",
        )
    return found


def choose_inputs(
    words: Sequence[str], *, task: str, model: str, graph: model_inputs.Graph = tuple
) -> list[Mapping[str, Any]]:
    """Give what a model is asked with: what the user names, else samples of what it reads.

    Raises:
        Invalid: it reads pictures, sounds or tensors, of which there are none here.
    """
    if task == "file-type" and not words:
        words = [__file__]
    if words or task in model_inputs.TEXTS or task == "image-text-embedding":
        found = model_inputs.read_inputs(words or TEXTS, task=task, model=model, graph=graph)
        return [given.wire for given in found]
    raise Invalid(
        f'model "{model}" reads {model_inputs.BYTES.get(task, "tensors")}, and was given nothing'
        " to be measured with",
        hint=f"stackctl models bench {model} --input FILE",
    )


def show(
    here: Here,
    model: str,
    inputs: Sequence[Mapping[str, Any]],
    loads: Sequence[Load],
    options: Mapping[str, Any],
) -> None:
    """Measure a model under each load in turn, and print it."""
    models = here.client.models
    rows = []
    for load in loads:
        asking = f"{load.rate_per_s:g} requests/s" if load.rate_per_s else "as many as go"
        who = "1 caller" if load.callers == 1 else f"{load.callers} callers"
        here.output.note(f"{model}: {who}, {asking}, {duration(load.seconds)}")
        run = partial(models.run, model, options=options, timeout_s=load.seconds + _PATIENCE_S)
        rows.append(measure(run, inputs, load))
    if here.output.mode in ("text", "quiet"):
        here.output.show(rows, lambda found: lines(here.output, found))
    else:
        here.output.items(rows, COLUMNS, empty="", whole={"model": model, "items": rows})
    cores = max(row["client_cores"] for row in rows)
    if cores > _BUSY:
        here.output.note(f"this command itself used up to {cores:.1f} cores of the machine")


def measure(
    run: Run,
    inputs: Sequence[Mapping[str, Any]],
    load: Load,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
    """Ask a model for a while, and give what was seen.

    Raises:
        StackctlError: a request failed otherwise than by a full queue.
    """
    run(_turn(inputs, 0, load.per_request))  # loads the model
    began = clock()
    settling = _Tally()
    while clock() - began < min(_SETTLE_S, load.seconds / 4):
        settling.ask(run, _turn(inputs, 0, load.per_request))
        if settling.error:
            raise settling.error
    tally, tickets = _Tally(), iter(range(MOST_REQUESTS))
    cpu, start = time.process_time(), clock()

    def next_ticket() -> int | None:
        with tally.lock:
            return None if tally.error else next(tickets, None)

    def call() -> None:
        intended = start
        while (number := next_ticket()) is not None:
            if load.rate_per_s:
                intended = start + number / load.rate_per_s
                time.sleep(max(0.0, min(intended, start + load.seconds) - clock()))
            if max(clock(), intended) - start >= load.seconds:
                return
            answered = tally.ask(run, _turn(inputs, number, load.per_request))
            ended = clock()
            if answered:
                tally.latencies.append(ended - intended)  # atomic
            intended = ended

    threads = [threading.Thread(target=call, daemon=True) for _ in range(load.callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if tally.error:
        raise tally.error
    elapsed_s, cpu_s = clock() - start, time.process_time() - cpu
    return _summary(load, tally, elapsed_s=elapsed_s, cpu_s=cpu_s)


def _turn(inputs: Sequence[Mapping[str, Any]], number: int, count: int) -> list[Mapping[str, Any]]:
    first = number * count
    return [inputs[(first + i) % len(inputs)] for i in range(count)]


def _summary(load: Load, tally: _Tally, *, elapsed_s: float, cpu_s: float) -> dict[str, Any]:
    latencies = sorted(tally.latencies)
    requests = len(latencies)
    inputs = requests * load.per_request
    each = max(requests, 1)
    return {
        "concurrency": load.callers,
        "rate_per_s": load.rate_per_s,
        "inputs_per_request": load.per_request,
        "elapsed_s": elapsed_s,
        "requests": requests,
        "refused": tally.refused,
        "inputs_per_s": inputs / elapsed_s,
        "p50_s": quantile(latencies, 0.5),
        "p95_s": quantile(latencies, 0.95),
        "p99_s": quantile(latencies, 0.99),
        "queue_s": tally.queue_s / each,
        "batch_s": tally.batch_s / each,
        "compute_s": tally.compute_s / each,
        "client_cores": cpu_s / elapsed_s,
        "devices": [
            {
                "device": device,
                "execution_provider": provider,
                "inputs": count,
                "inputs_per_s": count / elapsed_s,
            }
            for (device, provider), count in sorted(tally.by_device.items())
        ],
    }


def _rate(per_s: float) -> str:
    return f"{per_s:.0f}" if per_s >= 100 else f"{per_s:.3g}"


def quantile(ordered: Sequence[float], share: float) -> float | None:
    """Give the smallest value that so large a share does not exceed; None of nothing."""
    if not ordered:
        return None
    return ordered[min(len(ordered) - 1, max(0, -(-int(share * 100) * len(ordered) // 100) - 1))]


COLUMNS = [
    Column("CALLERS", lambda r: r["concurrency"], right=True),
    Column(
        "INPUTS/S", lambda r: _rate(r["inputs_per_s"]), lambda r: r["inputs_per_s"], right=True
    ),
    *(
        Column(
            name.upper(),
            lambda r, key=f"{name}_s": duration(r[key]),  # type: ignore[misc]  # a default binds it
            lambda r, key=f"{name}_s": r[key],  # type: ignore[misc]
            right=True,
            optional=name in ("p95", "batch"),
        )
        for name in ("p50", "p95", "p99", "queue", "batch", "compute")
    ),
    Column("REFUSED", lambda r: r["refused"] or None, right=True, optional=True),
]
DEVICES = [
    Column("CALLERS", lambda r: r["concurrency"], right=True),
    Column("DEVICE", lambda r: r["device"]),
    Column("PROVIDER", lambda r: r["execution_provider"], optional=True),
    Column("INPUTS/S", lambda r: _rate(r["inputs_per_s"]), right=True),
    Column("SHARE", lambda r: f"{r['share']:.0%}", right=True),
]


def lines(output: Output, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Give measurements for people: all, then by device."""
    yield from output.table(rows, COLUMNS)
    yield ""
    parts = [
        {
            "concurrency": row["concurrency"],
            "share": device["inputs_per_s"] / row["inputs_per_s"],
            **device,
        }
        for row in rows
        for device in row["devices"]
    ]
    yield from output.table(parts, DEVICES)
