"""What may be asked of events is checked where it is asked."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from django_workflow.core.arguments import notify_fields
from django_workflow.core.events import EventResult, Wanted, check_event_id
from django_workflow.core.exceptions import InvalidOptionError, NotSerializableError


def test_one_id_is_one_event_within_the_timeout() -> None:
    assert Wanted.of("go", "7d", None, None) == Wanted(
        event_ids=("go",), count=1, timeout=timedelta(days=7)
    )


def test_of_several_ids_all_are_wanted_unless_a_count_is_given() -> None:
    assert Wanted.of(["a", "b", "c"], 60, None, None).count == 3
    assert Wanted.of(("a", "b", "c"), 60, 2, "1h").count == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", "1d", None, None), "one character or more"),
        ((7, "1d", None, None), "An event ID is a text, not 7"),
        ((["a", 7], "1d", None, None), "not 7"),
        (([], "1d", None, None), "one event at least"),
        ((["a", "a"], "1d", None, None), '"a" is given twice'),
        ((["a", "b"], "1d", 3, None), "from 1 to 2"),
        ((["a", "b"], "1d", 0, None), "from 1 to 2"),
        ((["a", "b"], "1d", True, None), "from 1 to 2"),
        (("a", 0, None, None), "longer than zero"),
        (("a", "soon", None, None), "soon"),
        (("a", -1, None, None), "-1"),
        (("a", "1d", None, "long"), "long"),
    ],
)
def test_what_cannot_work_is_refused(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(InvalidOptionError, match=message):
        Wanted.of(*arguments)


@pytest.mark.parametrize(
    ("event_id", "message"),
    [
        ("x" * 256, "256 characters; at most 255"),
        ("a\x00b", "no database"),
        ("\ud800", "no database"),
    ],
)
def test_ids_that_cannot_be_kept_are_refused(event_id: str, message: str) -> None:
    with pytest.raises(InvalidOptionError, match=message):
        check_event_id(event_id)


def test_data_that_cannot_be_stored_are_refused_by_their_path() -> None:
    with pytest.raises(NotSerializableError, match=r'event_data\["a"\]'):
        notify_fields("go", {"a": {1, 2}}, None, True)


@pytest.mark.parametrize(("run_id", "keep"), [(7, True), (None, "yes")])
def test_options_of_other_types_are_refused(run_id: Any, keep: Any) -> None:
    with pytest.raises(InvalidOptionError):
        notify_fields("go", None, run_id, keep)


def test_no_data_is_no_timeout() -> None:
    result = EventResult.from_record(
        {"timed_out": False, "events": [{"event_id": "go", "event_data": None}]}
    )

    assert (result.timed_out, result.timeout, result.event_data) == (False, False, None)
    assert [event.event_id for event in result.events] == ["go"]
