from __future__ import annotations

from pathlib import Path

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
    config.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(BadConfig, match="cannot be read"):
        settings.load()
