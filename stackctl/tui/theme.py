"""Themes: dark, light, and one without colour; refuses to style any widget."""

from __future__ import annotations

from textual.theme import Theme

NO_COLOUR = "stackctl-no-colour"
THEMES = [
    Theme(
        name="stackctl-dark",
        primary="#4ea1d3",
        secondary="#7fb685",
        accent="#e0b15e",
        success="#7fcf8a",
        warning="#f0b95b",
        error="#f2777a",
        foreground="#e6e6e6",
        background="#14171a",
        surface="#1a1e22",
        panel="#262c32",
        dark=True,
        variables={"block-cursor-background": "#2b4a60", "block-cursor-foreground": "#ffffff"},
    ),
    Theme(
        name="stackctl-light",
        primary="#0b5c8f",
        secondary="#2f6f3a",
        accent="#8a5a00",
        success="#1b6b2b",
        warning="#8a5a00",
        error="#b3261e",
        foreground="#1c1c1c",
        background="#ffffff",
        surface="#f6f6f6",
        panel="#e4e7ea",
        dark=False,
        variables={"block-cursor-background": "#c5dcec", "block-cursor-foreground": "#000000"},
    ),
    Theme(
        name=NO_COLOUR,
        primary="#d0d0d0",
        secondary="#d0d0d0",
        accent="#ffffff",
        success="#d0d0d0",
        warning="#ffffff",
        error="#ffffff",
        foreground="#d0d0d0",
        background="#000000",
        surface="#000000",
        panel="#202020",
        dark=True,
        variables={"block-cursor-background": "#505050", "block-cursor-foreground": "#ffffff"},
    ),
]
"""In the order that the key takes them."""
