"""Every case, in both colours and over every way a delivery takes; then with a death at every write."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from django.db import connection

from django_workflow.models import Action, Event, Run
from tests.app.models import Note
from tests.cases.ledger import PATH, ledger
from tests.cases.stage import NOW, names, names_for_children, perform, perform_in, rolled_back
from tests.crashes import CrashPoint, DyingSandbox, When
from tests.transports.wsgi import DjangoTransport

#: At how many writes a case dies at most, in one colour on one database; CONTRIBUTING.md.
MOST_DEATHS = {"sqlite": 24, "postgresql": 8}

CASES = pytest.mark.parametrize("case", names())
COLOURS = pytest.mark.parametrize("colour", ["sync", "asynchronous"])


@pytest.mark.django_db
@pytest.mark.parametrize("mode", ["inline", "replay"])
@COLOURS
@CASES
def test_case(case: str, colour: str, mode: str) -> None:
    perform(case, colour, mode)


@pytest.mark.django_db
@pytest.mark.usefixtures("http_transport")
@COLOURS
@CASES
def test_case_over_http(case: str, colour: str) -> None:
    perform(case, colour, "http")


@pytest.mark.django_db
@COLOURS
def test_cases_over_http_make_a_request_for_each_step(
    colour: str, http_transport: DjangoTransport
) -> None:
    perform("ten_steps", colour, "http")

    assert len(http_transport.requests) == 10


@pytest.mark.django_db
@pytest.mark.parametrize("when", ["before", "after"])
@COLOURS
@CASES
def test_case_with_a_crash_at_its_writes(case: str, colour: str, when: When) -> None:
    counting = CrashPoint()
    with rolled_back():
        undisturbed = perform(case, colour, "inline", counting)

    deaths = points(counting, colour)
    found = [perform_rolled_back(case, colour, CrashPoint(at, when)) for at in deaths]

    assert found == [undisturbed] * len(deaths)


@pytest.mark.parametrize(
    ("case", "place"), [(case, place) for place, case in enumerate(names_for_children())]
)
def test_case_whose_processes_are_killed(
    case: str,
    place: int,
    child_env: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "ledger"
    monkeypatch.setattr(ledger, "path", path)
    colour = ("sync", "asynchronous")[place % 2]
    undisturbed = perform(case, colour, "inline")
    Run.objects.all().delete()
    Event.objects.all().delete()
    Action.objects.all().delete()
    Note.objects.all().delete()
    points: list[tuple[int, When]] = [(1 + place % 4, "before"), (2 + place % 5, "after")]
    box = DyingSandbox(case, points, {**child_env, PATH: str(path)}, now=NOW, steps_per_pass=None)

    found = perform_in(box, case, colour)

    assert found == undisturbed
    assert box.crashes >= 1


def points(counted: CrashPoint, colour: str) -> range:
    """Return at which writes to die: every one, or every second, third … of a case with very many of them.

    Each colour on each database begins at another one: on SQLite both together meet every write of up to 48.
    """
    most = int(os.environ.get("WORKFLOW_TESTS_DEATHS", MOST_DEATHS.get(connection.vendor, 8)))
    stride = max(1, -(-counted.writes // most))
    place = (colour == "asynchronous") + 2 * (connection.vendor == "postgresql")
    return range(1 + place % stride, counted.writes + 1, stride)


def perform_rolled_back(case: str, colour: str, point: CrashPoint) -> object:
    with rolled_back():
        return perform(case, colour, "inline", point)
