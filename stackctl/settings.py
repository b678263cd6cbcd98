"""Typed settings: defaults, then /etc, the user's TOML, the environment; all or nothing.

Refuses unknown keys, wrong types and values out of range, naming file and line.
Imported lazily by the CLI: it pulls in tomllib and msgspec.
"""

from __future__ import annotations

import os
import re
import shlex
import tomllib
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from stackctl import paths
from stackctl.errors import BadConfig


class DaemonSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the daemon serves."""

    max_connections: Annotated[int, Meta(ge=1, le=65_536)] = 512
    """Connections held at once; more wait in the kernel's queue."""
    header_timeout_s: Annotated[float, Meta(ge=0.001, le=3600)] = 10.0
    """From connect, or the end of the last answer, to a whole header."""
    body_timeout_s: Annotated[float, Meta(ge=0.001, le=3600)] = 60.0
    drain_timeout_s: Annotated[float, Meta(ge=0.001, le=3600)] = 20.0
    """How long SIGTERM waits for requests and jobs to reach a safe point."""
    log_level: str = "INFO"
    log_max_bytes: Annotated[int, Meta(ge=1000, le=10_000_000_000)] = 10_000_000
    log_files: Annotated[int, Meta(ge=1, le=1000)] = 5
    operator_group: str = ""
    """Unix group whose members may read and operate."""


class DeviceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which devices are used."""

    cpu_sets: list[list[Annotated[int, Meta(ge=0)]]] = []
    """Sets of CPU cores, one device each; empty: one device with all cores allowed to us."""
    gpus: str = "auto"
    """``auto`` or ``off``."""
    nvml_library: str = ""
    """Path of libnvidia-ml, when not the system's."""
    memory_limit_bytes: Annotated[int, Meta(ge=0, le=1_000_000_000_000_000)] = 0
    """What the worker of a CPU device may take, models included; 0: what the machine has."""
    ray_replicas: Annotated[int, Meta(ge=0, le=1000)] = 0
    """Replicas of each model on Ray Serve, which then take the place of this machine's cores;
    needs ``stackctl[ray]``; 0: none."""
    ray_address: str = ""
    """``HOST:PORT`` of a Ray cluster whose machines hold the models under the same paths; empty:
    one is started on this machine."""


class InferenceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How texts become vectors."""

    default_model: str = "all-minilm-l6-v2"
    batch_tokens: Annotated[int, Meta(ge=1, le=1_000_000)] = 384
    """Tokens in a batch; one CPU core is as fast with 384 as with more, and answers sooner."""
    batch_share: Annotated[float, Meta(ge=0, le=0.9)] = 0.1
    """Part of a device's computing time that requests of ``batch`` priority have while
    interactive ones wait too; 0: a turn now and then."""
    max_queued_texts: Annotated[int, Meta(ge=1, le=1_000_000)] = 8192
    """Above it a request is refused with 429 and Retry-After."""
    keep_alive_s: Annotated[float, Meta(ge=0, le=31_536_000)] = 0.0
    """After so long without a request a model is unloaded; 0: never."""
    warm_up_s: Annotated[float, Meta(ge=0, le=60)] = 3.0
    """Of computing, to find a model's batch budget when one asks to load it; 0: never."""
    latency_target_ms: Annotated[float, Meta(ge=0, le=600_000)] = 0.0
    """What 95 of 100 requests should be answered within: batches are sized for it, model by model,
    from what was measured. 0: batches are as large as is best for throughput."""
    wedge_timeout_s: Annotated[float, Meta(ge=0.1, le=86_400)] = 120.0
    """A worker that holds work and says nothing for so long is killed and started again; above
    what loading the largest model and its largest batch take."""


class GpuSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How models run on GPUs."""

    memory_limit_bytes: Annotated[int, Meta(ge=0, le=1_000_000_000_000_000)] = 0
    """Bound of what ONNX Runtime keeps for each graph; 0: none."""
    cuda_graphs: bool = False
    """Record the launches of a shape and repeat them; for models whose shapes never change."""
    tf32: bool = False
    """Let matrix products round to 19 bits on tensor cores."""
    tensorrt: bool = False
    """Build TensorRT engines for models whose shapes are known, and keep them in the cache."""
    fp16: bool = False
    """Let TensorRT compute in half precision."""


class SearchSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How files are indexed and ranked."""

    max_file_bytes: Annotated[int, Meta(ge=1, le=1_000_000_000_000)] = 50_000_000
    """Larger files are reported and skipped."""
    chunk_tokens: Annotated[int, Meta(ge=16, le=2000)] = 200
    keyword_weight: Annotated[float, Meta(ge=0, le=10)] = 0.45
    semantic_weight: Annotated[float, Meta(ge=0, le=10)] = 0.55
    """Weights of reciprocal rank fusion (Cranfield, nDCG@10 .419)."""
    rrf_k: Annotated[int, Meta(ge=0, le=1000)] = 60


class AnalyticsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How events are kept."""

    flush_interval_s: Annotated[float, Meta(ge=0.0001, le=60)] = 0.05
    """How long events of the daemon's own wait for others to share a write; what is to be
    acknowledged does not wait."""
    load_interval_s: Annotated[float, Meta(ge=0.001, le=3600)] = 1.0
    """How often the loader moves durable events into DuckDB."""
    retention_days: Annotated[int, Meta(ge=1, le=36_500)] = 90


class InsightsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How events are watched."""

    interval_s: Annotated[float, Meta(ge=0, le=86_400)] = 60.0
    """How often the engine looks for what changed; figures are by the minute. 0: only when one
    asks."""


class ModelSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where models come from."""

    connect_timeout_s: Annotated[float, Meta(ge=0.001, le=3600)] = 5.0
    """A source that does not answer in this time is left for the next."""
    offline: bool = False
    """Only what is on this disk."""


class ApiSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How programs that speak OpenAI's or the Open Inference Protocol reach the models."""

    listen: str = ""
    """Loopback address and port, such as ``127.0.0.1:8484``; empty: no port is open."""
    upstreams: list[str] = []
    """``MODEL=URL`` each: the engine (vLLM, Ollama, llama.cpp) that completions of a model are
    passed on to, such as ``llama3.2=http://127.0.0.1:11434``."""
    upstream_key_file: str = ""
    """File with the key that engines are sent as bearer; empty: none."""
    upstream_timeout_s: Annotated[float, Meta(ge=0.001, le=3600)] = 300.0
    """How long an engine may be silent; connecting has 5 s."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that can be configured."""

    daemon: DaemonSettings = DaemonSettings()
    devices: DeviceSettings = DeviceSettings()
    gpu: GpuSettings = GpuSettings()
    inference: InferenceSettings = InferenceSettings()
    search: SearchSettings = SearchSettings()
    analytics: AnalyticsSettings = AnalyticsSettings()
    insights: InsightsSettings = InsightsSettings()
    models: ModelSettings = ModelSettings()
    api: ApiSettings = ApiSettings()


def files() -> list[Path]:
    """Configuration files, weakest first, whether they exist or not."""
    return [Path("/etc/stackctl/stackctl.toml"), paths.config_dir() / "stackctl.toml"]


def load() -> tuple[Settings, list[str]]:
    """Give the settings in force and what they were read from, weakest first.

    Raises:
        BadConfig: a file is not TOML, or has an unknown key, a wrong type or a wrong value.
    """
    merged: dict[str, dict[str, Any]] = {}
    sources = ["defaults"]
    for file in files():
        text = _read(file)
        if text is None:
            continue
        _merge(merged, _parse(text, file))
        sources.append(str(file))
    environment = _from_environment()
    for name, section in environment.items():
        _merge(merged, {name: section})
        sources += [f"STACKCTL_{name.upper()}__{key.upper()}" for key in section]
    try:
        return msgspec.convert(merged, Settings), sources
    except msgspec.ValidationError as err:
        raise BadConfig(
            f"configuration: {_worded(str(err))}", hint="stackctl config path"
        ) from err


def _read(file: Path) -> str | None:
    """Give a file's text; None when there is no such file."""
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as err:
        look = f"ls -l {shlex.quote(str(file))}"
        raise BadConfig(f"{file} cannot be read: {err.strerror}", hint=look) from err
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as err:
        line = data.count(b"\n", 0, err.start) + 1
        raise BadConfig(
            f"{file}:{line}: not UTF-8: the byte 0x{data[err.start]:02x}, expected UTF-8 text",
            hint=_edit(file),
        ) from err


def _edit(file: Path) -> str:
    """Give the command that mends a file: the file is broken, so none of ours can read it."""
    return f"${{EDITOR:-vi}} {shlex.quote(str(file))}"


def _worded(message: str) -> str:
    """Name the known keys, the nearest first, where msgspec only says that one is unknown."""
    unknown = re.search(r"unknown field `(.+?)`(?: - at `\$\.?([\w.]*)`)?", message)
    if not unknown:
        return message
    section = unknown[2] or ""
    kind = type(getattr(Settings(), section)) if section else Settings
    # Deferred: only a mistake needs it.
    from difflib import SequenceMatcher

    def distance(known: str) -> float:
        return -SequenceMatcher(None, known, unknown[1].lower()).ratio()

    known = ", ".join(sorted(kind.__struct_fields__, key=distance))
    what = f'key "{unknown[1]}" in [{section}]' if section else f"section [{unknown[1]}]"
    return f"unknown {what}, expected one of: {known}"


def _parse(text: str, file: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(text)
        msgspec.convert(values, Settings)
    except tomllib.TOMLDecodeError as err:
        found = re.search(r"line (\d+)", str(err))
        where = f"{file}:{found[1]}" if found else str(file)
        raise BadConfig(f"{where}: not TOML: {err}", hint=_edit(file)) from err
    except msgspec.ValidationError as err:
        message = f"{file}:{_line(text, str(err))}: {_worded(str(err))}"
        raise BadConfig(message, hint=_edit(file)) from err
    return values


def _line(text: str, message: str) -> int:
    """Find the line that a validation message speaks of; 1 when it cannot be told."""
    unknown = re.search(r"unknown field `(\w+)`", message)
    path = re.search(r"at `\$\.?([\w.]*)", message)
    parts = [p for p in (path[1].split(".") if path and path[1] else []) if p]
    if unknown:
        parts.append(unknown[1])
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        header = re.match(r"\[([\w.]+)\]", stripped)
        if header:
            section = header[1]
            if parts == [section]:
                return number
            continue
        key = re.match(r"(\w+)\s*=", stripped)
        if key and [*filter(None, section.split(".")), key[1]] == parts:
            return number
    return 1


def _merge(into: dict[str, dict[str, Any]], values: dict[str, Any]) -> None:
    for name, section in values.items():
        into.setdefault(name, {}).update(section)


def _from_environment() -> dict[str, dict[str, Any]]:
    """Read ``STACKCTL_<SECTION>__<KEY>``; a value is TOML, or text where it is not."""
    found: dict[str, dict[str, Any]] = {}
    for variable, text in sorted(os.environ.items()):
        parts = re.fullmatch(r"STACKCTL_([A-Z]+)__([A-Z_]+)", variable)
        if not parts:
            continue
        try:
            value = tomllib.loads(f"v = {text}")["v"]
        except tomllib.TOMLDecodeError:
            value = text
        section, key = parts[1].lower(), parts[2].lower()
        try:
            msgspec.convert({section: {key: value}}, Settings)
        except msgspec.ValidationError as err:
            message = f"{variable}={text}: {_worded(str(err))}"
            raise BadConfig(message, hint=f"unset {variable}") from err
        found.setdefault(section, {})[key] = value
    return found
