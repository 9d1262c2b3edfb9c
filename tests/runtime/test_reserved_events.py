"""Events of webhooks and approvals: a call and a decision send them, and nothing else does, through whatever door."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_workflow import (
    InvalidOptionError,
    StepError,
    WorkflowContext,
    anotify,
    decide_approval,
    notify,
    workflow,
)
from django_workflow.models import Action, Approval, Event, Run, Webhook
from django_workflow.runtime.operating import send_event
from django_workflow.runtime.steering import send_to_all
from django_workflow.testing import WorkflowSandbox
from tests.rest.conftest import Api, is_problem
from tests.transports.wsgi import served_at

pytestmark = pytest.mark.django_db


@workflow(name="reserved_hook")
def hooked(ctx: WorkflowContext[Any]) -> Any:
    hook = ctx.create_webhook("hook")
    answer = ctx.wait_for_webhook("answer", hook, timeout="1d")
    return answer.request and answer.request.body


@workflow(name="reserved_asks")
def asked(ctx: WorkflowContext[Any]) -> Any:
    return ctx.wait_for_approval("sign", assignees=["user:reserved"], timeout="1d").decision


@workflow(name="reserved_sends")
def sends(ctx: WorkflowContext[Any]) -> Any:
    try:
        return ctx.notify("send", ctx.request_payload, {"decision": "approved"}).reached
    except StepError as error:
        return error.failure.message


@pytest.fixture
def box() -> Iterator[WorkflowSandbox]:
    with served_at("http://testserver", TRANSPORT="inline"), WorkflowSandbox() as box:
        yield box


@pytest.fixture(params=["webhook", "approval"])
def reserved(request: pytest.FixtureRequest, box: WorkflowSandbox) -> tuple[Run, str, str]:
    """Return a run that waits for such an event, the event's id, and who alone sends it."""
    if request.param == "webhook":
        run = hooked.trigger()
        return run, Webhook.objects.get().event_id, "only a call of its URL sends it"
    User.objects.create_user("reserved")
    run = asked.trigger()
    return run, Approval.objects.get().event_id, "only a decision sends it"


def test_no_door_sends_it(reserved: tuple[Run, str, str]) -> None:
    run, event_id, who = reserved
    doors: dict[str, Any] = {
        "code": partial(notify, event_id),
        "code, for a run": partial(notify, event_id, workflow_run_id=run.id),
        "async code": partial(async_to_sync(anotify), event_id),
        "the admin": partial(send_event, run.id, event_id),
        "the admin, to all": partial(send_to_all, event_id),
    }
    for send in doors.values():
        with pytest.raises(InvalidOptionError, match=who):
            send({"decision": "approved"})
    for more in ({}, {"run_id": run.id}):
        with pytest.raises(CommandError, match=who):
            call_command("workflow_notify", event_id, data="{}", **more)

    assert not Event.objects.exists()
    assert not Action.objects.filter(verb="notify").exists()
    assert run.refresh().status == "running"


def test_the_api_does_not_send_it(reserved: tuple[Run, str, str], settings: Any) -> None:
    run, event_id, who = reserved
    settings.ROOT_URLCONF = "tests.rest.urls"
    api = Api(User.objects.create_superuser("boss"))
    for more in ({}, {"workflow_run_id": run.id}):
        found = is_problem(api.post("events/", {"event_id": event_id, **more}), 400, "bad-input")
        assert who in str(found)
    assert not Event.objects.exists()
    assert run.refresh().status == "running"


def test_another_run_does_not_send_it(reserved: tuple[Run, str, str], box: WorkflowSandbox) -> None:
    run, event_id, who = reserved
    told = sends.trigger(event_id).refresh()

    assert told.status == "completed", told.failure
    assert who in told.result
    assert told.steps.get(name="send").status == "failed"
    assert not Event.objects.exists()
    assert run.refresh().status == "running"


def test_a_call_and_a_decision_still_do(box: WorkflowSandbox) -> None:
    run = hooked.trigger()
    assert box.call_webhook(box.webhook(run, "hook"), json={"n": 1}).status_code == 200
    assert run.refresh().result == {"n": 1}

    user = User.objects.create_user("reserved")
    run = asked.trigger()
    decide_approval(run.approvals.get(), approve=True, by=user)
    box.advance("1s")
    assert run.refresh().result == "approved"


def test_names_that_look_alike_are_anybody_s(box: WorkflowSandbox) -> None:
    for event_id in ("approval:42", "webhook:42", "approvals"):
        assert notify(event_id, {"n": 1}).reached == 0
    assert Event.objects.count() == 3


def test_other_events_cost_no_question(box: WorkflowSandbox) -> None:
    with CaptureQueriesContext(connection) as told:
        notify("pickup:42")
    assert not any("webhook" in one["sql"] or "approval" in one["sql"] for one in told)
