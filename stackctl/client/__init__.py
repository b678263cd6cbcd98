"""The Python client of the daemon's control API."""
