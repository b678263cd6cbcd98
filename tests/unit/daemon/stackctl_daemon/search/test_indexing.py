"""What a job takes for deleted."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from stackctl_daemon.search.indexing import _gone
from stackctl_daemon.search.store import Known
from stackctl_daemon.search.walk import walk


def test_a_folder_that_lists_its_files_and_hides_them_keeps_their_documents() -> None:
    """Mode r--: its names can be read, and nothing of what they name."""
    # Not pytest's folder: only its owner may pass that.
    with tempfile.TemporaryDirectory() as name:
        root, folder = Path(name), Path(name, "sub")
        root.chmod(0o755)
        folder.mkdir()
        (folder / "a.txt").write_text("hidden")
        folder.chmod(0o444)
        me = os.geteuid()
        os.seteuid(me or 65534)  # root may read everything
        try:
            listed = walk(os.fsencode(root), max_file_bytes=1000)
        finally:
            os.seteuid(me)
            folder.chmod(0o755)
    known = {os.fsencode(folder / file): Known(1, 6, 0, b"") for file in ("a.txt", "../b.txt")}

    assert _gone(known, set(), listed) == {os.fsencode(folder / "../b.txt")}
    assert [reason for _, reason in listed.skipped] == ["cannot be read: Permission denied"]
