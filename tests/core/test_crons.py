"""When a schedule fires: across daylight saving time in both hemispheres, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_workflow import Cron, InvalidOptionError

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def local(cron: Cron, begin: str, count: int) -> list[str]:
    """Return the slots after a moment, as the clocks on the wall show them."""
    zone = ZoneInfo(cron.timezone or "UTC")
    slots = cron.slots_after(datetime.fromisoformat(begin).replace(tzinfo=zone))
    return [slot.astimezone(zone).isoformat() for slot in islice(slots, count)]


@pytest.mark.parametrize(
    ("zone", "begin", "slots"),
    [
        (
            "Europe/Paris",
            "2026-10-24T12:00",
            ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"],
        ),
        (
            "Australia/Sydney",
            "2026-04-04T12:00",
            ["2026-04-05T02:30:00+11:00", "2026-04-06T02:30:00+10:00"],
        ),
        (
            "America/New_York",
            "2026-10-31T12:00",
            ["2026-11-01T02:30:00-05:00", "2026-11-02T02:30:00-05:00"],
        ),
    ],
)
def test_time_in_the_repeated_hour_is_met_once(zone: str, begin: str, slots: list[str]) -> None:
    assert local(Cron("30 2 * * *", zone), begin, 2) == slots


def test_a_sweep_in_the_repeated_hour_does_not_fire_again() -> None:
    cron = Cron("30 2 * * *", "Europe/Paris")
    second_time = datetime(2026, 10, 25, 1, 10, tzinfo=UTC)  # 02:10 for the second time

    assert cron.next_after(second_time) == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("cron", "zone", "begin", "slots"),
    [
        (
            "30 2 * * *",
            "Europe/Paris",
            "2026-03-28T12:00",
            ["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"],
        ),
        (
            "0,30 2 * * *",
            "Europe/Paris",
            "2026-03-28T12:00",
            ["2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"],
        ),
        (
            "30 2 * * *",
            "Australia/Sydney",
            "2026-10-03T12:00",
            ["2026-10-04T03:00:00+11:00", "2026-10-05T02:30:00+11:00"],
        ),
        # Half an hour only, and a midnight that does not exist.
        (
            "15 2 * * *",
            "Australia/Lord_Howe",
            "2026-10-03T12:00",
            ["2026-10-04T02:30:00+11:00", "2026-10-05T02:15:00+11:00"],
        ),
        (
            "0 0 * * *",
            "America/Santiago",
            "2026-09-05T12:00",
            ["2026-09-06T01:00:00-03:00", "2026-09-07T00:00:00-03:00"],
        ),
    ],
)
def test_time_that_does_not_exist_is_moved_to_the_first_that_does(
    cron: str, zone: str, begin: str, slots: list[str]
) -> None:
    assert local(Cron(cron, zone), begin, 2) == slots


def test_intervals_go_with_the_time_that_passes() -> None:
    cron = Cron("*/30 * * * *", "Europe/Paris")
    slots = list(islice(cron.slots_after(datetime(2026, 10, 24, 22, tzinfo=UTC)), 12))

    assert {later - earlier for earlier, later in pairwise(slots)} == {timedelta(minutes=30)}


@given(
    st.sampled_from(["30 2 * * *", "*/17 * * * *", "0 0 * * 0", "5 1-3 * * *", "0,30 2,3 * * *"]),
    st.sampled_from(["UTC", "Europe/Paris", "Australia/Lord_Howe", "America/Santiago"]),
    st.integers(0, 365 * 86_400),
)
def test_each_slot_is_the_next_one_of_the_slot_before(text: str, zone: str, begin: int) -> None:
    cron = Cron(text, zone)
    slots = list(islice(cron.slots_after(BEGIN + timedelta(seconds=begin)), 4))

    assert slots == sorted(set(slots))
    assert [cron.next_after(slot) for slot in slots[:-1]] == slots[1:]


def test_newest_slots_of_a_year_of_minutes_are_found_soon() -> None:
    cron = Cron("* * * * *")
    found = cron.slots_between(BEGIN, BEGIN + timedelta(days=365), 3)

    assert found == [BEGIN + timedelta(days=365) - timedelta(minutes=m) for m in (2, 1, 0)]
    assert Cron("0 0 1 1 *").slots_between(BEGIN, BEGIN + timedelta(days=800), 9) == [
        datetime(2027, 1, 1, tzinfo=UTC),
        datetime(2028, 1, 1, tzinfo=UTC),
    ]


def test_jitter_is_the_same_for_a_slot_and_ends_before_the_next() -> None:
    cron = Cron("* * * * *", jitter="1h")
    slots = list(islice(cron.slots_after(BEGIN), 200))
    dues = [cron.due_at(slot, "seed") for slot in slots]

    assert dues == [cron.due_at(slot, "seed") for slot in slots]
    assert all(
        timedelta(0) <= due - s < timedelta(minutes=1) for s, due in zip(slots, dues, strict=True)
    )
    assert len({due - s for s, due in zip(slots, dues, strict=True)}) > 100
    assert dues != [cron.due_at(slot, "other") for slot in slots]


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        (("0 9 * * 1-5", "Europe/Paris"), "every weekday at 09:00 Europe/Paris"),
        (("30 6 * * *",), "every day at 06:30 UTC"),
        (("@weekly",), "every Sunday at 00:00 UTC"),
        (("CRON_TZ=Asia/Tokyo */5 * * * *",), "every 5 minutes, Asia/Tokyo"),
        (("0 0 L * *",), "at 00:00 on the last day of every month, UTC"),
        (("* * * * *",), "every minute, UTC"),
        (("0 9 * * THU",), "every Thursday at 09:00 UTC"),
    ],
)
def test_plan_in_plain_words(given_: tuple[str, ...], words: str) -> None:
    assert Cron(*given_).describe() == words


@pytest.mark.parametrize(
    ("args", "options", "part"),
    [
        (("0 0 30 2 *",), {}, "a day that never comes"),
        (("0 0 31 4,6 *",), {}, "a day that never comes"),
        (("61 * * * *",), {}, "Bad minute"),
        (("* * * *",), {}, "it has 4 fields"),
        (("* * * * * *",), {}, "it has 6 fields"),
        (("@reboot",), {}, "it has 1 fields"),
        (("",), {}, "it has 0 fields"),
        ((5,), {}, "is a cron text, not 5"),
        (("* * * * *", "Europe/Atlantis"), {}, "timezone is the name"),
        (("* * * * *", "../etc"), {}, "timezone is the name"),
        (("* * * * *", "Europe"), {}, "timezone is the name"),
        (("* * * * *", 1), {}, "timezone is the name"),
        (("CRON_TZ=UTC * * * * *", "UTC"), {}, "has one time zone"),
        (("* * * * *",), {"overlap": "none"}, "overlap is one of"),
        (("* * * * *",), {"catch_up": True}, "catch_up is one of"),
        (("* * * * *",), {"jitter": "-1s"}, "not a duration"),
    ],
)
def test_what_cannot_work_is_refused(
    args: tuple[Any, ...], options: dict[str, Any], part: str
) -> None:
    with pytest.raises(InvalidOptionError, match=part):
        Cron(*args, **options)
