from __future__ import annotations

import json

import pytest

from django_workflow.core.types import DEAD_LETTER, FINISHED, Failure, RunStatus, StepStatus


class Silent(Exception):  # noqa: N818 - a user's error, named as users do
    def __str__(self) -> str:
        raise RuntimeError("no words")


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


@pytest.mark.parametrize("status", sorted(RunStatus))
def test_finished_statuses_are_completed_and_cancelled(status: RunStatus) -> None:
    assert status.is_finished == (status in {"completed", "cancelled"}) == (status in FINISHED)


@pytest.mark.parametrize("status", sorted(RunStatus))
def test_dead_letters_are_failed_and_blocked(status: RunStatus) -> None:
    assert status.is_dead_letter == (status in {"failed", "blocked"}) == (status in DEAD_LETTER)


@pytest.mark.parametrize("status", sorted(StepStatus))
def test_step_is_open_until_it_has_ended(status: StepStatus) -> None:
    ended = {"completed", "failed", "abandoned", "cancelled"}

    assert status.is_open == (status not in ended)


def test_status_is_stored_as_its_text() -> None:
    assert json.dumps(RunStatus.RUNNING) == '"running"'


def test_failure_describes_what_was_raised() -> None:
    failure = Failure.from_exception(raised(ValueError("no stock")), step="reserve", attempts=3)

    assert (failure.message, failure.error_class) == ("no stock", "ValueError")
    assert (failure.step, failure.attempts) == ("reserve", 3)
    assert failure.traceback.startswith("Traceback (most recent call last):")
    assert failure.traceback.endswith("ValueError: no stock\n")


def test_error_class_is_qualified_by_its_module() -> None:
    failure = Failure.from_exception(Silent())

    assert failure.error_class == f"{__name__}.Silent"


def test_failure_tells_the_cause_too() -> None:
    error = ValueError("outer")
    error.__cause__ = KeyError("inner")

    failure = Failure.from_exception(raised(error))

    assert "KeyError: 'inner'" in failure.traceback


def test_error_whose_text_raises_is_described_all_the_same() -> None:
    failure = Failure.from_exception(raised(Silent()))

    assert failure.message == "<no message: str() raised RuntimeError>"
    assert "Silent" in failure.traceback


def test_error_whose_traceback_cannot_be_formatted_is_described_all_the_same() -> None:
    error = SyntaxError("boom")
    error.lineno = Silent()  # type: ignore[assignment]

    failure = Failure.from_exception(raised(error))

    assert failure.message == "boom"
    assert failure.traceback == "<no traceback: formatting it raised RuntimeError>"


def test_long_text_keeps_its_head_and_tail() -> None:
    failure = Failure.from_exception(raised(ValueError("head" + "x" * 100_000 + "tail")))

    assert len(failure.traceback) <= 20_000
    assert failure.traceback.startswith("Traceback")
    assert failure.traceback.endswith("tail\n")
    assert "characters left out" in failure.traceback
    assert len(failure.message) <= 20_000


def test_text_of_the_longest_allowed_length_is_kept_whole() -> None:
    failure = Failure.from_exception(ValueError("x" * 20_000))

    assert failure.message == "x" * 20_000


def test_characters_that_databases_refuse_are_escaped() -> None:
    failure = Failure.from_exception(ValueError("nul \x00, surrogate \ud800, é"))

    assert failure.message == "nul \\x00, surrogate \\ud800, é"


def test_failure_round_trips_through_json() -> None:
    failure = Failure.from_exception(raised(ValueError("no stock")), step=None, attempts=2)

    assert Failure.from_json(json.loads(json.dumps(failure.to_json()))) == failure


def test_stored_failure_of_a_later_release_can_be_read() -> None:
    failure = Failure.from_exception(ValueError("no stock"))

    assert Failure.from_json({**failure.to_json(), "host": "web-1"}) == failure
