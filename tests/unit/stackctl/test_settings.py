from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from stackctl import settings
from stackctl.errors import BadConfig


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STACKCTL_HOME", str(tmp_path))
    (tmp_path / "config").mkdir()
    return tmp_path / "config" / "stackctl.toml"


@pytest.mark.usefixtures("config")
def test_without_files_the_defaults_hold() -> None:
    loaded, sources = settings.load()

    assert loaded == settings.Settings()
    assert sources == ["defaults"]


def test_environment_wins_over_the_file(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text("[search]\nrrf_k = 10\nchunk_tokens = 99\n")
    monkeypatch.setenv("STACKCTL_SEARCH__RRF_K", "20")

    loaded, sources = settings.load()

    assert (loaded.search.rrf_k, loaded.search.chunk_tokens) == (20, 99)
    assert sources == ["defaults", str(config), "STACKCTL_SEARCH__RRF_K"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[search]\nrrf_k = 1\nspeed = 9\n", 3),
        ("[search]\n\nrrf_k = 'x'\n", 3),
        ("[daemon]\nlog_files = 2\n[nonsense]\na = 1\n", 3),
        ("[search]\nrrf_k = = 1\n", 2),
        ("[search]\nchunk_tokens = 16\nrrf_k = -1\n", 3),
        ("[devices]\ngpus = 'off'\ncpu_sets = [[0], [-1]]\n", 3),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(config: Path, text: str, line: int) -> None:
    config.write_text(text)

    with pytest.raises(BadConfig) as caught:
        settings.load()

    assert f"stackctl.toml:{line}:" in caught.value.message


@pytest.mark.usefixtures("config")
def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACKCTL_SEARCH__RRF_K", "many")

    with pytest.raises(BadConfig, match="STACKCTL_SEARCH__RRF_K=many"):
        settings.load()


@pytest.mark.usefixtures("config")
def test_text_needs_no_quotes_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACKCTL_DAEMON__LOG_LEVEL", "DEBUG")

    loaded, _ = settings.load()

    assert loaded.daemon.log_level == "DEBUG"


def test_a_file_that_is_not_text_is_refused(config: Path) -> None:
    config.write_bytes(b"[daemon]\nlog_level = 'caf\xe9'\n")

    with pytest.raises(BadConfig) as caught:
        settings.load()

    said = "not UTF-8: the byte 0xe9, expected UTF-8 text"
    assert caught.value.message == f"{config}:2: {said}"
    assert caught.value.hint == f"${{EDITOR:-vi}} {config}"


@pytest.mark.parametrize(
    ("text", "message", "nearest"),
    [
        ("[daemon]\nlog_levle = 'x'\n", '2: unknown key "log_levle" in [daemon]', "log_level"),
        ("[serch]\nrrf_k = 1\n", "1: unknown section [serch]", "search"),
        ("speed = 1\n", "1: unknown section [speed]", "models"),
    ],
)
def test_a_key_that_is_unknown_is_told_the_known_ones_nearest_first(
    config: Path, text: str, message: str, nearest: str
) -> None:
    config.write_text(text)

    with pytest.raises(BadConfig) as caught:
        settings.load()

    said, _, known = caught.value.message.partition(", expected one of: ")
    assert said == f"{config}:{message}"
    assert nearest in known.split(", ")
    assert known.startswith(nearest) or nearest == "models"


def test_the_fix_of_a_wrong_file_opens_it(config: Path) -> None:
    for text in ("[search]\nrrf_k = 'x'\n", "[search]\nspeed = 1\n", "[search\n"):
        config.write_text(text)

        with pytest.raises(BadConfig) as caught:
            settings.load()

        assert caught.value.hint == f"${{EDITOR:-vi}} {config}"


def test_an_unknown_key_of_the_environment_is_told_the_known_ones(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STACKCTL_SEARCH__RFR_K", "1")

    with pytest.raises(BadConfig, match="expected one of: rrf_k, ") as caught:
        settings.load()

    assert caught.value.hint == "unset STACKCTL_SEARCH__RFR_K"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("rrf_k = -1", "Expected `int` >= 0 - at `$.search.rrf_k`"),
        ("rrf_k = 1001", "Expected `int` <= 1000 - at `$.search.rrf_k`"),
        ("chunk_tokens = 15", "Expected `int` >= 16 - at `$.search.chunk_tokens`"),
        ("keyword_weight = 10.5", "Expected `float` <= 10.0 - at `$.search.keyword_weight`"),
    ],
)
def test_a_value_out_of_range_is_refused(config: Path, line: str, message: str) -> None:
    config.write_text(f"[search]\n{line}\n")

    with pytest.raises(BadConfig) as caught:
        settings.load()

    assert caught.value.message == f"{config}:2: {message}"


def test_every_number_has_bounds_and_a_default_inside() -> None:
    schema = msgspec.json.schema(settings.Settings)
    unbound = [
        f"{section}.{name}"
        for section, struct in schema["$defs"].items()
        for name, told in struct.get("properties", {}).items()
        if told.get("type") in ("integer", "number") and not {"minimum", "maximum"} <= told.keys()
    ]
    written = msgspec.json.encode(settings.Settings())

    assert unbound == []
    assert msgspec.json.decode(written, type=settings.Settings) == settings.Settings()
