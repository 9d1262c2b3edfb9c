"""Verbs on runs that go on, over the API."""

from __future__ import annotations

from typing import Any

import pytest

from django_workflow.models import Action, Run, Step
from django_workflow.testing import WorkflowSandbox
from tests.rest.conftest import Api
from tests.rest.test_runs import is_problem
from tests.rest.workflows import plain, waits

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.rest.urls")]


def test_a_fork_is_made_and_named(api: Api, box: WorkflowSandbox) -> None:
    plain.trigger({"n": 1}, workflow_run_id="one")

    body = {"step": "look", "payload": {"n": 2}, "why": "what if"}
    response = api.post("runs/one/fork/", body)

    assert response.status_code == 201
    found = response.json()
    new = Run.objects.get(pk=found["workflow_run_id"])
    assert (found["forked_from"], found["forked_at"]) == ("one", "look")
    assert new.result == {"n": 2}
    action = Action.objects.get(verb="fork")
    assert (action.actor, action.door, action.why) == ("ann", "rest", "what if")


def test_a_result_is_edited(api: Api, box: WorkflowSandbox) -> None:
    plain.trigger({"n": 1}, workflow_run_id="one")

    refused = api.post("runs/one/edit-result/", {"step": "look", "value": None})
    Run.objects.update(status="paused", paused_from="running", finished_at=None)
    done = api.post("runs/one/edit-result/", {"step": "look", "value": {"seen": 2}})

    is_problem(refused, 409, "wrong-state")
    assert (done.status_code, done.json()["status"]) == (200, "paused")
    assert Step.objects.get().result == {"seen": 2}


def test_more_time_and_another_priority(api: Api, box: WorkflowSandbox) -> None:
    waits.trigger(workflow_run_id="one")
    before = Step.objects.get().wake_at

    assert api.post("runs/one/extend/", {"by": "1h", "step": "word"}).status_code == 200
    assert api.post("runs/one/priority/", {"priority": 4}).status_code == 200

    assert Step.objects.get().wake_at > before  # type: ignore[operator]
    is_problem(api.post("runs/one/extend/", {"by": "soon"}), 400, "bad-input")
    is_problem(api.post("runs/one/priority/", {"priority": "high"}), 400, "bad-input")


@pytest.mark.parametrize("path", ["retry", "skip-sleep"])
def test_nothing_to_do_is_a_conflict(path: str, api: Api, box: WorkflowSandbox) -> None:
    waits.trigger(workflow_run_id="one")

    is_problem(api.post(f"runs/one/{path}/"), 409, "wrong-state")
    is_problem(api.post(f"runs/one/{path}/", {"step": "no"}), 400, "bad-input")
    is_problem(api.post(f"runs/lost/{path}/"), 404, "not-found")


def test_bodies_are_checked(api: Api, box: WorkflowSandbox) -> None:
    plain.trigger({"n": 1}, workflow_run_id="one")
    bodies: list[tuple[str, Any]] = [
        ("fork", {}),
        ("fork", {"step": "no"}),
        ("fork", {"step": "look", "result": {}}),
        ("edit-result", {"step": "look"}),
        ("extend", {}),
    ]

    for verb, body in bodies:
        is_problem(api.post(f"runs/one/{verb}/", body), 400, "bad-input")

    assert Run.objects.count() == 1
