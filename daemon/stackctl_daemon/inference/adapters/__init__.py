"""Model kinds by name: how inputs become tensors, and tensors become results.

A catalogue entry names its adapter. Refuses to import one before a model asks for it.
"""

from __future__ import annotations

from importlib import import_module

from stackctl.errors import Failed
from stackctl_daemon.inference.adapters.base import Adapter, ModelSpec, OpenSession

ADAPTERS = {
    "text-embedding": "text_embedding:TextEmbedding",
    "static-embedding": "static_embedding:StaticEmbedding",
    "late-interaction": "late_interaction:LateInteraction",
    "cross-encoder": "cross_encoder:CrossEncoder",
    "seq2seq": "seq2seq:Seq2Seq",
    "tensor-graph": "tensor_graph:TensorGraph",
    "image-classification": "image_models:ImageClassification",
    "image-embedding": "image_models:ImageEmbedding",
    "file-type": "file_type:FileType",
    "ocr": "ocr:Ocr",
    "clip": "clip:Clip",
    "voice-activity": "voice_activity:VoiceActivity",
    "transcription": "transcription:Transcription",
}
"""Module of this package and class, by the name in a catalogue entry."""


def open_adapter(name: str, spec: ModelSpec, open_session: OpenSession) -> Adapter:
    """Load a model.

    Raises:
        Failed: there is no such adapter, or the files do not suit it.
        DeviceUnusable: the device cannot run it.
    """
    if name not in ADAPTERS:
        raise Failed(
            f'model "{spec.name}" wants the adapter "{name}", known: {", ".join(ADAPTERS)}',
            hint="stackctl models list",
        )
    module, _, attribute = ADAPTERS[name].partition(":")
    found: type[Adapter] = getattr(import_module(f"{__name__}.{module}"), attribute)
    return found(spec, open_session)
