"""Patterns of ignore files, in time that grows with the path alone; refuses to read files.

The only importer of pathspec. Its regular expressions try every way to share a path out among
wildcards: a dozen in one pattern took years, and matching holds the interpreter for all threads.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress

import pathspec
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

Patterns = pathspec.GitIgnoreSpec

MAX_PATTERNS = 10_000
"""Of one ignore file: each takes a kilobyte, and time for every file."""
_LEADING, _INNER, _STAR = "^(?:.+/)?", "(?:/.+)?", "[^/]*"
_STARS = re.compile(rf"(?:{re.escape(_STAR)})+")


def compiled(lines: Iterable[str]) -> Patterns:
    """Give the patterns of an ignore file; lines that are none are left out, as in Git."""
    patterns: list[GitIgnoreSpecPattern] = []
    for line in lines:
        with suppress(ValueError, re.error):
            regex, include = GitIgnoreSpecPattern.pattern_to_regex(line)
            if regex is None or include is None:
                continue
            patterns.append(GitIgnoreSpecPattern(re.compile(prompt(regex), re.DOTALL), include))
        if len(patterns) == MAX_PATTERNS:
            break
    return Patterns(patterns)


def prompt(regex: str) -> str:
    """Give a regular expression of pathspec's that matches the same and never goes back far.

    What follows a wildcard is of fixed length, or ends at the only slash that a star can reach.
    So its first place is as good as any later one, and is kept: ``(?>...)``. Only the stretch
    behind the last ``**`` may lie at more than one.
    """
    leading = regex.startswith(_LEADING)
    stretches = regex.removeprefix(_LEADING).split(_INNER)
    made = []
    for number, stretch in enumerate(stretches):
        last = number == len(stretches) - 1
        # What follows is a slash: with it a stretch has one end for each beginning.
        text = _stars(stretch if last else f"{stretch}(?=/)")
        if number:
            text = f"{_INNER}{text}" if last else f"(?>(?:/[^/]+)*?{text})"
        elif leading:
            text = f"{_LEADING}{text}" if last else f"^(?>(?:[^/]+/)*?{text})"
        made.append(text)
    return "".join(made)


def _stars(stretch: str) -> str:
    first, *rest = _STARS.split(stretch)
    return first + "".join(f"(?>[^/]*?{fixed})" if fixed else _STAR for fixed in rest)
