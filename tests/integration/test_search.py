"""Index and search through a real daemon with the real model."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from harness import Stack
from waiting import until


def _corpus(folder: Path) -> Path:
    folder.mkdir()
    (folder / "auth.md").write_text(
        "# Operations\n\n## Credentials\n\nReplace the signing secret every ninety days.\n"
    )
    (folder / "soup.txt").write_text("Tomato soup\n\nBoil ripe tomatoes with basil and salt.\n")
    (folder / "boat.txt").write_text("Sailing\n\nReef the mainsail before the wind rises.\n")
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 nothing here")
    (folder / "loop").symlink_to(folder)
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.txt")).write_text("A small espresso bar.\n")
    return folder


def _search(stack: Stack, collection: str, query: str, **fields: Any) -> list[dict[str, Any]]:
    body = {"query": query, "collection": collection, **fields}
    hits: list[dict[str, Any]] = stack.ok("POST", "/v1/search", body)["hits"]
    return hits


def test_meaning_finds_what_words_cannot(shared_stack: Stack, tmp_path: Path) -> None:
    corpus = _corpus(tmp_path / "corpus")
    result = shared_stack.index(corpus, collection="meaning")["result"]

    assert (result["indexed"], result["failed_count"]) == (4, 1)
    assert result["failed"][0]["path"] == str(corpus / "broken.pdf")
    best = _search(shared_stack, "meaning", "how do I rotate my keys?")[0]
    assert best["citation"]["path"] == str(corpus / "auth.md")
    assert best["citation"]["heading"] == "Operations > Credentials"
    coffee = _search(shared_stack, "meaning", "where can I drink coffee", mode="semantic")[0]
    assert coffee["citation"]["path"].endswith("caf\\xe9.txt")


def test_unknown_collections_and_bad_limits_are_told(shared_stack: Stack) -> None:
    status, body = shared_stack.request(
        "POST", "/v1/search", {"query": "x", "collection": "nothing"}
    )
    assert (status, body["error"]["hint"]) == (404, "stackctl index PATH")

    status, body = shared_stack.request("POST", "/v1/search", {"query": "x", "limit": 101})
    assert (status, body["error"]["code"]) == (400, "invalid")


def test_the_index_survives_a_kill(stack: Stack, tmp_path: Path) -> None:
    corpus = _corpus(tmp_path / "corpus")
    stack.index(corpus)
    before = [hit["citation"] for hit in _search(stack, "default", "sails and wind")]
    stack.kill9()
    stack.start()

    after = [hit["citation"] for hit in _search(stack, "default", "sails and wind")]
    assert after == before
    assert stack.index(corpus)["result"]["unchanged"] == 4


def test_a_deleted_collection_is_gone(shared_stack: Stack, tmp_path: Path) -> None:
    shared_stack.index(_corpus(tmp_path / "corpus"), collection="gone")
    shared_stack.ok("DELETE", "/v1/collections/gone")

    assert shared_stack.request("GET", "/v1/collections/gone")[0] == 404


def _wait_until_found(stack: Stack, collection: str, query: str, path: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        hits = _search(stack, collection, query, mode="keyword")
        if any(hit["citation"]["path"] == str(path) for hit in hits):
            return
        time.sleep(0.2)  # the file system's own notice has no event that a test could wait for
    raise AssertionError(f"{path} was not found for {query!r} in 30 s")


def test_watching_outlives_replaced_files_and_the_daemon(stack: Stack, tmp_path: Path) -> None:
    """The review's cases: an editor's rename, and changes made while nobody watched."""
    note = tmp_path / "note.md"
    note.write_text("An aardvark.\n")
    stack.index(note, collection="watched", watch=True)
    for word in ("badger", "capybara"):
        fresh = tmp_path / "fresh"
        fresh.write_text(f"A {word}.\n")
        fresh.replace(note)
        _wait_until_found(stack, "watched", word, note)
    stack.stop()
    assert not (stack.home / "data" / "search.sqlite-wal").exists()
    note.write_text("A dromedary.\n")
    stack.start()

    _wait_until_found(stack, "watched", "dromedary", note)

    stack.index(note, collection="watched")
    assert stack.ok("GET", "/v1/collections/watched")["sources"][0]["watched"]
    stack.index(note, collection="watched", watch=False)
    assert not stack.ok("GET", "/v1/collections/watched")["sources"][0]["watched"]


def test_a_job_cancelled_in_the_queue_does_not_leave_its_folder_deaf(
    stack: Stack, tmp_path: Path
) -> None:
    watched, large = tmp_path / "watched", tmp_path / "large"
    watched.mkdir()
    large.mkdir()
    (watched / "a.txt").write_text("A walrus.")
    for number in range(600):
        (large / f"{number}.txt").write_text(f"Text {number}. " + "word " * 300)
    stack.index(watched, collection="deaf", watch=True)
    body = {"paths": [str(large)], "collection": "deaf"}
    long = stack.ok("POST", "/v1/index", body)["id"]

    def waiting() -> str:
        """Change the watched folder, and give the job for it that waits behind the long one."""
        (watched / "a.txt").write_text(f"A walrus {time.monotonic_ns()}.")
        jobs = stack.ok("GET", "/v1/jobs")["items"]
        mine = [j for j in jobs if j["params"].get("paths") == [str(watched)]]
        return next((str(j["id"]) for j in mine if j["state"] == "queued"), "")

    first = until(waiting)
    stack.ok("POST", f"/v1/jobs/{first}/cancel")
    second = until(waiting)
    stack.ok("POST", f"/v1/jobs/{long}/cancel")

    assert second != first
    assert stack.follow_job(second)["state"] == "succeeded"
