"""Step bodies of the cases. Each leaves its name in the ledger before it does anything."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from django_workflow import NonRetryableError, Undone, current_step
from tests.app.models import Note
from tests.cases.ledger import ledger


def mark(name: str, value: Any = None) -> Any:
    """Return ``value``, or the name."""
    ledger.write(name)
    return name if value is None else value


async def amark(name: str, value: Any = None) -> Any:
    """See `mark()`."""
    return mark(name, value)


def double(number: int) -> int:
    ledger.write(f"double {number}")
    return number * 2


def write_note(text: str) -> str:
    """Write a row, in the transaction of an atomic step."""
    ledger.write(text)
    Note.objects.create(text=text)
    transaction.on_commit(lambda: ledger.write(f"hook of {text}"))
    return text


def write_and_raise(text: str) -> None:
    write_note(text)
    raise ValueError("Not like this.")


def flaky(name: str, failures: int) -> int:
    """Raise in the first so many attempts, then return the number of the attempt."""
    ledger.write(name)
    attempt = current_step().attempt
    if attempt <= failures:
        raise ConnectionError(f"Try {attempt} failed.")
    return attempt


def broken(name: str) -> None:
    ledger.write(name)
    raise ValueError(f"{name} is broken.")


def refused(name: str) -> None:
    ledger.write(name)
    raise NonRetryableError(f"{name} is refused.")


def take_back(undone: Undone) -> None:
    """Undo a step: what is known of it is in the ledger."""
    ledger.write(f"undo {undone.step}: {undone.outcome} {undone.result} {list(undone.args)}")
    assert undone.workflow_run_id
    assert undone.idempotency_key != current_step().idempotency_key


async def atake_back(undone: Undone) -> Any:
    """See `take_back()`; what it returns could not be stored."""
    take_back(undone)
    return object()


def take_back_badly(undone: Undone) -> None:
    ledger.write(f"undo {undone.step}")
    raise ConnectionError("Not reached.")


def take_back_later(undone: Undone) -> None:
    """Undo a step at the second attempt."""
    flaky(f"undo {undone.step}", 1)
