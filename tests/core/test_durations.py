from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from django_workflow.core.durations import format_duration, parse_duration, parse_moment
from django_workflow.core.exceptions import InvalidOptionError


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("10s", timedelta(seconds=10)),
        ("5m", timedelta(minutes=5)),
        ("2h", timedelta(hours=2)),
        ("7d", timedelta(days=7)),
        ("1w", timedelta(days=7)),
        ("1mo", timedelta(days=30)),
        ("1y", timedelta(days=365)),
        ("1d12h", timedelta(days=1, hours=12)),
        ("1y2mo3w4d5h6m7s", timedelta(days=450, hours=5, minutes=6, seconds=7)),
        ("1mo1m", timedelta(days=30, minutes=1)),
        ("1.5h", timedelta(minutes=90)),
        ("0.25s", timedelta(milliseconds=250)),
        ("0s", timedelta()),
        ("100y", timedelta(days=36_500)),
        (" 1d 12 h ", timedelta(days=1, hours=12)),
    ],
)
def test_text_is_read_by_its_units(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration


@pytest.mark.parametrize(
    ("seconds", "duration"),
    [(0, timedelta()), (90, timedelta(minutes=1, seconds=30)), (0.5, timedelta(milliseconds=500))],
)
def test_number_is_seconds(seconds: float, duration: timedelta) -> None:
    assert parse_duration(seconds) == duration


def test_timedelta_is_taken_as_it_is() -> None:
    assert parse_duration(timedelta(days=3)) == timedelta(days=3)


@pytest.mark.parametrize("value", ["10", "1.5", "0", "1e3", " 7 ", "inf"])
def test_number_in_text_is_refused_for_want_of_a_unit(value: str) -> None:
    with pytest.raises(InvalidOptionError, match=f'"{value}" has no unit.* Give .*"10s"'):
        parse_duration(value)


@pytest.mark.parametrize(
    "value",
    ["", " ", "soon", "10 seconds", "10ms", "1M", "12h1d", "1h1h", "-5s", "+5s", "1,5h", ".5h", "5.h", "\u0661s", "1h\n1x"],
)  # fmt: skip
def test_other_text_is_refused_with_the_accepted_forms(value: str) -> None:
    with pytest.raises(InvalidOptionError, match=r'is not a duration\. Give .*"10s", "5m"'):
        parse_duration(value)


@pytest.mark.parametrize("value", [True, False, None, b"10s", [10], 3j])
def test_other_types_are_refused(value: Any) -> None:
    with pytest.raises(InvalidOptionError, match="is not a duration"):
        parse_duration(value)


@pytest.mark.parametrize(
    "value",
    [
        -1,
        -0.001,
        float("nan"),
        float("inf"),
        float("-inf"),
        pytest.param(10**5_000, id="huge"),
        pytest.param(-(10**5_000), id="-huge"),
        timedelta(seconds=-1),
        timedelta(days=36_501),
        36_500 * 86_400 + 1,
        "101y",
        pytest.param("9" * 5_000 + "y", id="huge text"),
    ],
    ids=str.__call__,
)
def test_negative_and_endless_durations_are_refused(value: float | str | timedelta) -> None:
    with pytest.raises(InvalidOptionError, match="between 0 and 100 years") as caught:
        parse_duration(value)

    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(), "0s"),
        (timedelta(seconds=10), "10s"),
        (timedelta(milliseconds=250), "0.25s"),
        (timedelta(minutes=5), "5m"),
        (timedelta(days=1, hours=12), "1d12h"),
        (timedelta(days=400, seconds=1), "400d1s"),
        (timedelta(hours=1, microseconds=1), "1h0.000001s"),
        (timedelta(minutes=-5), "-5m"),
    ],
)
def test_duration_is_shown_in_its_short_form(duration: timedelta, text: str) -> None:
    assert format_duration(duration) == text


@pytest.mark.parametrize(
    ("duration", "parts", "text"),
    [
        (timedelta(days=2, hours=4, minutes=31, seconds=12.5), 2, "2d4h"),
        (timedelta(minutes=10, seconds=57.3), 2, "10m57s"),
        (timedelta(hours=1, seconds=1.5), 2, "1h1s"),
        (timedelta(seconds=57.5), 2, "57.5s"),
        (timedelta(hours=23, minutes=59), 1, "23h"),
    ],
)
def test_duration_can_be_cut_to_its_largest_units(
    duration: timedelta, parts: int, text: str
) -> None:
    assert format_duration(duration, parts=parts) == text


@given(st.timedeltas(min_value=timedelta(), max_value=timedelta(days=36_500)))
def test_what_is_shown_is_read_back_the_same(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration


@given(st.text())
def test_any_text_is_a_duration_or_a_clear_refusal(text: str) -> None:
    assert outcome_of_parsing(text) in {"duration", "refused"}


def outcome_of_parsing(text: str) -> str:
    try:
        parse_duration(text)
    except InvalidOptionError:
        return "refused"
    return "duration"


NEW_YEAR = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [
        NEW_YEAR,
        datetime(2030, 1, 1, 1, tzinfo=ZoneInfo("Europe/Paris")),
        datetime(2029, 12, 31, 19, tzinfo=timezone(timedelta(hours=-5))),
        date(2030, 1, 1),
        "2030-01-01",
        "2030-01-01T00:00:00Z",
        "2030-01-01 01:00+01:00",
        "2029-12-31T19:00:00.000000-05:00",
        1_893_456_000,
        1_893_456_000.0,
    ],
    ids=repr,
)
def test_moment_becomes_an_aware_datetime_in_utc(value: datetime | date | str | float) -> None:
    moment = parse_moment(value)

    assert moment == NEW_YEAR
    assert moment.tzinfo is UTC


def test_fractions_of_a_second_are_kept() -> None:
    assert parse_moment("2030-01-01T00:00:00.000001Z").microsecond == 1


def test_second_of_two_equal_wall_times_is_told_from_the_first() -> None:
    ambiguous = datetime(2030, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Paris"))

    hours = [parse_moment(ambiguous.replace(fold=fold)).hour for fold in (0, 1)]

    assert hours == [0, 1]


def test_moment_before_1970_is_taken() -> None:
    assert parse_moment(-1) == datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)


def test_naive_datetime_is_refused_with_the_way_out() -> None:
    naive = datetime(2030, 1, 1)  # noqa: DTZ001 - what is refused

    with pytest.raises(InvalidOptionError, match=r"has no time zone.*make_aware\(\)"):
        parse_moment(naive)


def test_text_without_an_offset_is_refused_with_the_way_out() -> None:
    with pytest.raises(InvalidOptionError, match=r'Add one, as in "2030-01-01T09:00:00\+00:00"'):
        parse_moment("2030-01-01T09:00:00")


@pytest.mark.parametrize(
    "value",
    [True, None, "", "tomorrow", "20300101", "1893456000", "2030-02-30", "2030-13-01T00:00Z",
     "2030-01-01T25:00Z", "2030-W01-1", "2030-01-01X00:00Z", "2030-01-01\n", b"2030-01-01"],
)  # fmt: skip
def test_other_values_are_no_moment(value: Any) -> None:
    with pytest.raises(InvalidOptionError, match=r"is not a moment\. .* ISO text"):
        parse_moment(value)


@pytest.mark.parametrize(
    "value", [1.9e12, pytest.param(10**5_000, id="huge"), float("nan"), float("inf")]
)
def test_unix_time_in_milliseconds_and_beyond_is_refused(value: float) -> None:
    with pytest.raises(InvalidOptionError, match="in seconds, not milliseconds"):
        parse_moment(value)


@pytest.mark.parametrize("value", ["9999-12-31T23:59:59-01:00", "0001-01-01T00:00:00+01:00"])
def test_moment_outside_the_calendar_is_refused(value: str) -> None:
    with pytest.raises(InvalidOptionError, match="is out of range"):
        parse_moment(value)


@settings(max_examples=30)
@given(st.datetimes(timezones=st.timezones()))
def test_any_aware_datetime_keeps_its_instant(moment: datetime) -> None:
    assert parse_moment(moment).timestamp() == pytest.approx(moment.timestamp(), abs=1e-3)
