"""Why ONNX Runtime cannot use a GPU that is there, read from files; refuses to load a library.

ONNX Runtime falls back to the CPU in silence, and says no more than the first thing it missed.
"""

from __future__ import annotations

import os
import re
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stackctl.client import Client
from stackctl.errors import StackctlError

_PROVIDER = "libonnxruntime_providers_cuda.so"
_ELF64_LITTLE = b"\x7fELF\x02\x01"
_PT_LOAD, _PT_DYNAMIC = 1, 2
_DT_NEEDED, _DT_STRTAB = 1, 5
_PROGRAM = struct.Struct("<I4xQQ8xQ")
"""Of elf(5)."""
_OURS = ("libonnxruntime", "libc.", "libm.", "libdl.", "librt.", "libpthread.", "libstdc++.",
         "libgcc_s.", "ld-linux")  # fmt: skip
"""What is in the package itself, or of any Linux."""

_AGAIN = f"{sys.executable} -m pip install --force-reinstall onnxruntime-gpu"

Problems = Iterator[tuple[str, str]]


def gpu_problems(client: Client) -> Problems:
    """Give what keeps a listed GPU from computing: nothing where there is none."""
    try:
        found = client.devices.list()
    except StackctlError:
        return  # the checks of socket and daemon have said it
    gpus = [device for device in found.items if device.kind == "cuda"]
    for problem in found.problems:
        yield problem, "nvidia-smi"
    folder = package_folder()
    if not gpus or folder is None:
        return
    wanted = built_for(folder)
    for text in sorted({gpu.cuda_version for gpu in gpus if gpu.cuda_version}):
        if 0 < _major(text) < _major(wanted):
            driver = next(gpu.driver_version for gpu in gpus if gpu.cuda_version == text)
            yield (
                f"the driver {driver} runs CUDA {text}, onnxruntime-gpu was built for"
                f" {wanted} and needs one of CUDA {_major(wanted)} or later: models would run on"
                " the CPU",
                "nvidia-smi  # then update the driver",
            )
    try:
        missing = missing_libraries(folder / "capi" / _PROVIDER, library_folders(folder))
    except FileNotFoundError:
        yield f"{_PROVIDER} is not here: models would run on the CPU", _AGAIN
        return
    except (OSError, ValueError) as err:
        why = err.strerror if isinstance(err, OSError) else err
        yield f"{_PROVIDER} is damaged, {why}: models would run on the CPU", _AGAIN
        return
    if missing:
        yield (
            f"{_PROVIDER} needs {', '.join(missing)}, which are not here: models would run on"
            " the CPU",
            f"{sys.executable} -m pip install 'onnxruntime-gpu[cuda,cudnn]'",
        )


def package_folder() -> Path | None:
    """Give where onnxruntime lies, without importing it; None where it does not."""
    # Deferred: only this command needs it.
    from importlib.util import find_spec

    spec = find_spec("onnxruntime")
    return Path(spec.origin).parent if spec and spec.origin else None


def built_for(folder: Path) -> str:
    """Give the version of CUDA that the package was built for; "" where it does not say."""
    try:
        text = (folder / "capi" / "build_and_package_info.py").read_text()
    except OSError:
        return ""
    found = re.search(r"^cuda_version\s*=\s*['\"]([\d.]+)", text, re.MULTILINE)
    return found[1] if found else ""


def library_folders(package: Path) -> list[Path]:
    """Give where the loader, and ONNX Runtime's own preloading, look for libraries."""
    named = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    folders = [Path(name) for name in named if name]
    folders += sorted(package.parent.glob("nvidia/**/lib"))
    folders += [package / "capi", *map(Path, ("/usr/local/cuda/lib64", "/usr/lib64", "/lib64"))]
    folders += sorted(Path("/usr/lib").glob("*-linux-gnu"))
    for file in sorted(Path("/etc/ld.so.conf.d").glob("*.conf")):
        folders += [Path(line) for line in file.read_text().split() if line.startswith("/")]
    return folders


def missing_libraries(file: Path, folders: list[Path]) -> list[str]:
    """Give the libraries that a library names and none of the folders has; raises as `needed`."""
    return [
        name
        for name in needed(file)
        if not name.startswith(_OURS) and not any((folder / name).exists() for folder in folders)
    ]


def needed(file: Path) -> list[str]:
    """Give the libraries that a 64-bit little-endian ELF file names (DT_NEEDED).

    Raises:
        OSError: it cannot be read.
        ValueError: it is none, or not whole.

    Source: elf(5).
    """
    with file.open("rb") as stream:
        header = stream.read(64)
        if header[:6] != _ELF64_LITTLE or len(header) < 64:
            raise ValueError("it is not an ELF library")
        table, sections, size, count, width, more = struct.unpack_from("<QQ6xHHHH", header, 32)
        length = stream.seek(0, os.SEEK_END)
        _check_end(max(table + size * count, sections + width * more), length)
        if size < _PROGRAM.size:
            raise ValueError(f"its program headers have {size} bytes")
        stream.seek(table)
        programs = [_PROGRAM.unpack_from(stream.read(size)) for _ in range(count)]
        _check_end(max((p[1] + p[3] for p in programs), default=0), length)

        def at(address: int) -> int:
            for kind, offset, start, length in programs:
                if kind == _PT_LOAD and start <= address < start + length:
                    return int(offset + address - start)
            raise ValueError(f"it has nothing at {address:#x}")

        dynamic = next((p for p in programs if p[0] == _PT_DYNAMIC), None)
        if dynamic is None:
            return []
        stream.seek(dynamic[1])
        entries = list(struct.iter_unpack("<QQ", stream.read(dynamic[3] // 16 * 16)))
        strings = next((at(value) for tag, value in entries if tag == _DT_STRTAB), 0)
        return [_string(stream, strings + value) for tag, value in entries if tag == _DT_NEEDED]


def _check_end(expected: int, length: int) -> None:
    """Refuse a file that ends before what its header tells of: a copy was cut short."""
    if expected > length:
        raise ValueError(f"it has {length} bytes of {expected}")


def _string(stream: Any, offset: int) -> str:
    stream.seek(offset)
    return str(stream.read(256).split(b"\0", 1)[0].decode("ascii", "replace"))


def _major(version: str) -> int:
    """Give what counts: a driver runs what was built for any minor version of its major.

    Source: CUDA Compatibility, minor version compatibility; of CUDA 11 and later.
    """
    found = re.match(r"\d+", version)
    return int(found[0]) if found else 0
