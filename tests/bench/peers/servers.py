"""The servers under test: how each is installed, started, asked and accounted for."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import Stack

from peers.load import Address, post
from stackctl_daemon.models.bert_graph import PADDED_FILE, build_graph

HERE = Path(__file__).parent
INSTALL_TIMEOUT_S = 600.0
START_TIMEOUT_S = 120.0
SETTLE_TIMEOUT_S = 15.0
_RESTS = 0.1
"""Of a core."""
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")

ENVIRONMENTS = {
    "litserve": ["litserve==0.2.19", "onnxruntime-gpu==1.31.1", "tokenizers==0.23.*", "numpy"],
    "bentoml": ["bentoml==1.4.39", "onnxruntime-gpu==1.31.1", "tokenizers==0.23.*", "numpy"],
    "infinity": ["infinity-emb[torch,server]==0.0.78"],
}
"""Packages of each peer's own environment; the versions that the recorded figures are of."""


class Skipped(Exception):
    """A peer cannot be had here; the message says why."""


@dataclass
class Server:
    """One that answers now."""

    name: str
    address: Address
    pid: int
    path: str
    body: str = "text"
    """Field that holds the text: ``text``, or a list in ``texts`` or ``input``."""
    extra: dict[str, Any] = field(default_factory=dict)
    header: str = ""

    def requests(self, texts: list[str], items: int = 1) -> list[bytes]:
        """Give requests of ``items`` texts each."""
        at = self.address
        host = "localhost" if isinstance(at, Path) else f"{at[0]}:{at[1]}"
        found = []
        for start in range(0, len(texts) - items + 1, items):
            part = texts[start : start + items]
            value = part[0] if self.body == "text" else part
            body = json.dumps({self.body: value, **self.extra}).encode()
            found.append(post(self.path, body, self.header, host))
        return found

    def cpu_s(self) -> float:
        """Give the CPU time of the process, its descendants, and those that it waited for."""
        return sum(_cpu_s(pid) for pid in tree(self.pid))

    def settle(self) -> None:
        """Wait until it rests: a server that goes on for clients that left slows what is next."""
        deadline = time.monotonic() + SETTLE_TIMEOUT_S
        before, used = self.cpu_s(), 1.0
        while used > _RESTS and time.monotonic() < deadline:
            time.sleep(0.25)
            now = self.cpu_s()
            before, used = now, (now - before) / 0.25


def tree(root: int) -> list[int]:
    """Give a process and its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            stat = _stat(int(entry.name))
            if stat:
                children.setdefault(int(stat[1]), []).append(int(entry.name))
    found, left = [], [root]
    while left:
        pid = left.pop()
        found.append(pid)
        left += children.get(pid, [])
    return found


def _stat(pid: int) -> list[str]:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return []
    return text.rpartition(")")[2].split()


def _cpu_s(pid: int) -> float:
    stat = _stat(pid)
    # utime, stime, cutime, cstime: fields 14 to 17 of proc(5), of which two were cut off.
    return sum(map(int, stat[11:15])) * _TICK_S if stat else 0.0


def cache() -> Path:
    """Give the folder of the peers' environments, outside the repository."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "stackctl-bench"


def install(name: str) -> Path:
    """Give the environment of a peer, making it where there is none.

    Raises:
        Skipped: uv is missing, fails, or takes too long.
    """
    folder = cache() / name
    done = folder / "installed.json"
    packages = ENVIRONMENTS[name]
    if done.exists() and json.loads(done.read_text()) == packages:
        return folder
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv is None:
        raise Skipped("uv, which makes its environment, is not on PATH")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    python = str(folder / "bin" / "python")
    commands = [
        [uv, "venv", "-q", "--clear", "--python", version, str(folder)],
        [uv, "pip", "install", "-q", "--python", python, *packages],
    ]
    deadline = time.monotonic() + INSTALL_TIMEOUT_S
    for command in commands:
        try:
            ran = subprocess.run(
                command, capture_output=True, text=True, check=False,
                timeout=deadline - time.monotonic(),
            )  # fmt: skip
        except subprocess.TimeoutExpired as err:
            raise Skipped(f"not installed in {INSTALL_TIMEOUT_S:.0f} s") from err
        if ran.returncode:
            raise Skipped(f"uv: {ran.stderr.strip().splitlines()[-1:]}")
    done.write_text(json.dumps(packages))
    return folder


def free_port() -> int:
    """Give a port of loopback that nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@contextmanager
def stackctl(
    cpu_sets: str, *, core: set[int], name: str = "stackctl", tcp: bool = False
) -> Iterator[list[Server]]:
    """Run a daemon; give it by its socket, and by loopback TCP where asked for."""
    port = free_port()
    env = {"STACKCTL_DEVICES__CPU_SETS": cpu_sets, "STACKCTL_DEVICES__GPUS": "off"}
    if tcp:
        env["STACKCTL_API__LISTEN"] = f"127.0.0.1:{port}"
    with Stack(env=env) as stack:
        assert stack.process is not None
        pid = stack.process.pid
        found = [Server(name, stack.socket_path, pid, "/v1/embed", "texts")]
        if tcp:
            token = next(stack.home.rglob("api-token")).read_text().strip()
            extra = {"model": "all-minilm-l6-v2", "encoding_format": "base64"}
            header = f"Authorization: Bearer {token}\r\n"
            address = ("127.0.0.1", port)
            found.append(
                Server(f"{name} (OpenAI, TCP)", address, pid, "/v1/embeddings", "input", extra,
                       header)
            )  # fmt: skip
        for _ in range(8):
            stack.ok("POST", "/v1/embed", {"texts": ["warm"] * 64})
        # Only now, since devices are cores that the daemon may use; workers pinned themselves.
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), core)
        yield found


@contextmanager
def peer(
    name: str, model: Path, *, core: int, others: set[int], packed: bool = False
) -> Iterator[Server]:
    """Run a peer in its own environment, on the graph that pads as an exporter writes it.

    Args:
        name: which.
        model: folder of the model's files.
        core: where it computes.
        others: where it serves.
        packed: give it the graph that leaves padding out.

    Raises:
        Skipped: it cannot be installed, or does not answer.
    """
    folder, port = install(name), free_port()
    graph, tokenizer = build_graph(model), model / "tokenizer.json"
    graph = graph if packed else model / PADDED_FILE
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    env = {**os.environ, **threads, "PYTHONPATH": str(HERE), "TOKENIZERS_PARALLELISM": "false",
           "BENCH_GRAPH": str(graph), "BENCH_TOKENIZER": str(tokenizer),
           "DO_NOT_TRACK": "1", "BENTOML_DO_NOT_TRACK": "True", "HF_HUB_OFFLINE": "1",
           "BENTOML_HOME": str(cache() / "bentoml-home"),
           "INFINITY_ANONYMOUS_USAGE_STATS": "0"}  # fmt: skip
    run = str(folder / "bin")
    if name == "litserve":
        command = [f"{run}/python", str(HERE / "litserve_app.py"), str(graph), str(tokenizer),
                   str(port), str(core)]  # fmt: skip
        server = Server(name, ("127.0.0.1", port), 0, "/embed")
        cores = others | {core}
    elif name == "bentoml":
        command = [f"{run}/bentoml", "serve", "bentoml_app:Embedding", "--host", "127.0.0.1",
                   "--port", str(port), "--working-dir", str(HERE)]  # fmt: skip
        server = Server(name, ("127.0.0.1", port), 0, "/embed", "texts")
        cores = others | {core}
    else:
        command = [f"{run}/infinity_emb", "v2", "--model-id", str(_sentence_model(model)),
                   "--engine", "torch", "--device", "cpu", "--dtype", "float32", "--batch-size",
                   "16", "--no-bettertransformer", "--host", "127.0.0.1", "--port", str(port),
                   "--served-model-name", "minilm", "--log-level", "warning"]  # fmt: skip
        extra = {"model": "minilm", "encoding_format": "base64"}
        server = Server(name, ("127.0.0.1", port), 0, "/embeddings", "input", extra)
        cores = others | {core}
    log = cache() / f"{name}.log"
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(
                command, env=env, stdout=output, stderr=output, stdin=subprocess.DEVNULL,
                start_new_session=True, cwd=cache(),
            )  # fmt: skip
        finally:
            os.sched_setaffinity(0, before)
    server.pid = process.pid
    try:
        _wait(process, server, log)
        yield server
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait(process: subprocess.Popen[bytes], server: Server, log: Path) -> None:
    """Wait until a server embeds."""
    assert isinstance(server.address, tuple)
    request = server.requests(["warm"])[0].replace(b"Host:", b"Connection: close\r\nHost:")
    deadline = time.monotonic() + START_TIMEOUT_S
    answer = b""
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(server.address, 30) as talk:
                talk.sendall(request)
                answer = talk.recv(4096)
                if answer[9:12] == b"200":
                    return
        except OSError:
            pass
        try:
            process.wait(0.2)
        except subprocess.TimeoutExpired:
            continue
        break
    said = log.read_text(errors="replace").strip()[-600:]
    raise Skipped(f"it does not answer: {answer[:200]!r} {said}")


def _sentence_model(model: Path) -> Path:
    """Give the model as sentence-transformers reads it: the same weights, pooled by the mean."""
    folder = cache() / "sentence-model"
    (folder / "1_Pooling").mkdir(parents=True, exist_ok=True)
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        target = folder / name
        if not target.exists():
            shutil.copyfile(model / name, target)
    kind = "sentence_transformers.models"
    parts = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"{kind}.{name}"}
        for i, (path, name) in enumerate(parts)
    ]
    pooling = {"word_embedding_dimension": 384, "pooling_mode_mean_tokens": True}
    files = {
        "modules.json": modules,
        "1_Pooling/config.json": pooling,
        "sentence_bert_config.json": {"max_seq_length": 256, "do_lower_case": False},
        "tokenizer_config.json": {"tokenizer_class": "BertTokenizer", "model_max_length": 256},
    }
    for name, value in files.items():
        (folder / name).write_text(json.dumps(value))
    return folder
