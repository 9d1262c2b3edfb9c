"""What cannot work is refused at the earliest moment, by an error that says what and why; nothing is lost by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django import forms

from django_workflow import (
    Debounce,
    FlowControl,
    InvalidOptionError,
    NotSerializableError,
    Singleton,
    Throttle,
    WorkflowContext,
    decide_approval,
    flow_control,
    notify,
    workflow,
)
from django_workflow.core.exceptions import InvalidDecisionError
from django_workflow.core.webhooks import Webhook
from django_workflow.core.workflow import registry
from django_workflow.models import Event, FlowKey, Run, Schedule
from django_workflow.testing import WorkflowSandbox
from tests.cases.outside import reachable

pytestmark = pytest.mark.django_db

LONG = "k" * 10_240
ENDLESS = timedelta(days=999_999_999)


class RaisingForm(forms.Form):
    """A form with a mistake of its own."""

    amount = forms.IntegerField()

    def clean(self) -> dict[str, Any]:
        if self.cleaned_data.get("amount") == 13:
            raise RuntimeError("the form broke")
        return self.cleaned_data


@pytest.fixture
def box() -> Iterator[WorkflowSandbox]:
    with reachable(), WorkflowSandbox() as found:
        yield found
    for one in [one.name for one in registry if one.name.startswith("bad_")]:
        registry.remove(one)


def make(function: Callable[[WorkflowContext[Any]], Any], name: str = "bad_input") -> Any:
    return workflow(name=name, retries=0)(function)


AT_DEFINITION: list[tuple[Callable[[], Any], str]] = [
    (lambda: workflow(schedule="0 0 30 2 *"), "never"),
    (lambda: workflow(schedule="* * *"), "cron"),
    (lambda: workflow(timeout="-1s"), "-1s"),
    (lambda: workflow(timeout="999999999999d"), "999999999999d"),
    (lambda: workflow(retry_delay="open('x') + retried"), "open"),
    (lambda: workflow(retry_delay="retried.real"), "retried.real"),
    (lambda: workflow(retries=-1), "-1"),
    (lambda: FlowControl(LONG, parallelism=1), "10,240 characters"),
    (lambda: FlowControl("key", rate=1, period="-1s"), "-1s"),
    (lambda: FlowControl("key", rate=1, period=ENDLESS), "999999999"),
    (lambda: FlowControl("key", parallelism=0), "parallelism"),
    (lambda: Singleton(LONG), "10,240 characters"),
    (lambda: Singleton(on_conflict="wait"), "on_conflict"),  # type: ignore[arg-type]
    (lambda: Debounce(LONG, "1s"), "10,240 characters"),
    (lambda: Debounce("key", "0s"), "longer than zero"),
    (lambda: Throttle("key", "-1s"), "-1s"),
    (lambda: flow_control(LONG).pause(), "10,240 characters"),
]


@pytest.mark.parametrize(("ask", "says"), AT_DEFINITION)
def test_it_is_refused_when_it_is_written(ask: Callable[[], Any], says: str) -> None:
    with pytest.raises(InvalidOptionError) as refused:
        ask()

    assert says in str(refused.value)
    assert len(str(refused.value)) < 600
    assert not FlowKey.objects.exists()


AT_TRIGGER: list[dict[str, Any]] = [
    {"delay": "-1s"},
    {"delay": ENDLESS},
    {"ttl": "0s"},
    {"timeout": "-5m"},
    {"retry_delay": "exec('1')"},
    {"flow_control": "key"},
    {"priority": 1000},
    {"workflow_run_id": LONG},
    {"redact": ["a..b"]},
]


@pytest.mark.parametrize("options", AT_TRIGGER, ids=lambda options: next(iter(options)))
def test_it_is_refused_at_the_trigger_and_leaves_no_run(
    box: WorkflowSandbox, options: dict[str, Any]
) -> None:
    made = make(lambda ctx: None)

    with pytest.raises(InvalidOptionError):
        made.trigger(**options)

    assert not Run.objects.exists()


def test_a_schedule_that_never_fires_is_not_kept(box: WorkflowSandbox) -> None:
    made = make(lambda ctx: None)

    with pytest.raises(InvalidOptionError, match="never"):
        made.schedule("0 0 31 2 *", schedule_id="never")

    assert not Schedule.objects.exists()


def test_event_data_that_cannot_be_stored_wake_nobody_and_nothing_is_sent(
    box: WorkflowSandbox,
) -> None:
    run = make(lambda ctx: ctx.wait_for_event("wait", "bad").event_data).trigger()

    with pytest.raises(NotSerializableError, match="event_data"):
        notify("bad", {"at": object()})

    assert not Event.objects.exists()
    assert box.waiting_on(run) == ["wait"]
    notify("bad", 1)
    assert run.refresh().status == "completed"


IN_A_RUN: list[tuple[Callable[[Any], Any], str, str]] = [
    (lambda ctx: ctx.call("step", "ftp://partner.example/"), "InvalidOptionError", "http"),
    (lambda ctx: ctx.call("step", "file:///etc/passwd"), "InvalidOptionError", "http"),
    (lambda ctx: ctx.call("step", "partner.example"), "InvalidOptionError", "http"),
    (lambda ctx: ctx.invoke("step", "bad_unknown"), "WorkflowNotFoundError", "bad_unknown"),
    (lambda ctx: ctx.notify("step", "bad", object()), "NotSerializableError", "event_data"),
    (lambda ctx: ctx.sleep("step", "-1s"), "InvalidOptionError", "-1s"),
    (lambda ctx: ctx.sleep("step", "999999999999d"), "InvalidOptionError", "999999999999d"),
    (lambda ctx: ctx.sleep("step", ENDLESS), "InvalidOptionError", "999999999"),
    (lambda ctx: ctx.wait_for_event("step", LONG), "InvalidOptionError", "10"),
    (lambda ctx: ctx.wait_for_event("step", "bad", timeout="-1h"), "InvalidOptionError", "-1h"),
    (lambda ctx: ctx.using(retry_delay="f(1)"), "InvalidOptionError", "f(1)"),
    (
        lambda ctx: ctx.wait_for_webhook(
            "step", Webhook(webhook_url="u", event_id="webhook:1", workflow_run_id="other")
        ),
        "InvalidOptionError",
        'belongs to run "other"',
    ),
]


@pytest.mark.parametrize(("ask", "error", "says"), IN_A_RUN)
def test_a_verb_refuses_before_anything_is_stored(
    box: WorkflowSandbox, ask: Callable[[Any], Any], error: str, says: str
) -> None:
    run = make(lambda ctx: [ask(ctx), ctx.run("after", str)]).trigger()

    assert run.status == "failed"
    assert run.failure is not None
    assert run.failure.error_class.endswith(error)
    assert says in run.failure.message
    assert len(run.failure.message) < 600
    assert not run.steps.exists()
    assert not Event.objects.exists()


def test_workflows_that_invoke_each_other_in_a_circle_end_with_an_error_that_says_so(
    box: WorkflowSandbox,
) -> None:
    make(lambda ctx: ctx.invoke("there", "bad_back"))
    make(lambda ctx: ctx.invoke("and back", "bad_input"), "bad_back")

    run = registry.get("bad_input").trigger()

    assert run.status == "failed"
    assert Run.objects.count() < 50
    assert not Run.objects.unfinished().exists()
    deepest = Run.objects.order_by("-depth")[0]
    assert "in a circle" in deepest.failure.message  # type: ignore[union-attr]


def test_a_schema_that_raises_leaves_the_waiter_waiting_and_tells_the_sender(
    box: WorkflowSandbox,
) -> None:
    run = make(lambda ctx: ctx.wait_for_event("wait", "bad", schema=RaisingForm).event_data).trigger()  # fmt: skip

    with pytest.raises(Exception, match="the form broke"):
        notify("bad", {"amount": 13})

    assert box.waiting_on(run) == ["wait"]
    notify("bad", {"amount": 7})
    assert run.refresh().result == {"amount": 7}


def test_a_form_of_an_approval_that_raises_leaves_it_open(box: WorkflowSandbox) -> None:
    run = make(
        lambda ctx: ctx.wait_for_approval("sign", form=RaisingForm, assignees="a@example.org").data
    ).trigger()
    approval = run.approvals.get()

    with pytest.raises(InvalidDecisionError, match="the form broke"):
        decide_approval(approval, approve=True, by="a@example.org", data={"amount": 13})

    assert box.waiting_on(run) == ["sign"]
    decide_approval(approval, approve=True, by="a@example.org", data={"amount": 7})
    assert run.refresh().result == {"amount": 7}
