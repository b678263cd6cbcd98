"""Insights: what changed in the events, since when, why, and what to do."""
