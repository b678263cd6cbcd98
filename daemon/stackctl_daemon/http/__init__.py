"""The control API's edge: server, limits, registry, auth, OpenAPI."""
