"""A BERT of small random weights, as its files."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

CONFIG: dict[str, Any] = {
    "model_type": "bert",
    "hidden_size": 16,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "intermediate_size": 32,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "position_embedding_type": "absolute",
}
VOCABULARY, POSITIONS = 50, 24


def random_weights(prefix: str = "") -> dict[str, np.ndarray]:
    random = np.random.default_rng(7)
    hidden, wide = CONFIG["hidden_size"], CONFIG["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (VOCABULARY, hidden),
        "embeddings.position_embeddings.weight": (POSITIONS, hidden),
        "embeddings.token_type_embeddings.weight": (2, hidden),
        "embeddings.LayerNorm.weight": (hidden,),
        "embeddings.LayerNorm.bias": (hidden,),
    }
    for number in range(CONFIG["num_hidden_layers"]):
        scope = f"encoder.layer.{number}"
        linears = {
            "attention.self.query": (hidden, hidden),
            "attention.self.key": (hidden, hidden),
            "attention.self.value": (hidden, hidden),
            "attention.output.dense": (hidden, hidden),
            "intermediate.dense": (wide, hidden),
            "output.dense": (hidden, wide),
        }
        for name, shape in linears.items():
            shapes[f"{scope}.{name}.weight"] = shape
            shapes[f"{scope}.{name}.bias"] = (shape[0],)
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes[f"{scope}.{name}.weight"] = shapes[f"{scope}.{name}.bias"] = (hidden,)
    return {
        prefix + name: random.normal(0, 0.7, shape).astype(np.float32)
        for name, shape in shapes.items()
    }


def write_safetensors(file: Path, tensors: dict[str, np.ndarray]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    body = b""
    for name, value in tensors.items():
        kind = {"float32": "F32", "float16": "F16"}[value.dtype.name]
        start, body = len(body), body + value.tobytes()
        header[name] = {"dtype": kind, "shape": value.shape, "data_offsets": [start, len(body)]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write_bytes(struct.pack("<Q", len(text)) + text + body)
