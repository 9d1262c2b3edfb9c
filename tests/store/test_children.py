"""Children in rows: what keeps a waiting parent from being stuck, and what does not."""

from __future__ import annotations

from typing import Any

import pytest
from django.db.models import F

from django_workflow.core.actors import NOBODY
from django_workflow.core.types import RunStatus
from django_workflow.models import Delivery, Run
from django_workflow.store import children, deletion, runs, waits
from django_workflow.store.rows import Claim
from tests.store.made import claimed, new_run, pending

pytestmark = pytest.mark.django_db


def waiting(**changes: Any) -> Claim:
    """Let run-1 wait for its child."""
    claim = claimed()
    child = new_run("child", parent="run-1", parent_step="a", depth=1)
    waits.wait(claim, [pending("a", kind="invoke", status="waiting", child=child)])
    Run.objects.filter(pk="child").update(**changes)
    return claim


def stuck() -> list[str]:
    return sorted(Run.objects.stuck().values_list("pk", flat=True))


def test_parent_of_an_open_child_is_not_stuck() -> None:
    waiting()

    assert stuck() == []


@pytest.mark.parametrize("status", [RunStatus.PAUSED, RunStatus.BLOCKED])
def test_parent_of_a_child_that_stands_still_is_not_stuck(status: RunStatus) -> None:
    waiting(status=status)
    Delivery.objects.filter(run="child").update(due_at=None)

    assert stuck() == []


def test_parent_of_an_ended_child_that_will_not_tell_is_stuck() -> None:
    waiting(status=RunStatus.FAILED)
    Delivery.objects.filter(run="child").update(due_at=None)

    assert stuck() == ["run-1"]


def test_parent_of_an_ended_child_whose_turn_is_due_is_not_stuck() -> None:
    waiting(status=RunStatus.FAILED)

    assert stuck() == []


def test_parent_that_no_longer_waits_for_its_child_is_stuck_without_a_turn() -> None:
    waiting()
    Run.objects.get(pk="run-1").steps.update(status="cancelled")

    assert stuck() == ["run-1"]


def test_cancelling_run_is_stuck_without_a_child_that_will_tell() -> None:
    waiting()
    runs.cancel("run-1")
    Delivery.objects.filter(run="run-1").update(due_at=None)
    assert stuck() == []

    Run.objects.filter(pk="child").update(parent_waits=False)

    assert stuck() == ["run-1"]


def test_cancel_of_a_run_without_children_is_done_at_once() -> None:
    claimed()

    assert runs.cancel("run-1") is None
    assert runs.state_of("run-1") == RunStatus.CANCELLED


def test_cancel_of_a_run_that_is_cancelling_makes_its_turn_due_again() -> None:
    waiting()
    runs.cancel("run-1")
    Delivery.objects.filter(run="run-1").update(due_at=None)

    assert runs.cancel("run-1") is None
    assert runs.state_of("run-1") == RunStatus.CANCELLING
    assert stuck() == []
    assert Delivery.objects.get(run="run-1").due_at is not None


def test_child_for_which_a_parent_waits_is_not_deleted() -> None:
    waiting(status=RunStatus.BLOCKED)
    assert deletion.delete_ended(["child"], by=NOBODY) == 0

    Run.objects.get(pk="run-1").steps.update(status="cancelled")

    assert deletion.delete_ended(["child"], by=NOBODY) == 1


def test_child_of_a_deleted_parent_ends_like_any_other() -> None:
    waiting(status=RunStatus.COMPLETED, finished_at=F("created_at"))
    Run.objects.get(pk="run-1").delete()
    child = children.to_tell("child")
    assert child is not None

    assert children.record_end(child, None) == (False, False)
    children.end_telling("child")

    assert not Delivery.objects.exists()
    assert children.to_tell("child") is None


def test_end_of_a_child_that_was_resumed_meanwhile_is_not_told() -> None:
    waiting(status=RunStatus.RUNNING)

    children.end_telling("child")

    assert children.to_tell("child") is None
    assert Run.objects.get(pk="child").parent_waits
    assert Delivery.objects.filter(run="child").exists()
