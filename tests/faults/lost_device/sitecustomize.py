"""Loses the device of a stackctl worker for as long as a file says so.

Found by the interpreter through ``PYTHONPATH`` in the processes of a fault run; does nothing but
in a worker. The fault stands where a real one does, at ONNX Runtime's edge: a session that is
open fails as CUDA does when its device fell off the bus, and a new one falls back to another
provider in silence.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

WORKER = "stackctl_daemon.inference.worker_main"
FAILURE = (
    "Non-zero status code returned while running MatMul node. CUDA failure 719: unspecified"
    " launch failure ; GPU=0 ; expr=cudaStreamSynchronize(stream)"
)


def lose(mark: Path) -> None:
    """Make sessions of this process fail while ``mark`` exists."""
    import onnxruntime as ort  # deferred: only a worker pays for it

    real: Any = ort.InferenceSession

    class Session(real):  # type: ignore[misc]  # its base has no types
        def run(self, *arguments: Any, **named: Any) -> Any:
            if mark.exists():
                raise RuntimeError(FAILURE)
            return super().run(*arguments, **named)

        def get_providers(self) -> list[str]:
            found: list[str] = super().get_providers()
            return ["NoExecutionProvider", *found] if mark.exists() else found

    ort.InferenceSession = Session


if WORKER in sys.orig_argv and "STACKCTL_LOST" in os.environ:
    core = sys.orig_argv[sys.orig_argv.index("--cores") + 1].partition(",")[0]
    lose(Path(os.environ["STACKCTL_LOST"]) / core)
