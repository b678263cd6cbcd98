"""The commands of the CLI, one module a group."""
