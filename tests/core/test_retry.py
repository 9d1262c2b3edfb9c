from __future__ import annotations

import json
import pickle
from dataclasses import FrozenInstanceError
from datetime import timedelta
from math import e
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_workflow.core.exceptions import (
    CallError,
    CancelInterrupt,
    InvalidOptionError,
    MisplacedStepError,
    NonRetryableError,
    NotReadyError,
    NotSerializableError,
    PayloadTooLargeError,
    RetryAfterError,
    StepError,
    WorkflowNotFoundError,
)
from django_workflow.core.retry import RetryPolicy, is_retryable, requested_delay
from django_workflow.core.types import Failure

FAILURE = Failure(message="m", error_class="E", traceback="", step="charge", attempts=4)
DEFAULT = RetryPolicy()

policies = st.builds(
    RetryPolicy,
    max_retries=st.integers(0, 10**6),
    first_delay=st.timedeltas(min_value=timedelta(), max_value=timedelta(days=36_500)),
    factor=st.floats(1, 100),
    max_delay=st.timedeltas(min_value=timedelta(), max_value=timedelta(days=36_500)),
    jitter=st.floats(0, 1, exclude_max=True),
)


@pytest.mark.parametrize("retry", [1, 2, 3])
def test_default_delay_is_e_to_the_power_of_two_and_a_half_times_the_retry(retry: int) -> None:
    delay = RetryPolicy(jitter=0).delay_before(retry, random=Random(0))

    assert delay is not None
    assert delay.total_seconds() == pytest.approx(e ** (2.5 * retry), rel=1e-6)


def test_default_is_three_retries() -> None:
    assert DEFAULT.delay_before(4, random=Random(0)) is None


def test_default_delay_is_at_most_a_day() -> None:
    policy = RetryPolicy(max_retries=9, jitter=0)

    assert policy.delay_before(5, random=Random(0)) == timedelta(days=1)


def test_delay_grows_by_the_factor_up_to_the_maximum() -> None:
    policy = RetryPolicy(max_retries=4, first_delay="10s", factor=3, max_delay="1m", jitter=0)

    delays = [policy.delay_before(retry, random=Random(0)) for retry in (1, 2, 3, 4, 5)]

    assert delays == [timedelta(seconds=s) for s in (10, 30, 60, 60)] + [None]


@given(policies, st.integers(1, 10**6), st.randoms(use_true_random=False))
def test_jitter_only_shortens_and_by_its_share_at_most(
    policy: RetryPolicy, retry: int, random: Random
) -> None:
    policy = policy.using(max_retries=10**6)
    full = policy.using(jitter=0).delay_before(retry, random=random)

    delay = policy.delay_before(retry, random=random)

    assert full is not None
    assert delay is not None
    microsecond = timedelta(microseconds=1)
    assert full * (1 - policy.jitter) - microsecond <= delay <= full <= policy.max_delay


def test_very_late_retry_waits_the_maximum() -> None:
    policy = RetryPolicy(max_retries=10_000, factor=100, jitter=0)

    assert policy.delay_before(9_999, random=Random(0)) == policy.max_delay


def test_policy_without_retries_has_no_delay() -> None:
    assert RetryPolicy(max_retries=0).delay_before(1, random=Random(0)) is None


@pytest.mark.parametrize("delay", [timedelta(minutes=1), 60, 60.0, "1m"])
def test_delays_are_durations_as_everywhere(delay: timedelta | float | str) -> None:
    policy = RetryPolicy(first_delay=delay, max_delay=delay)

    assert policy.first_delay == policy.max_delay == timedelta(minutes=1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_retries", -1),
        ("max_retries", True),
        ("max_retries", 1.5),
        ("max_retries", "3"),
        ("factor", 0.5),
        ("factor", 101),
        ("factor", float("nan")),
        ("factor", True),
        ("factor", "2"),
        ("jitter", -0.1),
        ("jitter", 1),
        ("jitter", float("nan")),
        ("jitter", False),
        ("jitter", None),
    ],
)
def test_field_that_cannot_work_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(InvalidOptionError, match=f"{field} must be .*not {value!r}"):
        RetryPolicy(**{field: value})


@pytest.mark.parametrize("field", ["first_delay", "max_delay"])
def test_delay_that_is_no_duration_is_refused(field: str) -> None:
    with pytest.raises(InvalidOptionError, match='"10" has no unit'):
        RetryPolicy(**{field: "10"})  # type: ignore[arg-type]


def test_policy_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        DEFAULT.max_retries = 7  # type: ignore[misc]


def test_equal_policies_are_equal_and_hash_alike() -> None:
    assert len({RetryPolicy(max_retries=1), RetryPolicy(max_retries=1)}) == 1


def test_policy_survives_pickling() -> None:
    assert pickle.loads(pickle.dumps(DEFAULT)) == DEFAULT  # noqa: S301 - our own bytes


def test_copy_changes_only_what_is_given() -> None:
    policy = RetryPolicy(max_retries=5, jitter=0.2)

    assert policy.using(jitter=0) == RetryPolicy(max_retries=5, jitter=0)


def test_copy_is_checked_too() -> None:
    with pytest.raises(InvalidOptionError, match="max_retries must be"):
        DEFAULT.using(max_retries=-1)


def test_option_none_means_the_default() -> None:
    assert RetryPolicy.of(None, DEFAULT) is DEFAULT


def test_option_policy_means_itself() -> None:
    policy = RetryPolicy(max_retries=7)

    assert RetryPolicy.of(policy, DEFAULT) is policy


@pytest.mark.parametrize("retries", [0, 5])
def test_option_number_is_the_default_with_so_many_retries(retries: int) -> None:
    default = RetryPolicy(first_delay="1m")

    assert RetryPolicy.of(retries, default) == default.using(max_retries=retries)


@pytest.mark.parametrize("value", [-1, True, False, 1.5, "3", {}])
def test_other_options_are_refused(value: Any) -> None:
    with pytest.raises(InvalidOptionError, match="retries must be a whole number, 0 or more, or"):
        RetryPolicy.of(value, DEFAULT)


def test_retry_delay_is_the_same_before_every_retry() -> None:
    policy = RetryPolicy(max_retries=3).with_delay("2d")

    delays = [policy.delay_before(retry, random=Random(0)) for retry in (1, 2, 3, 4)]

    assert delays == [timedelta(days=2)] * 3 + [None]


@given(policies)
def test_policy_round_trips_through_json(policy: RetryPolicy) -> None:
    assert RetryPolicy.from_json(json.loads(json.dumps(policy.to_json()))) == policy


def test_stored_policy_of_a_later_release_can_be_read() -> None:
    assert RetryPolicy.from_json({**DEFAULT.to_json(), "mood": "patient"}) == DEFAULT


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        TimeoutError("x"),
        RetryAfterError("busy", "10s"),
        NotReadyError("x"),
        WorkflowNotFoundError("x", name="fulfil_order"),
    ],
    ids=repr,
)
def test_ordinary_errors_are_tried_again(error: BaseException) -> None:
    assert is_retryable(error)


@pytest.mark.parametrize(
    "error",
    [
        NonRetryableError("x"),
        InvalidOptionError("x"),
        MisplacedStepError("x", step="charge"),
        NotSerializableError("x", path="result"),
        PayloadTooLargeError("x", size=2, limit=1),
        StepError("x", step="charge", attempts=4, failure=FAILURE),
        CallError("x", step="charge", attempts=4, failure=FAILURE),
    ],
    ids=repr,
)
def test_errors_that_would_come_again_are_not_tried_again(error: BaseException) -> None:
    assert not is_retryable(error)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(), CancelInterrupt()], ids=repr)
def test_what_is_no_error_is_not_tried_again(error: BaseException) -> None:
    assert not is_retryable(error)


@pytest.mark.parametrize("delay", [timedelta(seconds=90), 90, "1m30s"])
def test_error_may_ask_for_its_delay(delay: timedelta | float | str) -> None:
    assert requested_delay(RetryAfterError("busy", delay)) == timedelta(seconds=90)


def test_other_errors_ask_for_no_delay() -> None:
    assert requested_delay(ValueError("x")) is None


def test_delay_that_is_no_duration_is_noted_on_the_error() -> None:
    error = RetryAfterError("busy", "soon")

    assert requested_delay(error) is None
    assert '"soon" is not a duration' in error.__notes__[0]
