"""What the insights area needs of others."""

from __future__ import annotations

from typing import Protocol

from stackctl.contracts.analytics import Query, QueryResult


class Figures(Protocol):
    """Answers questions about events."""

    async def query(self, query: Query) -> QueryResult:
        """Give the rows of a question.

        Raises:
            StackctlError: the store cannot answer now.
        """
        ...
