from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

from stackctl_daemon.ids import random_hex


def test_ids_of_all_threads_differ() -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: random_hex(12), range(5000)))

    assert len(set(found)) == 5000
    assert all(re.fullmatch(r"[0-9a-f]{24}", item) for item in found)
