"""The client: one group of calls a noun over one transport.

client = Client()
reply = client.search.query("how do I rotate keys")
for hit in reply.hits:
    print(hit.citation.path, hit.snippet)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stackctl.client.facade import Client
    from stackctl.client.transport import Transport

__all__ = ["Client", "Transport"]


def __getattr__(name: str) -> Any:
    # Deferred: help and completion import this package for its views and open no socket.
    if name == "Client":
        from stackctl.client.facade import Client

        return Client
    if name == "Transport":
        from stackctl.client.transport import Transport

        return Transport
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
