"""Finding things in people's files."""
