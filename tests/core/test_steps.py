from __future__ import annotations

from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from django_workflow.core.exceptions import InvalidOptionError
from django_workflow.core.retry import RetryPolicy
from django_workflow.core.steps import (
    NO_OPTIONS,
    AtomicStep,
    PatchStep,
    RunStep,
    SleepStep,
    SleepUntilStep,
    Step,
    StepOptions,
)
from django_workflow.core.types import StepKind

PLACE = ("p1.0/a", "a", "p1.0/", NO_OPTIONS)


@pytest.mark.parametrize(
    ("step", "kind", "has_body", "compares", "arguments"),
    [
        (RunStep(*PLACE, print, (1,), {}), StepKind.RUN, True, False, {}),
        (AtomicStep(*PLACE, print, (1,), {}), StepKind.ATOMIC, True, False, {}),
        (SleepStep(*PLACE, timedelta(hours=1)), StepKind.SLEEP, False, True, {"seconds": 3600.0}),
        (
            SleepUntilStep(*PLACE, datetime(2030, 1, 2, tzinfo=UTC)),
            StepKind.SLEEP_UNTIL,
            False,
            True,
            {"until": "2030-01-02T00:00:00+00:00"},
        ),
        (PatchStep(*PLACE), StepKind.PATCH, False, False, {}),
    ],
    ids=lambda value: value.kind if isinstance(value, Step) else "",
)
def test_step_says_what_it_is(
    step: Step, kind: StepKind, has_body: bool, compares: bool, arguments: dict[str, Any]
) -> None:
    assert (step.kind, step.has_body, step.compares) == (kind, has_body, compares)
    assert step.arguments() == arguments


def test_step_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        PatchStep(*PLACE).name = "b"  # type: ignore[misc]


@pytest.mark.parametrize("body", [None, 3, "charge"])
def test_body_must_be_a_function(body: Any) -> None:
    with pytest.raises(InvalidOptionError, match=r'The body of step "a" is .*cannot be called'):
        RunStep(*PLACE, body, (), {})


def test_options_are_parsed_where_they_are_given() -> None:
    options = StepOptions.checked(retries=2, retry_delay="10s", timeout=5, overlap=True)

    assert options == StepOptions(
        retries=2, retry_delay=timedelta(seconds=10), timeout=timedelta(seconds=5), overlap=True
    )


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"retires": 3}, "'retires' is not an option of a step"),
        ({"retries": -1}, "retries must be"),
        ({"retries": "3"}, "retries must be"),
        ({"retry_delay": "soon"}, "is not a duration"),
        ({"timeout": -1}, "A duration lies between"),
        ({"timeout": 0}, "timeout must be longer than zero"),
        ({"overlap": "no"}, "overlap is True or False"),
    ],
)
def test_option_that_cannot_work_is_refused(given: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidOptionError, match=complaint):
        StepOptions.checked(**given)


def test_using_changes_what_is_named_and_keeps_the_rest() -> None:
    options = StepOptions.checked(retries=2, timeout="5s")

    changed = options.using(retries=0)

    assert changed == StepOptions(retries=0, timeout=timedelta(seconds=5))
    assert options.retries == 2


def test_verb_wins_over_workflow() -> None:
    verb = StepOptions.checked(retries=0, timeout="5s")
    workflow = StepOptions.checked(retries=4, retry_delay="1m", timeout="1h", overlap=True)

    assert verb.over(workflow) == StepOptions(
        retries=0,
        retry_delay=timedelta(minutes=1),
        timeout=timedelta(seconds=5),
        overlap=True,
    )
    assert NO_OPTIONS.over(workflow) == workflow


def test_policy_brings_its_own_delays() -> None:
    policy = RetryPolicy(max_retries=1, first_delay=timedelta(seconds=9))

    options = StepOptions(retries=policy).over(StepOptions.checked(retry_delay="1m"))

    assert options.policy(RetryPolicy()) == policy


def test_policy_is_the_default_with_what_the_options_change() -> None:
    default = RetryPolicy(max_retries=7)

    assert NO_OPTIONS.policy(default) == default
    assert StepOptions(retries=1).policy(default) == default.using(max_retries=1)
    assert StepOptions.checked(retry_delay="1m").policy(default) == default.with_delay("1m")
