"""The inbox of approvals in the admin: what it shows to whom, decisions, and approvals that are handed on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.core import mail
from django.test import Client
from django.urls import reverse

from django_workflow import (
    ApprovalClosedError,
    DecisionRefusedError,
    InvalidOptionError,
    WorkflowContext,
    decide_approval,
    workflow,
)
from django_workflow.models import Action, Approval, Run
from django_workflow.runtime.approval_mail import link_for
from django_workflow.runtime.delegating import delegate
from django_workflow.testing import WorkflowSandbox
from tests.transports.wsgi import served_at

pytestmark = pytest.mark.django_db

INBOX = "/admin/django_workflow/approval/"
OPTIONS: dict[str, Any] = {}


@workflow(name="adm_asks")
def asks(ctx: WorkflowContext[Any]) -> Any:
    found = ctx.wait_for_approval("sign", **OPTIONS)
    return [found.decision, found.decided_by, found.comment]


@pytest.fixture
def box() -> Iterator[WorkflowSandbox]:
    served = served_at("http://testserver", urlconf="tests.windows.admin_urls", TRANSPORT="inline")
    with served, WorkflowSandbox() as box:
        yield box
    OPTIONS.clear()


def started(**options: Any) -> Approval:
    OPTIONS.clear()
    OPTIONS.update(options)
    run: Run = asks.trigger(retries=0)
    return run.approvals.get()


def user(name: str, *permissions: str, is_staff: bool = True) -> tuple[User, Client]:
    made = User.objects.create_user(name, f"{name}@example.org", is_staff=is_staff)
    made.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(made)
    return made, client


def page(client: Client, path: str = INBOX) -> str:
    response = client.get(path)
    assert response.status_code == 200
    return response.content.decode()


def change(approval: Approval) -> str:
    return reverse("admin:django_workflow_approval_change", args=[approval.pk])


def hand_on(approval: Approval) -> str:
    return reverse("admin:django_workflow_approval_delegate", args=[approval.pk])


def test_the_inbox_holds_what_one_may_decide(box: WorkflowSandbox) -> None:
    (ann, anns), (_, bobs), (_, viewers) = user("ann"), user("bob"), user("vera", "view_approval")
    _, deciders = user("dora", "decide_approval")
    group = Group.objects.create(name="ops")
    ann.groups.add(group)
    started(title="for ann", assignees=[ann])
    started(title="for ops", assignees=[group])
    started(title="for all who may")

    assert "for ann" in page(anns)
    assert "for ops" in page(anns)
    assert "for all who may" not in page(anns)
    assert "Nothing waits for your decision" in page(bobs)
    assert "for all who may" in page(deciders)
    assert "for ann" not in page(deciders)
    everything = page(viewers)
    assert all(title in everything for title in ("for ann", "for ops", "for all who may"))


def test_an_approval_is_decided_once_with_a_comment(box: WorkflowSandbox) -> None:
    ann, client = user("ann")
    approval = started(assignees=[ann], title="Buy <b>a desk</b>?", description="Now")
    html = page(client, change(approval))
    assert "Buy &lt;b&gt;a desk&lt;/b&gt;?" in html
    assert 'value="approve"' in html

    response = client.post(
        change(approval), {"workflow_decision": "reject", "workflow_comment": "too dear"}
    )

    assert response.status_code == 302
    assert Run.objects.get().result == ["rejected", "ann", "too dear"]
    assert "too dear" in LogEntry.objects.get().change_message
    again = client.post(change(approval), {"workflow_decision": "approve"}).content.decode()
    assert "can no longer be decided" in again
    assert Run.objects.get().result[0] == "rejected"


def test_nothing_is_decided_without_a_choice(box: WorkflowSandbox) -> None:
    ann, client = user("ann")
    approval = started(assignees=[ann])

    response = client.post(change(approval), {"workflow_comment": "hm"})

    assert response.status_code == 422
    assert "Approve or reject." in response.content.decode()
    assert Approval.objects.get().decision == ""


def test_the_form_is_asked_for_to_approve(box: WorkflowSandbox) -> None:
    ann, client = user("ann")
    approval = started(assignees=[ann], form="tests.app.forms.BudgetForm")
    assert 'name="amount"' in page(client, change(approval))

    wrong = client.post(
        change(approval),
        {"workflow_decision": "approve", "amount": "0", "workflow_comment": "keep me"},
    )
    assert wrong.status_code == 422
    assert "keep me" in wrong.content.decode()
    assert Approval.objects.get().decision == ""

    client.post(change(approval), {"workflow_decision": "approve", "amount": "12"})
    assert Run.objects.get().result[0] == "approved"


@pytest.mark.parametrize("form", ["BrokenForm", "RaisingForm"])
def test_a_form_that_breaks_leaves_the_page_standing(form: str, box: WorkflowSandbox) -> None:
    ann, client = user("ann")
    approval = started(assignees=[ann], form=f"tests.app.forms.{form}")

    for response in (
        client.get(change(approval)),
        client.post(change(approval), {"workflow_decision": "approve"}),
    ):
        assert response.status_code in (200, 422)
    assert Approval.objects.get().decision == ""


def test_an_approval_is_handed_on(box: WorkflowSandbox) -> None:
    (ann, anns), (bob, bobs) = user("ann"), user("bob")
    approval = started(assignees=[ann], title="Sign")
    mail.outbox.clear()
    assert "Nothing waits" in page(bobs)
    page(anns, hand_on(approval))

    response = anns.post(hand_on(approval), {"to": "bob", "why": "on leave"})

    assert response.status_code == 302
    assert "Sign" in page(bobs)
    assert "Nothing waits" in page(anns)
    action = Action.objects.get(verb="delegate")
    assert (action.actor, action.door, action.why) == ("ann", "admin", "to bob. on leave")
    assert action.run_id == approval.run_id
    box.settle()
    assert [message.to for message in mail.outbox] == [["bob@example.org"]]
    with pytest.raises(DecisionRefusedError):
        decide_approval(approval, approve=True, by=ann)
    bobs.post(change(approval), {"workflow_decision": "approve"})
    assert Run.objects.get().result[:2] == ["approved", "bob"]
    assert bob.pk


@pytest.mark.parametrize("to", ["nobody", "ann", "gone", ""])
def test_it_is_not_handed_on_to(to: str, box: WorkflowSandbox) -> None:
    ann, client = user("ann")
    User.objects.create_user("gone", is_active=False)
    approval = started(assignees=[ann])

    html = client.post(hand_on(approval), {"to": to}).content.decode()

    assert "errornote" in html
    assert approval.assignees.count() == 1
    assert not Action.objects.filter(verb="delegate").exists()


def test_only_who_may_decide_hands_on_and_only_in_time(box: WorkflowSandbox) -> None:
    (ann, _), (bob, _), (eve, _) = user("ann"), user("bob"), user("eve")
    approval = started(assignees=[ann])

    with pytest.raises(DecisionRefusedError):
        delegate(approval, to=bob, by=eve)
    with pytest.raises(InvalidOptionError):
        delegate(approval, to=None, by=ann)
    decide_approval(approval, approve=True, by=ann)
    approval.refresh_from_db()
    with pytest.raises(ApprovalClosedError):
        delegate(approval, to=bob, by=ann)


def test_the_mail_link_opens_the_same_form_without_the_admin(box: WorkflowSandbox) -> None:
    customer, client = user("carl", is_staff=False)
    approval = started(assignees=[customer], form="tests.app.forms.BudgetForm")
    assert client.get(change(approval)).status_code == 302

    path = link_for(approval, f"user:{customer.pk}").removeprefix("http://testserver")
    html = Client().get(path).content.decode()

    assert 'name="amount"' in html
    assert 'name="workflow_comment"' in html


def test_the_inbox_makes_as_many_queries_for_one_as_for_many(
    box: WorkflowSandbox, django_assert_max_num_queries: Any
) -> None:
    ann, client = user("ann")
    for _ in range(12):
        started(assignees=[ann])

    with django_assert_max_num_queries(14):
        page(client)
