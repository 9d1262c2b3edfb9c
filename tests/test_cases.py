"""Every case, in both colours and over every way a delivery takes; then with a death at every write."""

from __future__ import annotations

import pytest

from tests.cases.stage import names, perform, rolled_back
from tests.crashes import CrashPoint, When
from tests.transports.wsgi import DjangoTransport

CASES = pytest.mark.parametrize("case", names())
COLOURS = pytest.mark.parametrize("colour", ["sync", "asynchronous"])


@pytest.mark.django_db
@pytest.mark.parametrize("mode", ["inline", "replay"])
@COLOURS
@CASES
def test_case(case: str, colour: str, mode: str) -> None:
    perform(case, colour, mode)


@pytest.mark.django_db
@COLOURS
@CASES
def test_case_over_http(case: str, colour: str, http_transport: DjangoTransport) -> None:
    perform(case, colour, "http")

    assert http_transport.requests


@pytest.mark.django_db
@pytest.mark.parametrize("when", ["before", "after"])
@COLOURS
@CASES
def test_case_with_a_crash_at_each_write(case: str, colour: str, when: When) -> None:
    counting = CrashPoint()
    with rolled_back():
        undisturbed = perform(case, colour, "inline", counting)

    found = [perform_rolled_back(case, colour, CrashPoint(at, when)) for at in points(counting)]

    assert found == [undisturbed] * counting.writes


def points(counted: CrashPoint) -> range:
    return range(1, counted.writes + 1)


def perform_rolled_back(case: str, colour: str, point: CrashPoint) -> object:
    with rolled_back():
        return perform(case, colour, "inline", point)
