from __future__ import annotations

import pytest

from django_workflow.core import faults
from django_workflow.core.exceptions import InvalidOptionError

RUN = "run-1"


def test_error_in_flight_is_found_behind_others() -> None:
    error = ValueError("no")

    try:
        try:
            raise error
        finally:
            try:
                raise KeyError("a")
            except KeyError:
                found = faults.in_flight(error), faults.in_flight(ValueError, TypeError)
    except ValueError:
        pass

    assert found == (error, error)
    assert faults.in_flight(error) is None


def test_error_that_is_handled_no_longer_is_not_in_flight() -> None:
    try:
        raise ValueError("no")
    except ValueError:
        assert faults.in_flight(TypeError) is None


def test_errors_that_are_each_other_s_context_end_the_search() -> None:
    first, second = ValueError("a"), KeyError("b")
    first.__context__, second.__context__ = second, first

    try:
        raise first
    except ValueError:
        assert faults.in_flight(TypeError) is None


def test_error_with_the_lowest_number_is_first_and_has_the_others() -> None:
    errors = [ValueError("a"), KeyError("b"), TypeError("c"), OSError("d")]

    first = faults.first_of(zip([3, 0, 9, 0], errors, strict=True))

    assert first is errors[1]
    assert first.others == [errors[3], errors[0], errors[2]]  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["a", "Ünïcode ✓", "line\nbreak", "x" * 200])
def test_name_that_a_database_stores_is_taken(name: str) -> None:
    faults.check_storable(name, name, run_id=RUN)


@pytest.mark.parametrize(
    ("name", "key"), [("x" * 201, "x"), ("a", "p1.0/" * 81), ("a\x00", "a"), ("\udfff", "a")]
)
def test_name_that_no_database_stores_is_refused(name: str, key: str) -> None:
    with pytest.raises(InvalidOptionError, match=RUN):
        faults.check_storable(name, key, run_id=RUN)


def test_swallowing_without_a_step_is_told_too() -> None:
    error = faults.swallowed(None, "returned", run_id=RUN)

    assert error.step == ""
    assert "where it waits or is cancelled was caught, and the workflow then returned" in str(error)
