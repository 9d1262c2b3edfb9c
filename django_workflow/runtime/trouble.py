"""Trouble on the way to a run: nobody's attempt, repeated without end."""

from __future__ import annotations

from typing import Final

from django_workflow.conf import settings
from django_workflow.core.exceptions import (
    AtRestError,
    AtRestInterrupt,
    TransactionOpenError,
    WorkflowError,
)
from django_workflow.store.sql import connection

#: What is raised where a text cannot be kept or read at this moment.
NOT_READABLE: Final = (AtRestError, AtRestInterrupt)


class DeliveryTroubleError(WorkflowError):
    """The delivery did not get through; nobody's attempt. Its text is shown as the run's reason.

    ``survived`` tells that the process that had begun is alive: then it is no death either.
    """

    def __init__(self, message: str, *, survived: bool = False) -> None:
        super().__init__(message)
        self.survived = survived


def open_transactions() -> int:
    """Return how many blocks of `transaction.atomic()` are open on the journal's alias in this thread."""
    return len(connection().atomic_blocks)


def refuse_open_transaction(what: str) -> None:
    """Refuse to go on inside a transaction, the one around a test case aside.

    Raises:
        TransactionOpenError: a transaction is open on the journal's alias.
    """
    blocks = connection().atomic_blocks
    if any(not getattr(block, "_from_testcase", False) for block in blocks):
        raise TransactionOpenError(
            f'{what} inside an open transaction on "{settings().DATABASE}". Its records would be rolled back with it: '
            "leave the transaction first (ATOMIC_REQUESTS is switched off for workflow views already)."
        )


def not_readable(error: AtRestError | AtRestInterrupt) -> DeliveryTroubleError:
    """Return the trouble that a text cannot be kept or read at this moment."""
    told = error.error if isinstance(error, AtRestInterrupt) else error
    return DeliveryTroubleError(str(told), survived=True)


def no_answer(error: Exception) -> DeliveryTroubleError:
    """Return the trouble that the database is away, or what texts are kept in."""
    if isinstance(error, AtRestError):
        return not_readable(error)
    return DeliveryTroubleError(f"The database did not answer: {error}", survived=True)
