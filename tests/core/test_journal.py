from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_workflow.core.journal import Branch, Journal, Record
from django_workflow.core.types import StepStatus

STARTED_AT = datetime(2030, 1, 1, tzinfo=UTC)


def record(key: str, sequence: int | None = None, **fields: Any) -> Record:
    """Return a record; open without a sequence number."""
    status = StepStatus.PENDING if sequence is None else StepStatus.COMPLETED
    branch = re.match(r"(?:[ptx][0-9.]+/)*", key)
    defaults: dict[str, Any] = {
        "name": key.rpartition("/")[2].partition("#")[0],
        "branch": branch.group() if branch else "",
        "kind": "run",
        "status": status,
        "arguments_text": "",
        "result_text": None,
        "failure_text": None,
        "attempts": 1,
        "delivered": False,
        "wake_at": None,
        "finished_at": None,
    }
    return Record(key=key, sequence=sequence, **{**defaults, **fields})


def journal(*records: Record) -> Journal:
    made = Journal("run-1", started_at=STARTED_AT)
    made.extend(records)
    return made


def keys(records: list[Record]) -> list[str]:
    return [record.key for record in records]


@pytest.mark.parametrize(
    ("kind", "is_timer"),
    [
        ("sleep", True),
        ("sleep_until", True),
        ("wait_for_event", True),
        ("run", False),
        ("call", False),
    ],
)
def test_timers_are_ended_by_time(kind: str, is_timer: bool) -> None:
    assert record("a", kind=kind).is_timer is is_timer


def test_records_stand_in_their_order_per_branch() -> None:
    made = journal(record("a", 1), record("p1.0/a", 2), record("p1.1/a", 3), record("p1.0/b", 4))

    assert made.order == {"": ["a"], "p1.0/": ["p1.0/a", "p1.0/b"], "p1.1/": ["p1.1/a"]}


def test_record_takes_the_place_of_its_open_form() -> None:
    made = journal(record("p1.0/a"), record("p1.0/b", 2))

    made.add(record("p1.0/a", 3))

    assert made.order["p1.0/"] == ["p1.0/a", "p1.0/b"]
    assert keys(made.in_sequence()) == ["p1.0/b", "p1.0/a"]
    assert made.open_records() == []


def test_watermark_is_the_highest_number_seen() -> None:
    assert journal().watermark == 0
    assert journal(record("b", 7), record("a", 2), record("c")).watermark == 7


@pytest.mark.parametrize("status", [StepStatus.ABANDONED, StepStatus.CANCELLED])
def test_steps_that_were_given_up_are_left_out(status: StepStatus) -> None:
    made = journal(record("a", 1), record("b"))

    made.extend([record("b", status=status), record("c", status=status)])

    assert made.order == {"": ["a"]}
    assert set(made.records) == {"a"}


def test_open_steps_are_forgotten_wherever_they_stand() -> None:
    made = journal(record("t1/slow"), record("t1/a", 1), record("b", 2), record("c"))

    made.forget_open()

    assert made.order == {"t1/": ["t1/a"], "": ["b"]}
    assert made.open_records() == []


# Names that are made to look like parts of keys.
tricky = st.text(st.sampled_from("ap1.0t/#2"), min_size=1, max_size=6)
paths = st.lists(st.sampled_from(["p1.0/", "p1.1/", "t1/", "t2/", "x1/"]), max_size=2).map("".join)


@given(
    st.lists(st.tuples(paths, st.lists(tricky, max_size=4)), max_size=4, unique_by=lambda b: b[0])
)
def test_no_two_steps_have_the_same_key(branches: list[tuple[str, list[str]]]) -> None:
    made = [
        branch.key_of(name)
        for path, names in branches
        for branch in [Branch(path, journal(), None)]
        for name in [*names, *names]
    ]

    assert len(set(made)) == len(made)


def test_branch_meets_its_records_in_order() -> None:
    branch = Branch("", journal(record("a", 1), record("b", 2), record("c")), None)

    branch.meet("a")

    assert branch.index == 1
    assert branch.unmet() == record("b", 2)


def test_branch_may_meet_records_ahead() -> None:
    branch = Branch("", journal(*(record(key, n) for n, key in enumerate("abcd", 1))), None)

    branch.meet("b")
    branch.meet("c")
    assert branch.unmet() == record("a", 1)
    branch.meet("a")

    assert branch.unmet() == record("d", 4)
    assert branch.index == 3


def test_markers_alone_are_nothing_to_be_met() -> None:
    branch = Branch("", journal(record("patch:x", 1, kind="patch")), None)

    assert branch.unmet() is None


def test_branch_begins_at_its_parent_s_time() -> None:
    made = journal()
    root = Branch("", made, None)
    root.clock = STARTED_AT + timedelta(hours=1)

    child = Branch("p1.0/", made, root)

    assert Branch("", made, None).clock == STARTED_AT
    assert child.clock == root.clock
    assert child.lineage() == [child, root]
