"""A race between branches: what the verb returns, and what its record says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django_workflow.core.exceptions import InvalidOptionError

#: What becomes of the branches that did not win.
LOSERS = ("cancel", "leave")


@dataclass(frozen=True, slots=True)
class RaceResult:
    """The branch that ended first, by its place among those given, and what it returned.

    Can be taken apart: ``index, result = ctx.race(…)``.
    """

    index: int
    result: Any

    def __iter__(self) -> Iterator[Any]:
        return iter((self.index, self.result))


def check_losers(branches: tuple[Any, ...], losers: Any) -> None:
    """Refuse a race that cannot be run.

    Raises:
        InvalidOptionError: there is no branch, or ``losers`` is unknown.
    """
    if not branches:
        raise InvalidOptionError("ctx.race needs one branch at least: a race of none never ends.")
    if losers not in LOSERS:
        raise InvalidOptionError(f'losers is "cancel" or "leave", not {losers!r}.')


def lost_branches(stem: str, count: int, winner: int) -> tuple[str, ...]:
    """Return the paths of the branches of a race that did not win."""
    return tuple(f"{stem}{index}/" for index in range(count) if index != winner)


def is_under(path: str, branches: Iterable[str]) -> bool:
    """Tell whether a branch is one of these, or comes from one of them."""
    return path.startswith(tuple(branches))
