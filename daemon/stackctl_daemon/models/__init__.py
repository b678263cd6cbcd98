"""Which models exist, where their files come from, and whether the bytes are right."""
