"""What a fault run found; refuses to judge more than equality."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Findings:
    """What a run found: rows for the table and what is wrong, which is nothing."""

    rows: list[tuple[str, str]] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)

    def tell(self, what: str, value: object) -> None:
        """Add a row."""
        self.rows.append((what, str(value)))

    def expect(self, what: str, found: object, expected: object) -> None:
        """Add a row, and a loss when it is not what was expected."""
        self.tell(what, found)
        if found != expected:
            self.losses.append(f"{what}: {found}, expected {expected}")


def report(title: str, findings: Findings) -> None:
    """Print the table of one part."""
    print(f"\n{title}")
    for what, value in findings.rows:
        print(f"  {what:<40}{value:>12}")
    for loss in findings.losses:
        print(f"  LOSS  {loss}")
