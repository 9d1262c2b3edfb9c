from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection

from django_workflow.runtime.journals import journals
from django_workflow.store import repeating
from tests.concurrency.together import Threads, bodies, threads


@pytest.fixture
def crew() -> Iterator[Threads]:
    """Threads for this test."""
    with threads() as started:
        yield started


@pytest.fixture(autouse=True)
def fresh_process() -> None:
    """Begin as a process that has seen no run yet."""
    journals.clear()
    bodies.clear()


@pytest.fixture(autouse=True)
def no_second_try(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let locks be in order on PostgreSQL, where nothing but their order makes a transaction give way."""
    if connection.vendor == "postgresql":
        monkeypatch.setattr(repeating, "TRIES", 1)
