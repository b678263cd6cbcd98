"""Evidence from a GPU machine: every embedding model on its GPUs, beside the CPU; ``nox -s gpu``.

Writes ``gpu-evidence.json`` (or the path given): the machine, and for each GPU and model the
execution provider, the share of nodes on the GPU, how far its vectors are from the CPU's,
throughput by batch budget, and the memory that came back after an unload. Where there is no GPU
it says so, writes nothing and ends with 0: it did not run, and claims nothing.
"""

from __future__ import annotations

import asyncio
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from inference_stack import CACHE, Sink, model_service, sentences

from stackctl.contracts.device import Device
from stackctl.contracts.inference import LoadRequest
from stackctl.errors import NotFound, StackctlError
from stackctl.settings import DeviceSettings, InferenceSettings
from stackctl_daemon.devices.inventory import inventory
from stackctl_daemon.inference.service import InferenceService

TEXTS = 2048
TOLERANCE = 2e-3
"""Largest difference of a vector's number from the CPU's; float32 on both."""
BUDGETS = (512, 2048, 8192, 32_768)


async def measure(device: Device, model: str, budget: int, texts: list[str]) -> dict[str, Any]:
    """Embed texts on one device with one budget."""
    store = model_service()
    try:
        await store.ready(model)
    except NotFound:
        await store.pull(model)
    settings = InferenceSettings(batch_tokens=budget, default_model=model, warm_up_s=0)
    service = InferenceService(settings, [device], store, Sink(), data_dir=CACHE / "gpu-evidence")
    await service.start()
    try:
        running = await service.control.load(model, LoadRequest())
        await service.embed_texts(texts[:64], model=model)
        began = time.perf_counter()
        done = await service.embed_texts(texts, model=model)
        elapsed_s = time.perf_counter() - began
        unloaded = (await service.control.unload(model, "")).items
        return {
            "budget": budget,
            "execution_provider": done.execution_provider,
            "texts_per_s": len(texts) / elapsed_s,
            "load_s": running.load_s,
            "memory_bytes": running.memory_bytes,
            "returned_bytes": sum(item.returned_bytes for item in unloaded),
            "vectors": done.vectors,
        }
    finally:
        await service.close()
        await store.close()


async def evidence(gpus: list[Device], cpu: Device, models: list[str]) -> list[dict[str, Any]]:
    """Compare each GPU with the CPU, model by model."""
    rows: list[dict[str, Any]] = []
    texts = sentences(TEXTS)
    for model in models:
        base = await measure(cpu, model, 512, texts)
        expected = base.pop("vectors")
        rows.append({"model": model, "device": cpu.id, **base})
        for gpu in gpus:
            for budget in BUDGETS:
                try:
                    row = await measure(gpu, model, budget, texts)
                except StackctlError as err:
                    rows.append({"model": model, "device": gpu.id, "error": err.message})
                    break
                difference = float(np.abs(row.pop("vectors") - expected).max())
                row |= {"max_difference": difference, "held": difference <= TOLERANCE}
                row["ratio_to_cpu"] = row["texts_per_s"] / base["texts_per_s"]
                rows.append({"model": model, "device": gpu.id, **row})
    return rows


def main(arguments: list[str]) -> int:
    """Run on the GPUs that there are; give 1 when a vector is off or a GPU did not run."""
    devices, problems = inventory(DeviceSettings())
    gpus = [device for device in devices if device.kind == "cuda"]
    if not gpus:
        print(f"did not run: no NVIDIA GPU here ({'; '.join(problems) or 'NVML finds none'})")
        return 0
    [cpu] = inventory(DeviceSettings(gpus="off"))[0][:1]
    models = ["all-minilm-l6-v2"]
    rows = asyncio.run(evidence(gpus, cpu, models))
    target = Path(arguments[0] if arguments else "gpu-evidence.json")
    found = {
        "machine": platform.platform(),
        "python": platform.python_version(),
        "gpus": [{"id": gpu.id, "name": gpu.name, "uuid": gpu.uuid} for gpu in gpus],
        "problems": problems,
        "rows": rows,
    }
    target.write_text(json.dumps(found, indent=2) + "\n")
    for row in rows:
        print(json.dumps(row))
    print(f"wrote {target}")
    good = [row for row in rows if row.get("held")]
    return 0 if good and all(row.get("held", True) and "error" not in row for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
