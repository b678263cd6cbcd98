"""Every key of the dashboard; refuses to act.

The screens take their bindings from here, and so do the key line, the help screen, the command
palette and the table in `docs/guide/dashboard.md` (a test compares it).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual.binding import Binding


@dataclass(frozen=True)
class Key:
    """A key and what it does."""

    key: str
    """As Textual names it."""
    action: str
    help: str
    """A sentence without full stop."""
    short: str = ""
    """For the line of keys; empty: only in the help."""
    writes: bool = False
    """It changes something: not in read-only mode."""

    @property
    def shown(self) -> str:
        """The key as people write it."""
        return SHOWN.get(self.key, self.key.replace("ctrl+", "^"))


SHOWN = {
    "question_mark": "?",
    "comma": ",",
    "slash": "/",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "escape": "esc",
}
PAGES: dict[str, tuple[str, str]] = {
    "overview": ("1", "Overview"),
    "devices": ("2", "Devices"),
    "models": ("3", "Models"),
    "containers": ("4", "Containers"),
    "requests": ("5", "Requests"),
    "search": ("6", "Search"),
    "jobs": ("7", "Jobs"),
    "insights": ("8", "Insights"),
    "logs": ("9", "Logs"),
    "sql": ("0", "SQL"),
    "settings": ("comma", "Settings"),
}
"""Name of a screen -> its key and title."""
EVERYWHERE: list[Key] = [
    *(Key(key, f"page('{name}')", f"Go to {title}") for name, (key, title) in PAGES.items()),
    Key("w", "window(1)", "Look at a longer range: 15 min, 1 h, 6 h, 24 h, 7 d", "range"),
    Key("W", "window(-1)", "Look at a shorter range"),
    Key("left_square_bracket", "step(-1)", "Go back in time by half a range", "back"),
    Key("right_square_bracket", "step(1)", "Go forward in time by half a range"),
    Key("n", "live", "Return to now"),
    Key("p", "pause", "Pause the refresh, or go on", "pause"),
    Key("r", "refresh", "Refresh now"),
    Key("t", "theme", "Change the theme: dark, light, no colour"),
    Key("question_mark", "help", "Show every key", "help"),
    Key("ctrl+p", "command_palette", "Open the command palette"),
    Key("q", "quit", "Leave", "quit"),
]
PAGE_KEYS: dict[str, list[Key]] = {
    "overview": [Key("i", "page('insights')", "Read the insights in full", "insights")],
    "models": [
        Key("l", "load", "Load the model selected in the catalogue", "load", writes=True),
        Key("u", "unload", "Unload the model selected among the running", "unload", writes=True),
    ],
    "requests": [
        Key("enter", "open", "Open all events of the selected request", "open"),
        Key("slash", "filter", "Filter the events by words, all of which must be there", "filter"),
        Key("o", "own", "Show or hide the requests of those who watch, as this dashboard", "own"),
        Key("k", "kind", "Show events of the next kind", "kind"),
        Key("escape", "unfilter", "Remove the filter"),
    ],
    "search": [
        Key("slash", "ask", "Write a question; Enter asks it", "ask"),
        Key("m", "mode", "Change the mode: hybrid, keyword, semantic", "mode"),
        Key("c", "collection", "Ask the next collection", "collection"),
    ],
    "jobs": [Key("c", "cancel", "Cancel the selected job", "cancel", writes=True)],
    "insights": [
        Key("s", "state", "Show insights of the next state: open, muted, resolved, all", "state"),
        Key(
            "m", "mute", "Mute the selected insight for a day, with a reason", "mute", writes=True
        ),
        Key("u", "unmute", "Let a muted insight speak again", "unmute", writes=True),
    ],
    "logs": [
        Key("slash", "filter", "Filter the lines by words, all of which must be there", "filter"),
        Key("escape", "unfilter", "Remove the filter"),
    ],
    "sql": [Key("slash", "ask", "Write a SELECT; Enter runs it", "write")],
}
"""Keys of a screen beside those of everywhere."""
DETAIL: list[Key] = [Key("escape", "dismiss", "Close", "close")]
"""Keys of what opens above a screen."""


def bindings(keys: Sequence[Key]) -> list[Binding]:
    """Give keys as Textual takes them."""
    return [Binding(key.key, key.action, key.help, show=bool(key.short)) for key in keys]


def sections() -> dict[str, list[Key]]:
    """Give every key under the heading of where it works."""
    own = {PAGES[name][1]: keys for name, keys in PAGE_KEYS.items()}
    return {"Everywhere": EVERYWHERE} | own | {"Details": DETAIL}


def markdown() -> str:
    """Give every key as the tables of the guide."""
    lines: list[str] = []
    for title, keys in sections().items():
        lines += [f"### {title}", "", "| key | does |", "| --- | --- |"]
        lines += [f"| `{key.shown}` | {key.help} |" for key in keys]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"
