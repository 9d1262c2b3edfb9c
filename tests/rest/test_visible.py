"""``WORKFLOW["VISIBLE_RUNS"]``: what it leaves out is not there, at any address and by any verb."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import override_settings

from django_workflow.models import Approval, Event, Run
from django_workflow.testing import WorkflowSandbox
from tests.rest.conftest import Api, is_problem
from tests.rest.workflows import asks, asks_for_a_budget, fails, plain, waits

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.rest.urls")]

OWN = {"DISPATCHER": "embedded", "VISIBLE_RUNS": "tests.rest.visible.own"}


@pytest.fixture(autouse=True)
def only_own() -> Iterator[None]:
    with override_settings(WORKFLOW=OWN):
        yield


@pytest.fixture
def bob() -> Api:
    """Somebody who may do everything, to the runs of their own."""
    user = User.objects.create_user("bob")
    user.user_permissions.set(Permission.objects.all())
    return Api(user)


def test_lists_hold_one_s_own_runs(api: Api, bob: Api, box: WorkflowSandbox) -> None:
    fails.trigger(by=api.user)
    mine = fails.trigger(by=bob.user)

    for path in ("runs/", "dead-letters/"):
        found = bob.get(path).json()["results"]
        assert [run["workflow_run_id"] for run in found] == [mine.id]
        assert len(api.get(path).json()["results"]) == 2
    [group] = bob.get("dead-letters/groups/").json()["results"]
    assert (group["count"], group["newest"]) == (1, mine.id)


def test_nothing_of_another_s_run_is_there(api: Api, bob: Api, box: WorkflowSandbox) -> None:
    run = waits.trigger(by=api.user)

    reads = ("", "steps/", "attempts/", "logs/", "actions/", "webhooks/", "result/")
    for path in reads:
        is_problem(bob.get(f"runs/{run.id}/{path}"), 404, "not-found")
        assert api.get(f"runs/{run.id}/{path}").status_code in (200, 202)
    for verb in ("cancel", "pause", "resume", "restart"):
        is_problem(bob.post(f"runs/{run.id}/{verb}/"), 404, "not-found")
    assert run.refresh().status == "running"


def test_verbs_on_many_leave_others_alone(api: Api, bob: Api, box: WorkflowSandbox) -> None:
    theirs, dead = waits.trigger(by=api.user, label="x"), fails.trigger(by=api.user, label="x")
    selections: list[Any] = [
        {"ids": [theirs.id, dead.id]}, {"filter": {"label": ["x"]}}, {"all": True}
    ]  # fmt: skip
    paths = [f"bulk/{verb}/" for verb in ("pause", "resume", "restart", "cancel")]
    paths += [f"dead-letters/{verb}/" for verb in ("resume", "restart", "delete")]

    for path, more in [*((path, {}) for path in paths), ("bulk/fork/", {"step": "word"})]:
        for selection in selections:
            for dry_run in (True, False):
                found = bob.post(path, {**selection, **more, "dry_run": dry_run}).json()
                assert found["done"] == 0, (path, selection)
                told = [one["problem"]["status"] for one in found["results"]]
                assert told == [404] * len(selection.get("ids", ()))
    assert (theirs.refresh().status, dead.refresh().status) == ("running", "failed")
    assert Run.objects.count() == 2


def test_a_taken_id_tells_nothing(api: Api, bob: Api, box: WorkflowSandbox) -> None:
    plain.trigger({"n": 1}, workflow_run_id="order-1", by=api.user)
    for payload in ({"n": 1}, {"n": 2}):
        body = {"payload": payload, "workflow_run_id": "order-1"}
        found = is_problem(bob.post("workflows/rest.plain/runs/", body), 409, "exists")
        assert found["detail"] == 'The ID "order-1" is taken.'
    many = {"payloads": [1, 2], "workflow_run_ids": ["order-2", "order-1"]}
    is_problem(bob.post("workflows/rest.plain/runs/bulk/", many), 409, "exists")
    assert Run.objects.count() == 1
    mine = bob.post("workflows/rest.plain/runs/", {"workflow_run_id": "order-3"})
    assert bob.get("runs/order-3/").status_code == 200
    assert mine.status_code == 201


def test_events(api: Api, bob: Api, box: WorkflowSandbox) -> None:
    theirs, mine = waits.trigger(by=api.user), waits.trigger(by=bob.user)
    api.post("events/", {"event_id": "common"})
    api.post("events/", {"event_id": "x", "workflow_run_id": theirs.id})

    assert bob.get("events/").json()["results"] == []
    assert bob.get("events/waiters/", event_id=f"word:{theirs.id}").json()["results"] == []
    assert len(bob.get("events/waiters/", event_id=f"word:{mine.id}").json()["results"]) == 1
    is_problem(bob.post("events/", {"event_id": f"word:{theirs.id}"}), 403, "forbidden")
    to_them = {"event_id": f"word:{theirs.id}", "workflow_run_id": theirs.id}
    is_problem(bob.post("events/", to_them), 404, "not-found")
    assert Event.objects.count() == 2
    to_me = {"event_id": f"word:{mine.id}", "workflow_run_id": mine.id}
    assert bob.post("events/", to_me).status_code == 201
    assert len(bob.get("events/").json()["results"]) == 1


def test_an_approval_is_there_for_whom_it_names(api: Api, bob: Api, box: WorkflowSandbox) -> None:
    """Who is asked by name may decide; a permission that many hold opens one's own runs alone."""
    asks.trigger(by=bob.user)
    asks_for_a_budget.trigger(by=api.user)
    named, by_permission = Approval.objects.order_by("pk")

    assert bob.get("approvals/").json()["results"] == []
    is_problem(bob.get(f"approvals/{by_permission.pk}/"), 404, "not-found")
    refused = bob.post(f"approvals/{by_permission.pk}/decide/", {"approve": False})
    is_problem(refused, 404, "not-found")
    ann = Api(User.objects.get(username="ann"))
    ann.user.is_superuser = False
    ann.user.save()
    [found] = ann.get("approvals/").json()["results"]
    assert found["id"] == named.pk
    assert ann.post(f"approvals/{named.pk}/decide/", {"approve": True}).status_code == 200


def test_what_is_no_callable_is_a_server_error(api: Api) -> None:
    api.client.raise_request_exception = False
    for path in ("tests.rest.visible.nothing_returned", "tests.rest.visible.gone"):
        with override_settings(WORKFLOW={**OWN, "VISIBLE_RUNS": path}):
            is_problem(api.get("runs/"), 500, "error")
