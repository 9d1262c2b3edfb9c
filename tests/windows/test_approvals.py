"""Approvals: who decides, what is refused, the mails, and the page behind their link."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.core import mail
from django.db import transaction
from django.test import Client, override_settings

from django_workflow import (
    ApprovalClosedError,
    DecisionRefusedError,
    InvalidDecisionError,
    InvalidOptionError,
    WorkflowContext,
    decide_approval,
    workflow,
)
from django_workflow.models import Approval, Run
from django_workflow.runtime.approval_mail import link_for
from django_workflow.testing import WorkflowSandbox
from tests.app import forms
from tests.transports.wsgi import served_at

pytestmark = pytest.mark.django_db

ANN = "ann@example.org"
OPTIONS: dict[str, Any] = {}


@workflow(name="approval_windows")
def asks(ctx: WorkflowContext[Any]) -> Any:
    found = ctx.wait_for_approval("sign", **OPTIONS)
    return [found.decision, found.decided_by, found.comment, found.data and sorted(found.data)]


@pytest.fixture
def box() -> Iterator[WorkflowSandbox]:
    with served_at("http://testserver", TRANSPORT="inline"), WorkflowSandbox() as box:
        yield box
    OPTIONS.clear()


def started(**options: Any) -> tuple[Run, Approval]:
    OPTIONS.update(options)
    run: Run = asks.trigger(retries=0)
    assert run.refresh().status == "running", run.failure and run.failure.message
    return run, run.approvals.get()


def user(name: str, **fields: Any) -> User:
    return User.objects.create_user(name, f"{name}@example.org", **fields)


def path_of(text: str) -> str:
    [found] = re.findall(r"http://testserver(\S+)", text)
    return str(found)


# Who may decide


def test_without_names_the_permission_decides(box: WorkflowSandbox) -> None:
    run, approval = started()
    boss, clerk = user("boss"), user("clerk")
    boss.user_permissions.add(Permission.objects.get(codename="decide_approval"))

    with pytest.raises(DecisionRefusedError, match='clerk may not decide "sign"'):
        decide_approval(approval, approve=True, by=clerk)
    decide_approval(approval.pk, approve=True, by=User.objects.get(pk=boss.pk))

    assert run.refresh().result == ["approved", "boss", "", None]
    assert run.approvals.get().decider_pk == str(boss.pk)


def test_assignees_may_be_users_groups_and_addresses(box: WorkflowSandbox) -> None:
    group = Group.objects.create(name="ops")
    named, member, called = user("named"), user("member"), user("called")
    member.groups.add(group)
    _, approval = started(assignees=[named, group, "user:called", ANN])
    stranger, gone = user("stranger"), user("gone", is_active=False)
    gone.groups.add(group)
    impostor = User.objects.create_user("impostor", ANN)

    for nobody in (stranger, gone, impostor, User(username="x"), "x@example.org", None):
        with pytest.raises(DecisionRefusedError):
            decide_approval(approval, approve=True, by=nobody)
    for somebody in (named, member, called, "ANN@example.org"):
        with transaction.atomic():
            assert decide_approval(approval, approve=False, by=somebody).decision == "rejected"
            transaction.set_rollback(True)
        approval.refresh_from_db()


def test_own_permission_is_asked_of_users(box: WorkflowSandbox) -> None:
    run, _ = started(permission="auth.change_user", assignees=[ANN])
    boss = user("boss", is_superuser=True)

    box.approve(run, "sign", by=boss, comment="yes")

    assert run.refresh().result == ["approved", "boss", "yes", None]


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"permission": "decide"}, "app_label.codename"),
        ({"assignees": []}, "nobody could decide"),
        ({"assignees": "ann"}, "An assignee is"),
        ({"assignees": ["a b@example.org"]}, "An assignee is"),
        ({"assignees": [7]}, "An assignee is"),
        ({"timeout": 0}, "longer than zero"),
        ({"timeout": "-1d"}, "-1d"),
        ({"reminders": "8d"}, "before its timeout"),
        ({"reminders": ["0s"]}, "before its timeout"),
        ({"reminders": "1s"}, "a minute apart"),
        ({"form": lambda data: None}, "no other process can import"),
        ({"form": "tests.app.forms.NoForm"}, "cannot be imported"),
        ({"title": "x" * 201}, "200 characters"),
    ],
)
def test_what_cannot_work_is_refused_at_the_verb(
    box: WorkflowSandbox, options: dict[str, Any], part: str
) -> None:
    OPTIONS.update(options)

    run = asks.trigger(retries=0)

    assert part in run.refresh().failure.message
    assert not Approval.objects.exists()


# What is decided, once


def test_decided_once(box: WorkflowSandbox) -> None:
    run, approval = started(assignees=[ANN])
    decide_approval(approval, approve=True, by=ANN)

    with pytest.raises(ApprovalClosedError, match=r"it was approved by ann@example\.org") as caught:
        decide_approval(approval, approve=False, by=ANN)

    assert caught.value.decision == "approved"
    assert run.refresh().result[0] == "approved"


def test_rolled_back_nothing_was_decided(box: WorkflowSandbox) -> None:
    run, approval = started(assignees=[ANN])

    with transaction.atomic():
        decide_approval(approval, approve=True, by=ANN)
        transaction.set_rollback(True)

    assert box.waiting_on(run) == ["sign"]
    assert box.approve(run, "sign", by=ANN).decision == "approved"


def test_after_its_time_nobody_decides(box: WorkflowSandbox) -> None:
    run, approval = started(assignees=[ANN], timeout="1h")
    box.advance("1h")

    with pytest.raises(ApprovalClosedError, match="its time was over"):
        decide_approval(approval, approve=True, by=ANN)

    assert run.refresh().result == ["timed_out", "", "", None]


def test_the_run_waits_no_more(box: WorkflowSandbox) -> None:
    run, approval = started(assignees=[ANN])
    run.cancel()

    with pytest.raises(ApprovalClosedError, match="waits for it no more"):
        decide_approval(approval, approve=True, by=ANN)
    with pytest.raises(InvalidOptionError, match="waits for no approval"):
        box.approve(run, "sign", by=ANN)


def test_unknown_approval_is_refused(box: WorkflowSandbox) -> None:
    with pytest.raises(InvalidOptionError, match="There is no approval"):
        decide_approval("x", approve=True, by=ANN)


@pytest.mark.parametrize(
    ("form", "data", "part"),
    [
        (forms.BudgetForm, None, "amount: This field is required"),
        (forms.BudgetForm, {"amount": 0}, "greater than or equal to 1"),
        (forms.BrokenForm, {}, "failed with RuntimeError: no form today"),
        (forms.RaisingForm, {}, "failed with RuntimeError: not this way"),
        (forms.SetForm, {}, "cannot be stored"),
    ],
)
def test_form_that_refuses_or_raises_leaves_it_open(
    box: WorkflowSandbox, form: Any, data: Any, part: str
) -> None:
    run, approval = started(assignees=[ANN], form=form)

    with pytest.raises(InvalidDecisionError, match=part):
        decide_approval(approval, approve=True, by=ANN, data=data)

    assert box.waiting_on(run) == ["sign"]
    box.reject(run, "sign", by=ANN)
    assert run.refresh().result[0] == "rejected"


# Mails


def test_assignees_are_written_to_and_reminded(box: WorkflowSandbox) -> None:
    group = Group.objects.create(name="ops")
    user("ben").groups.add(group)
    run, approval = started(
        assignees=[ANN, group], reminders=["1d", "2d"], timeout="3d", title="A new desk?"
    )

    assert [(one.to, one.subject) for one in mail.outbox] == [
        ([ANN], "A new desk?"),
        (["ben@example.org"], "A new desk?"),
    ]
    box.advance("1d")
    assert [one.subject for one in mail.outbox[2:]] == ["Reminder: A new desk?"] * 2
    box.reject(run, "sign", by=ANN)
    box.advance("2d")
    assert len(mail.outbox) == 4
    approval.refresh_from_db()
    assert (approval.mails, approval.next_mail_at) == (2, None)


def test_one_duration_is_how_far_reminders_are_apart(box: WorkflowSandbox) -> None:
    started(assignees=[ANN], reminders="1d", timeout="3d")

    box.advance("4d")

    assert len(mail.outbox) == 3


def test_mail_that_fails_is_sent_later(
    box: WorkflowSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = [OSError("away")]

    def mailer(*args: Any) -> None:
        if failing:
            raise failing.pop()
        mail.outbox.append(args)  # type: ignore[arg-type]

    monkeypatch.setattr("django_workflow.runtime.approval_mail.send_mail", mailer)
    _, approval = started(assignees=[ANN])
    assert not mail.outbox

    box.advance("5m")

    [(asked, address, url, is_reminder)] = mail.outbox  # type: ignore[misc]
    assert (asked, address, is_reminder) == (approval, ANN, False)
    assert url.startswith("http://testserver/workflows/approvals/")


def test_mails_can_be_switched_off(box: WorkflowSandbox) -> None:
    with served_at("http://testserver", APPROVAL_MAILER=None):
        started(assignees=[ANN], reminders="1d")
        box.advance("3d")

    assert not mail.outbox


def test_ended_and_resting_runs_write_to_nobody(box: WorkflowSandbox) -> None:
    run, _ = started(assignees=[ANN], reminders="1d")
    run.pause()
    box.advance("30h")
    run.resume()
    box.advance("1h")
    assert len(mail.outbox) == 2

    run.cancel()
    box.advance("3d")
    assert len(mail.outbox) == 2


# The page behind the link


def test_link_shows_and_decides_without_login(box: WorkflowSandbox) -> None:
    run, _ = started(
        assignees=[ANN], form=forms.BudgetForm, title="Desk <b>", description="One\n\nTwo"
    )
    path = path_of(str(mail.outbox[0].body))
    client = Client(enforce_csrf_checks=True)

    shown = client.get(path)
    page = shown.content.decode()
    assert shown.status_code == 200
    assert "Desk &lt;b&gt;" in page
    assert "<p>One</p>" in page
    assert 'name="amount"' in page
    assert ANN in page
    assert (shown["Referrer-Policy"], shown["X-Frame-Options"]) == ("same-origin", "DENY")
    assert "no-store" in shown["Cache-Control"]
    assert not re.search(r"<style|<script|\sstyle=|\son\w+=", page)
    assert box.waiting_on(run) == ["sign"]

    sent = {"workflow_decision": "approve", "workflow_comment": "ok"}
    assert client.post(path, sent).status_code == 403
    sent["csrfmiddlewaretoken"] = client.cookies["csrftoken"].value
    wrong = client.post(path, sent)
    assert wrong.status_code == 422
    assert "This field is required" in wrong.content.decode()
    assert ">ok</textarea>" in wrong.content.decode()
    done = client.post(path, sent | {"amount": "3"})
    assert (done.status_code, run.refresh().result) == (
        200,
        ["approved", ANN, "ok", ["amount", "since"]],
    )
    assert "You have approved this." in done.content.decode()
    assert client.get(path).status_code == 410


def test_link_of_a_user_decides_as_that_user(box: WorkflowSandbox) -> None:
    ben = user("ben")
    run, approval = started(assignees=[ben])
    path = path_of(str(mail.outbox[0].body))

    assert Client().post(path, {}).status_code == 400
    assert Client().post(path, {"workflow_decision": "reject"}).status_code == 200

    assert run.refresh().result[:2] == ["rejected", "ben"]
    approval.refresh_from_db()
    assert approval.decider_pk == str(ben.pk)


def test_link_of_who_may_no_longer_decide_is_not_valid(box: WorkflowSandbox) -> None:
    group = Group.objects.create(name="ops")
    ben = user("ben")
    ben.groups.add(group)
    run, _ = started(assignees=[group])
    path = path_of(str(mail.outbox[0].body))
    ben.groups.clear()

    assert Client().get(path).status_code == 404
    assert Client().post(path, {"workflow_decision": "approve"}).status_code == 404
    assert box.waiting_on(run) == ["sign"]


def test_link_that_is_not_ours_tells_nothing(box: WorkflowSandbox) -> None:
    _, approval = started(assignees=[ANN], title="Secret")
    path = path_of(str(mail.outbox[0].body))
    foreign = link_for(approval, "email:other@example.org").removeprefix("http://testserver")

    for wrong in (path[:-3] + "xx/", "/workflows/approvals/x/", foreign):
        answer = Client().get(wrong)
        assert (answer.status_code, b"Secret" in answer.content) == (404, False)


@pytest.mark.parametrize("form", [forms.BrokenForm])
def test_form_that_does_not_work_is_told(box: WorkflowSandbox, form: Any) -> None:
    run, _ = started(assignees=[ANN], form=form)
    path = path_of(str(mail.outbox[0].body))

    answer = Client().get(path)

    assert (answer.status_code, b"It stays open" in answer.content) == (500, True)
    assert box.waiting_on(run) == ["sign"]


def test_page_asks_for_no_login(box: WorkflowSandbox) -> None:
    started(assignees=[ANN])
    path = path_of(str(mail.outbox[0].body))
    with override_settings(
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.auth.middleware.LoginRequiredMiddleware",
        ]
    ):
        assert Client().get(path).status_code == 200
