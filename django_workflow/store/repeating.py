"""Short transactions that were chosen to give way: made again, here and nowhere else.

What is kept here: (1) only what the database has rolled back whole is made again, so a transaction that the caller has
opened never is: its error is raised, and it is for the caller to begin again; (2) what is made again has changed
nothing but the database, and the claim under which it works, which is put back as it was; (3) a body of the user is
never in it: that of an atomic step is repeated with its delivery.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from random import random
from time import sleep
from typing import Any, Final, ParamSpec, TypeVar

from django.db import OperationalError

from django_workflow.store.rows import Claim
from django_workflow.store.sql import connection

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

#: How often a transaction is made in all, and for how long it rests at most before the second time; then twice as long.
TRIES: Final = 6
REST_SECONDS: Final = 0.01
#: A deadlock, and a lock that was waited for too long.
MYSQL_NUMBERS: Final = frozenset({1205, 1213})
#: A deadlock, and a transaction that cannot be put in order with others.
SQL_STATES: Final = frozenset({"40P01", "40001"})


def repeated(function: Callable[P, T]) -> Callable[P, T]:
    """Let a function that makes one short transaction make it again when it had to give way to another one.

    Where the caller has a transaction open the error is raised as it is, and so it is in the end.
    """

    @wraps(function)
    def make(*args: P.args, **kwargs: P.kwargs) -> T:
        claim = args[0] if args and isinstance(args[0], Claim) else None
        kept = None if claim is None else (claim.token, claim.wakes, claim.tries, claim.begun, claim.deaths)  # fmt: skip
        tries = 1
        while True:
            try:
                return function(*args, **kwargs)
            except OperationalError as error:
                if tries >= TRIES or not gave_way(error) or _is_inside():
                    raise
                logger.info("A transaction gave way to another and is made again: %s", error)
            if claim is not None and kept is not None:
                claim.token, claim.wakes, claim.tries, claim.begun, claim.deaths = kept
            # Both at once again would meet again.
            sleep(REST_SECONDS * 2 ** (tries - 1) * random())  # noqa: S311  no secret
            tries += 1

    return make


def gave_way(error: BaseException) -> bool:
    """Tell whether the database ended a transaction for the sake of another one."""
    cause: Any = error.__cause__
    if connection().vendor == "mysql":
        return bool(error.args) and error.args[0] in MYSQL_NUMBERS
    return getattr(cause, "sqlstate", getattr(cause, "pgcode", None)) in SQL_STATES


def _is_inside() -> bool:
    """Tell whether a transaction is open that somebody else has begun."""
    used = connection()
    return used.in_atomic_block or not used.autocommit


__all__ = ["gave_way", "repeated"]
