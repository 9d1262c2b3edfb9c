from __future__ import annotations

from collections.abc import Iterator

import pytest

from django_workflow.runtime.journals import journals
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
