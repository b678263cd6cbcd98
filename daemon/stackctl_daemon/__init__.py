"""The daemon: every area, split by target."""
