"""Wire types, one module a noun; refuses to hold behaviour."""
