"""A Whisper of several languages, by graphs that say a script: no weights of one can be had here.

Shapes, token ids and their order are those of the multilingual vocabulary (51,865 tokens); the
decoder is a table from the last token to the next, run by ONNX Runtime as the real one is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from sounds import wav
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from stackctl.errors import Failed, Invalid
from stackctl_daemon.inference.adapters.audio import RATE
from stackctl_daemon.inference.adapters.base import Input, ModelSpec
from stackctl_daemon.inference.adapters.transcription import Transcription
from stackctl_daemon.inference.adapters.transcription_rules import LANGUAGES
from stackctl_daemon.inference.session import DevicePolicy

SIZE, END, START = 51_865, 50_257, 50_258
CODES = LANGUAGES[:-1]  # the last one came with large-v3
LANGUAGE = {code: START + 1 + i for i, code in enumerate(CODES)}
TRANSLATE, TRANSCRIBE, PREVIOUS, SILENT, UNTIMED = 50_358, 50_359, 50_361, 50_362, 50_363
TIME = 50_364
HALLO, HELLO = 1_000, 2_000
NAMES = {
    END: "<|endoftext|>",
    START: "<|startoftranscript|>",
    **{number: f"<|{code}|>" for code, number in LANGUAGE.items()},
    TRANSLATE: "<|translate|>",
    TRANSCRIBE: "<|transcribe|>",
    50_360: "<|startoflm|>",
    PREVIOUS: "<|startofprev|>",
    SILENT: "<|nospeech|>",
    UNTIMED: "<|notimestamps|>",
}
# What follows what: transcribing says "hallo" for a second, translating "hello" for two.
SCRIPT = {
    START: LANGUAGE["de"],
    LANGUAGE["de"]: SILENT,  # never asked: a task follows at once
    TRANSCRIBE: TIME,
    TRANSLATE: TIME + 1,
    TIME: HALLO,
    TIME + 1: HELLO,
    HALLO: TIME + 50,
    HELLO: TIME + 100,
    TIME + 50: END,
    TIME + 100: END,
}


def write(folder: Path, script: Mapping[int, int]) -> ModelSpec:
    vocabulary = {f"w{i}": i for i in range(END)} | {"hallo": HALLO, "hello": HELLO}
    del vocabulary[f"w{HALLO}"], vocabulary[f"w{HELLO}"]
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="w0"))  # noqa: S106 - a word of the vocabulary
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([AddedToken(NAMES[i], special=True) for i in sorted(NAMES)])
    assert {i: tokenizer.token_to_id(name) for i, name in NAMES.items()} == {i: i for i in NAMES}
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"suppress_ids": [1, 2, TRANSLATE], "suppress_ids_begin": [220, END]}
    (folder / "config.json").write_text(json.dumps(config))
    _encoder(folder / "encoder.onnx")
    _decoder(folder / "decoder.onnx", script)
    return ModelSpec("many", folder, folder / "encoder.onnx", folder / "tokenizer.json")


def _save(file: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], held: Any) -> None:
    graph = helper.make_graph(nodes, "g", inputs, outputs, held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, file)


def _value(name: str, shape: list[Any], kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def _encoder(file: Path) -> None:
    node = helper.make_node("ReduceMean", ["mel"], ["cross_key_0"], axes=[1])
    _save(
        file, [node], [_value("mel", ["b", 80, 3000])], [_value("cross_key_0", ["b", 1, 3000])], []
    )


def _decoder(file: Path, script: Mapping[int, int]) -> None:
    following = np.full(SIZE, END, np.int64)
    for token, then in script.items():
        following[token] = then
    held = {
        "following": following,
        "last": np.array([-1], np.int64),
        "depth": np.array([SIZE], np.int64),
        "levels": np.array([0, 20], np.float32),
        "flat": np.array([1, SIZE], np.int64),
        "one": np.ones((1, 1, 1, 1), np.float32),
    }
    nodes = [
        helper.make_node("Gather", ["input_ids", "last"], ["token"], axis=1),
        helper.make_node("Gather", ["following", "token"], ["next"]),
        helper.make_node("OneHot", ["next", "depth", "levels"], ["hot"]),
        helper.make_node("Reshape", ["hot", "flat"], ["scripted"]),
        helper.make_node("ReduceMean", ["cross_key_0"], ["heard"], axes=[1, 2], keepdims=0),
        helper.make_node("Mul", ["heard", "heard"], ["warmth"]),
        helper.make_node("Sub", ["warmth", "warmth"], ["nothing"]),
        helper.make_node("Add", ["scripted", "nothing"], ["logits"]),
        helper.make_node("Concat", ["past_key_0", "one"], ["present_key_0"], axis=2),
    ]
    inputs = [
        _value("input_ids", ["b", "n"], TensorProto.INT64),
        _value("cross_key_0", ["b", 1, 3000]),
        _value("past_key_0", ["b", 1, "p", 1]),
    ]
    outputs = [_value("logits", ["b", SIZE]), _value("present_key_0", ["b", 1, "t", 1])]
    stored = [numpy_helper.from_array(value, name) for name, value in held.items()]
    _save(file, nodes, inputs, outputs, stored)


def opened(folder: Path, script: Mapping[int, int] = SCRIPT) -> Transcription:
    return Transcription(write(folder, script), DevicePolicy("cpu").open)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Transcription:
    return opened(tmp_path_factory.mktemp("many"))


def heard(model: Transcription, **options: Any) -> Any:
    sound = 0.1 * np.sin(np.arange(3 * RATE) * 0.3)
    units = model.prepare([Input(data=wav(sound))], options)
    [result] = model.compute(units)
    return result.value


def test_the_language_is_found_out_and_the_words_written_down(model: Transcription) -> None:
    value = heard(model)

    assert (value["text"], value["language"]) == ("hallo", "de")
    assert value["segments"] == [{"start_s": 0.0, "end_s": 1.0, "text": "hallo"}]


def test_a_language_that_is_told_is_taken(model: Transcription) -> None:
    assert heard(model, language="fr")["language"] == "fr"
    assert heard(model, language="")["language"] == "de"


def test_a_translation_goes_by_its_own_token(model: Transcription) -> None:
    value = heard(model, task="translate", prompt="w5 w6")

    assert (value["text"], value["language"]) == ("hello", "de")
    assert value["segments"] == [{"start_s": 0.02, "end_s": 2.0, "text": "hello"}]


def test_silence_is_looked_for_before_language_and_task(tmp_path: Path) -> None:
    """At the very start, as the source does; there the language is the likeliest of languages."""
    script = SCRIPT | {START: SILENT, HALLO: HALLO, TIME: HALLO}

    value = heard(opened(tmp_path, script))

    assert (value["text"], value["segments"]) == ("", [])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"language": "tlh"}, 'knows no language "tlh", expected one of en, zh, de'),
        ({"language": "yue"}, 'knows no language "yue"'),
        ({"task": "summarise"}, 'does not "summarise", expected transcribe or translate'),
        ({"task": None}, 'does not "None"'),
        ({"language": 3}, 'knows no language "3"'),
    ],
)
def test_what_it_does_not_know_is_refused(
    model: Transcription, options: Any, message: str
) -> None:
    with pytest.raises(Invalid, match=message):
        heard(model, **options)


def test_a_tokenizer_of_neither_kind_is_refused(tmp_path: Path) -> None:
    spec = write(tmp_path, SCRIPT)
    text = (tmp_path / "tokenizer.json").read_text().replace("<|endoftext|>", "<|finis|>")
    (tmp_path / "tokenizer.json").write_text(text.replace('"w9"', '"<|endoftext|>"'))

    with pytest.raises(Failed, match="ends texts by token 9, expected 50256 of English alone"):
        Transcription(spec, DevicePolicy("cpu").open)
