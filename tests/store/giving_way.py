"""What the database says when it ends a transaction for another one's sake, without another one."""

from __future__ import annotations

from typing import Any

from django.db import OperationalError, connection

MYSQL = (1213, "Deadlock found when trying to get lock; try restarting transaction")


class DeadlockError(Exception):
    sqlstate = "40P01"


def deadlock() -> OperationalError:
    """Return the error by which this database ends a transaction for another one's sake."""
    if connection.vendor == "mysql":
        return OperationalError(*MYSQL)
    error = OperationalError("deadlock detected")
    error.__cause__ = DeadlockError()
    return error


class GivesWay:
    """Raises so many times, and then does what it stands for."""

    def __init__(self, times: int, then: Any = lambda *_, **__: "done") -> None:
        self.left, self.then, self.calls = times, then, 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        if self.left:
            self.left -= 1
            raise deadlock()
        return self.then(*args, **kwargs)
