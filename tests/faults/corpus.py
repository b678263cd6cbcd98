"""A few hundred small real text files, cut from the standard library; the same on every run."""

from __future__ import annotations

import sysconfig
from pathlib import Path

LINES = 24
PER_MODULE = 3


def write_corpus(folder: Path, files: int) -> int:
    """Write up to ``files`` slices of the standard library's source and give how many."""
    folder.mkdir(parents=True, exist_ok=True)
    written = 0
    for module in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        lines = module.read_text(encoding="utf-8", errors="replace").splitlines()
        for part in range(PER_MODULE):
            cut = lines[part * LINES : (part + 1) * LINES]
            if len(cut) < LINES:
                break
            if written == files:
                return written
            suffix = "py" if part else "txt"
            (folder / f"{module.stem}-{part}.{suffix}").write_text("\n".join(cut) + "\n")
            written += 1
    return written
