"""Retry delays as arithmetic: what they give, and that nothing but arithmetic gets in."""

from __future__ import annotations

from datetime import timedelta
from random import Random
from time import monotonic

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_workflow import InvalidOptionError, RetryPolicy
from django_workflow.core.expressions import LONGEST_DELAY, DelayExpression
from django_workflow.core.retry import (
    checked_retry_on,
    is_worth_it,
    parse_retry_delay,
    stored_delay,
)
from django_workflow.core.steps import StepOptions


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("1000 * (1 + retried)", [1000, 2000, 3000]),
        ("pow(2, retried) * 100", [100, 200, 400]),
        ("min(10000, max(500, retried * 1000))", [500, 1000, 2000]),
        ("round(sqrt(retried) * 1e3)", [0, 1000, 1414]),
        ("abs(-5) + floor(1.9) + ceil(0.1) - 2 + retried / 2", [5, 5.5, 6]),
        ("exp(retried)", [1, 2.718, 7.389]),
    ],
)
def test_expression_gives_milliseconds(text: str, milliseconds: list[float]) -> None:
    found = [DelayExpression(text).delay(retried) for retried in range(3)]

    assert [round(one / timedelta(milliseconds=1), 3) for one in found] == milliseconds


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true') + retried",
        "retried.__class__",
        "open(retried)",
        "eval('1')+1",
        "(lambda: retried)()",
        "[retried for retried in (1,)][0]",
        "retries * 1000",
        "retried ** 2",
        "9**9**9**9",
        "pow(10, pow(10, 10)) * 1",
        "pow(10, 300) * retried * 0 + pow(10, 300)",
        "1e999 + retried",
        "99999999999999999999 * 1",
        "1000 / retried",
        "sqrt(retried - 1)",
        "-1 * 1000",
        "1000 - 100 * retried",
        "True * 1000",
        "'a' * 5",
        "1000 *",
        "pow(1)",
        "min(*[1, 2])",
        "round(retried, ndigits=1)",
        "retried if retried else 1",
        "retried := 5",
        "1000 + " * 40 + "1",
        "(" * 150 + "retried" + ")" * 20,
        "retried and 1",
        "retried % 3",
        "1j * 1000",
    ],
)
def test_anything_else_is_refused_at_once(text: str) -> None:
    begun = monotonic()
    with pytest.raises(InvalidOptionError, match=r"retry_delay="):
        parse_retry_delay(text)
    assert monotonic() - begun < 1


@given(st.text(alphabet="retid 0123456789+-*/().,pow", max_size=40))
def test_any_text_is_an_expression_a_duration_or_refused(text: str) -> None:
    try:
        found = parse_retry_delay(text)
    except InvalidOptionError:
        return
    if isinstance(found, DelayExpression):
        assert timedelta(0) <= found.delay(0) <= LONGEST_DELAY


def test_duration_stays_a_duration_and_a_bare_number_is_no_text() -> None:
    assert parse_retry_delay("10s") == timedelta(seconds=10)
    assert parse_retry_delay(10) == timedelta(seconds=10)
    with pytest.raises(InvalidOptionError, match="has no unit"):
        parse_retry_delay("1000")


def test_large_delay_is_cut_to_a_year() -> None:
    assert DelayExpression("1000 * pow(10, retried)").delay(400) == LONGEST_DELAY


def test_policy_waits_as_the_expression_says_and_is_stored_with_it() -> None:
    policy = RetryPolicy(max_retries=2, expression="1000 * (1 + retried)")
    stored = RetryPolicy.from_json(policy.to_json())

    assert stored == policy
    assert [stored.delay_before(retry, random=Random(0)) for retry in (1, 2, 3)] == [
        timedelta(seconds=1),
        timedelta(seconds=2),
        None,
    ]
    assert policy.with_delay("5s").delay_before(1, random=Random(0)) == timedelta(seconds=5)


def test_stored_form_of_a_delay_is_read_again() -> None:
    for delay in (timedelta(seconds=90), DelayExpression("1000 * (1 + retried)")):
        assert parse_retry_delay(stored_delay(delay)) == delay  # type: ignore[arg-type]


class GoneError(Exception):
    pass


def test_retry_on_takes_classes_or_a_predicate() -> None:
    assert is_worth_it(GoneError(), checked_retry_on(GoneError))
    assert not is_worth_it(ValueError(), checked_retry_on((GoneError, KeyError)))
    assert is_worth_it(ValueError("busy"), checked_retry_on(lambda error: "busy" in str(error)))


@pytest.mark.parametrize(
    "value", ["ValueError", 5, (), [ValueError, "KeyError"], int, BaseException]
)
def test_retry_on_that_is_neither_is_refused(value: object) -> None:
    with pytest.raises(InvalidOptionError, match="retry_on is an exception class"):
        StepOptions.checked(retry_on=value)
