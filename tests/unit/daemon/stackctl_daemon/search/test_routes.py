from __future__ import annotations

from typing import cast

from stackctl_daemon.http.auth import OPERATOR
from stackctl_daemon.search.routes import routes
from stackctl_daemon.search.service import SearchService


def test_only_the_owner_names_files_to_read() -> None:
    found = {route.name: route.permission for route in routes(cast("SearchService", None))}

    assert found["search.index"] not in OPERATOR
    assert found["search.query"] in OPERATOR
    # It can delete the whole collection too, and no file is read for it.
    assert found["search.remove"] == found["collections.delete"]
