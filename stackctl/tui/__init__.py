"""The dashboard: what changed, why, and what to do, on a terminal; speaks through the client."""
