"""Schedules of the model, driven against the real store: after every commit its rows are the model's state."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest
from django.test import override_settings

from django_workflow.core import ports
from django_workflow.models import Run
from tests.explorer.model import Model, State, walk
from tests.explorer.real import Clock, Rows, Store, rows_of

pytestmark = pytest.mark.django_db

SCHEDULES_PER_TEST = 20
STARTS = [
    State(),
    State(faults=2),
    State(faults=2, cancels=1),
    State(faults=1, pauses=2),
    State(faults=2, cancels=1, pauses=1),
]


@pytest.fixture
def clock() -> Iterator[Clock]:
    clock = Clock()
    previous = ports.install_clock(clock)
    with override_settings(WORKFLOW={"LEASE": "10y"}):
        yield clock
    ports.install_clock(previous)


def follow(seed: int, start: State, clock: Clock) -> str:
    """Drive one schedule against the store, and return how the run ended."""
    random = Random(seed)
    store = Store(f"run-{seed}", clock)
    past: list[tuple[object, ...]] = []
    for label, state in walk(Model(), start, random.choice):
        store.act(label)
        past.append(label)
        expected, found = rows_of(state), store.rows()
        assert found == expected, (seed, past, differing(found, expected))
        start = state
    assert not Run.objects.stuck().filter(pk=store.run_id).exists()
    return start.run


def differing(found: Rows, expected: Rows) -> list[tuple[str, object, object]]:
    return [
        (name, mine, yours)
        for name, mine, yours in zip(Rows._fields, found, expected, strict=True)
        if mine != yours
    ]


@pytest.mark.parametrize("start", STARTS, ids=range(len(STARTS)))
@pytest.mark.parametrize("group", range(3))
def test_store_does_what_the_model_does(start: State, group: int, clock: Clock) -> None:
    first = group * SCHEDULES_PER_TEST

    ends = [follow(first + number, start, clock) for number in range(SCHEDULES_PER_TEST)]

    assert set(ends) <= {"completed", "cancelled"}
