"""Approvals over the API: the inbox of the one who asks, and the decision."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User

from django_workflow.models import Approval
from django_workflow.testing import WorkflowSandbox
from tests.rest.conftest import Api, is_problem, user_with
from tests.rest.workflows import asks, asks_for_a_budget

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.rest.urls")]


def test_an_approval_is_found_and_given(api: Api, box: WorkflowSandbox) -> None:
    run = asks.trigger()

    [found] = api.get("approvals/").json()["results"]
    given = api.post(f"approvals/{found['id']}/decide/", {"approve": True, "comment": "fine"})
    box.settle()

    assert (found["title"], found["has_form"], found["decision"]) == ("Sign it", False, None)
    assert (given.status_code, given.json()["decision"]) == (200, "approved")
    assert (given.json()["decided_by"], given.json()["comment"]) == ("ann", "fine")
    assert run.refresh().result == "approved"
    assert api.get("approvals/").json()["results"] == []
    assert len(api.get("approvals/", open=False).json()["results"]) == 1


def test_the_second_decision_is_told_of_the_first(api: Api, box: WorkflowSandbox) -> None:
    asks.trigger()
    path = f"approvals/{Approval.objects.get().pk}/decide/"
    assert api.post(path, {"approve": False}).json()["decision"] == "rejected"
    found = is_problem(api.post(path, {"approve": True}), 409, "wrong-state")
    assert found["state"] == "rejected"


def test_an_approval_of_others_is_not_there(box: WorkflowSandbox) -> None:
    User.objects.create_user("ann")
    asks.trigger()
    pk = Approval.objects.get().pk
    stranger = Api(user_with("eve"))

    assert stranger.get("approvals/").json()["results"] == []
    is_problem(stranger.get(f"approvals/{pk}/"), 404, "not-found")
    is_problem(stranger.post(f"approvals/{pk}/decide/", {"approve": True}), 404, "not-found")
    # Who may see all may not decide all.
    viewer = Api(user_with("bob", "view_approval"))
    assert viewer.get(f"approvals/{pk}/").status_code == 200
    is_problem(viewer.post(f"approvals/{pk}/decide/", {"approve": True}), 403, "forbidden")


def test_who_holds_the_permission_is_asked(box: WorkflowSandbox) -> None:
    run = asks_for_a_budget.trigger()
    holder = Api(user_with("bob", "decide_approval"))

    [found] = holder.get("approvals/").json()["results"]
    assert found["has_form"] is True
    path = f"approvals/{found['id']}/decide/"
    refused = is_problem(
        holder.post(path, {"approve": True, "data": {"amount": 0}}), 400, "bad-input"
    )
    assert refused["errors"][0]["path"] == "data.amount"
    assert holder.post(path, {"approve": True, "data": {"amount": "5.50"}}).status_code == 200
    box.settle()
    assert run.refresh().result == "5.50"


@pytest.mark.parametrize(
    "body",
    [{}, {"approve": "yes"}, {"approve": None}, {"approve": True, "data": []}, {"aprove": True}],
)
def test_what_is_no_decision_is_refused(api: Api, box: WorkflowSandbox, body: Any) -> None:
    asks.trigger()
    path = f"approvals/{Approval.objects.get().pk}/decide/"
    is_problem(api.post(path, body), 400, "bad-input")
    assert Approval.objects.get().decision == ""


def test_unknown_approvals(api: Api) -> None:
    is_problem(api.get("approvals/1/"), 404, "not-found")
    is_problem(api.get(f"approvals/{10**30}/"), 404, "not-found")
    is_problem(api.get("approvals/x/"), 404, "not-found")
