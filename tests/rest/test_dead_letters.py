"""Dead letters over the API: listed, grouped, resumed, restarted and deleted."""

from __future__ import annotations

from typing import Any

import pytest

from django_workflow import NonRetryableError, WorkflowContext
from django_workflow.models import Action, Run
from django_workflow.runtime.dead_letters import dead_letters
from django_workflow.testing import WorkflowSandbox
from tests.rest.conftest import Api, is_problem, user_with
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


def test_groups_count_by_error_and_their_fingerprint_is_a_filter(
    api: Api, box: WorkflowSandbox
) -> None:
    fails.trigger_many([{}] * 3)
    other = fails_once.trigger()

    found = api.get("dead-letters/groups/").json()

    assert found["truncated"] is False
    assert [(one["workflows"], one["statuses"], one["count"]) for one in found["results"]] == [
        ({"rest.fails": 3}, {"failed": 3}, 3), ({"rest.fails_once": 1}, {"failed": 1}, 1)
    ]  # fmt: skip
    largest, smallest = found["results"]
    assert (smallest["newest"], smallest["step"]) == (other.id, "once")
    assert (largest["error_class"], largest["message"]) == ("ValueError", "the secret of the error")
    # The same as in the admin and on the command line.
    assert [one["fingerprint"] for one in found["results"]] == [
        group.fingerprint for group in dead_letters().groups
    ]
    asked = {"fingerprint": largest["fingerprint"]}
    assert len(api.get("dead-letters/", **asked).json()["results"]) == 3
    assert len(api.get("dead-letters/", fingerprint="x").json()["results"]) == 0
    assert api.post("dead-letters/delete/", {"filter": asked}).json()["done"] == 3
    assert [run.id for run in Run.objects.all()] == [other.id]


def test_groups_do_not_tell_errors_to_those_who_may_not_see_them(box: WorkflowSandbox) -> None:
    fails.trigger()

    response = Api(user_with("bob", "view_run")).get("dead-letters/groups/")

    [group] = response.json()["results"]
    assert (group["error_class"], group["message"], group["count"]) == (None, None, 1)
    assert "secret" not in response.content.decode()


@pytest.fixture
def no_refund(box: WorkflowSandbox, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """A failure handler for ``fails`` that fails as long as this is not empty."""
    away = [True]

    def refund() -> None:
        if away:
            raise NonRetryableError("the bank is away")

    def handle(ctx: WorkflowContext[Any], failure: Any) -> None:
        ctx.run("refund", refund)

    monkeypatch.setattr(fails, "failure_handler", None)
    fails.on_failure(handle)
    return away


def handlers(*runs: Run) -> list[str]:
    return [run.refresh().handler_status for run in runs]


def test_a_failure_handler_is_run_again(
    api: Api, box: WorkflowSandbox, no_refund: list[bool]
) -> None:
    run = fails.trigger()
    assert handlers(run) == ["failed"]
    no_refund.clear()

    told = api.post(f"runs/{run.id}/rerun-handler/", {"why": "the bank is back"})

    assert (told.status_code, told.json()) == (
        200, {"workflow_run_id": run.id, "status": "failed"}
    )  # fmt: skip
    box.settle()
    assert handlers(run) == ["completed"]
    assert [(one.verb, one.why) for one in run.actions] == [("rerun_handler", "the bank is back")]
    again = is_problem(api.post(f"runs/{run.id}/rerun-handler/"), 409, "wrong-state")
    assert "only a handler that failed" in again["detail"]
    none = plain.trigger()
    refused = is_problem(api.post(f"runs/{none.id}/rerun-handler/"), 409, "wrong-state")
    assert "has no failure handler" in refused["detail"]
    is_problem(api.post("runs/none/rerun-handler/"), 404, "not-found")


def test_failure_handlers_are_run_again_by_filter(
    api: Api, box: WorkflowSandbox, no_refund: list[bool]
) -> None:
    two, done = fails.trigger_many([{}] * 2), fails.trigger()
    without = fails_once.trigger()
    no_refund.clear()
    api.post(f"runs/{done.id}/rerun-handler/")
    box.settle()
    path, ids = "dead-letters/rerun-handler/", {run.id for run in two}
    [group, _] = api.get("dead-letters/groups/").json()["results"]
    by_error = {"filter": {"fingerprint": group["fingerprint"]}}

    dry = api.post(path, {**by_error, "dry_run": True}).json()
    everything = api.post(path, {"all": True, "dry_run": True}).json()
    named = api.post(path, {"ids": [done.id, without.id, "none"]}).json()

    for found in (dry, everything):
        assert {one["workflow_run_id"] for one in found["results"]} == ids
        assert (found["done"], found["refused"]) == (0, 0)
    assert [one["problem"]["status"] for one in named["results"]] == [409, 409, 404]
    assert handlers(*two) == ["failed", "failed"]

    told = api.post(path, {**by_error, "why": "the bank is back"}).json()
    box.settle()

    assert (told["done"], told["refused"], told["more"]) == (2, 0, False)
    assert handlers(*two) == ["completed", "completed"]


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
