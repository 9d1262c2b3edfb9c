"""Dead letters over the API: listed, grouped, resumed, restarted and deleted."""

from __future__ import annotations

import pytest

from django_workflow.models import Action, Run
from django_workflow.testing import WorkflowSandbox
from tests.rest.conftest import Api, is_problem
from tests.rest.workflows import fails, fails_once, plain, waits

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.rest.urls")]


def test_only_dead_letters_are_listed(api: Api, box: WorkflowSandbox) -> None:
    lost = fails.trigger(label="vip")
    plain.trigger()

    [found] = api.get("dead-letters/").json()["results"]

    assert (found["workflow_run_id"], found["status"]) == (lost.id, "failed")
    assert found["failure"]["message"] == "the secret of the error"
    assert len(api.get("dead-letters/", label="vip").json()["results"]) == 1
    assert api.get("dead-letters/", status="blocked").json()["results"] == []


def test_groups_count_by_cause_and_their_fields_are_filters(api: Api, box: WorkflowSandbox) -> None:
    fails.trigger_many([{}] * 3)
    fails_once.trigger()

    found = api.get("dead-letters/groups/").json()

    assert found["truncated"] is False
    assert [(one["workflow"], one["count"]) for one in found["results"]] == [
        ("rest.fails", 3), ("rest.fails_once", 1)
    ]  # fmt: skip
    largest = found["results"][0]
    query = {"workflow": "workflow", "failed_step": "step", "error_class": "error_class"}
    asked = {name: largest[field] for name, field in query.items()}
    assert len(api.get("dead-letters/", **asked).json()["results"]) == 3
    assert api.post("dead-letters/delete/", {"filter": asked}).json()["done"] == 3


def test_resume_goes_on_with_each(api: Api, box: WorkflowSandbox) -> None:
    run, done = fails_once.trigger(), plain.trigger()
    assert run.refresh().status == "failed"

    dry = api.post("dead-letters/resume/", {"all": True, "dry_run": True}).json()
    found = api.post("dead-letters/resume/", {"ids": [run.id, done.id, "none"], "why": "mended"})
    box.settle()

    assert [one["workflow_run_id"] for one in dry["results"]] == [run.id]
    told = found.json()["results"]
    assert [one["done"] for one in told] == [True, False, False]
    assert told[1]["problem"]["state"] == "completed"
    assert told[2]["problem"]["status"] == 404
    assert run.refresh().status == "completed"
    assert [(one.verb, one.why) for one in run.actions] == [("resume", "mended")]


def test_restart_leaves_the_dead_letter(api: Api, box: WorkflowSandbox) -> None:
    run = fails.trigger()
    [told] = api.post("dead-letters/restart/", {"all": True}).json()["results"]
    assert Run.objects.get(pk=told["new_run_id"]).restarted_from_id == run.id
    assert run.refresh().status == "failed"


def test_delete_takes_dead_letters_alone_and_is_remembered(api: Api, box: WorkflowSandbox) -> None:
    lost, living = fails.trigger(), waits.trigger()

    dry = api.post("dead-letters/delete/", {"ids": [lost.id], "dry_run": True}).json()
    assert (dry["done"], dry["results"][0]["status"]) == (0, "failed")
    found = api.post("dead-letters/delete/", {"ids": [lost.id, living.id, "none"]}).json()
    again = api.post("dead-letters/delete/", {"ids": [lost.id]}).json()

    assert [one["done"] for one in found["results"]] == [True, False, False]
    assert found["results"][1]["problem"]["state"] == "running"
    assert again["results"][0]["problem"]["status"] == 404
    assert list(Run.objects.values_list("pk", flat=True)) == [living.id]
    assert Action.objects.get(verb="delete").run_id == lost.id


def test_without_a_selection_nothing_is_deleted(api: Api, box: WorkflowSandbox) -> None:
    fails.trigger()
    for body in ({}, {"filter": {}}, {"all": False}, {"ids": [], "all": True}, {"filter": 5}):
        is_problem(api.post("dead-letters/delete/", body), 400, "bad-input")
    assert Run.objects.count() == 1
