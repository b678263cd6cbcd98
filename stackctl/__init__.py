"""What the client and the daemon share, and every front end."""

__version__ = "0.1.0"
