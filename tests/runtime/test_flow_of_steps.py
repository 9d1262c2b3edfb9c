"""Flow control of each kind of step: what it counts, and where it could count nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from django_workflow import FlowControl, WorkflowContext, flow_control, workflow
from django_workflow.core.exceptions import InvalidOptionError
from django_workflow.core.workflow import registry
from django_workflow.models import FlowTicket, Run
from django_workflow.testing import WorkflowSandbox

pytestmark = pytest.mark.django_db

URL = "https://partner.example/x"
KEY = FlowControl("flow_of_steps", parallelism=1)
HOURLY = FlowControl("flow_of_steps.hourly", rate=1, period="1h")


@pytest.fixture
def box() -> Iterator[WorkflowSandbox]:
    with WorkflowSandbox() as found:
        yield found
    for name in ("flow_of_steps", "flow_of_steps.child"):
        registry.remove(name)


def trigger(function: Callable[[WorkflowContext[Any]], Any], **options: Any) -> Run:
    run: Run = workflow(name="flow_of_steps", retries=0, **options)(function).trigger()
    return run


@pytest.mark.parametrize(
    "ask",
    [
        lambda ctx: ctx.sleep("step", "1h"),
        lambda ctx: ctx.sleep_until("step", "2099-01-01T00:00:00Z"),
        lambda ctx: ctx.wait_for_event("step", "event"),
        lambda ctx: ctx.wait_for_approval("step", assignees="a@example.org"),
        lambda ctx: ctx.notify("step", "event"),
        lambda ctx: ctx.create_webhook("step"),
    ],
)
def test_flow_control_of_a_step_that_executes_nothing_is_refused(
    box: WorkflowSandbox, ask: Callable[[Any], Any]
) -> None:
    run = trigger(lambda ctx: ask(ctx.using(flow_control=KEY)))

    assert run.status == "failed"
    assert run.failure is not None
    assert run.failure.error_class.endswith("InvalidOptionError")
    assert 'Step "step" is a ' in run.failure.message
    assert "nothing that flow control could count" in run.failure.message
    assert not run.steps.exists()


def test_the_workflows_flow_control_leaves_its_sleeps_and_waits_alone(box: WorkflowSandbox) -> None:
    run = trigger(lambda ctx: ctx.sleep("rest", "1h"), flow_control=KEY)

    assert box.waiting_on(run) == ["rest"]
    box.advance("1h")
    assert run.refresh().status == "completed"


def test_calls_stand_in_line_under_what_their_workflow_says(box: WorkflowSandbox) -> None:
    box.respond("GET", URL)
    gate = flow_control(KEY.text_key)
    run = trigger(
        lambda ctx: [gate.pause() and None, ctx.sleep("rest", "1h"), ctx.call("ask", URL).status],
        flow_control=KEY,
    )
    box.advance("1h")
    assert (gate.waiting, box.calls) == (1, [])
    assert "waits for a slot" in run.refresh().reason

    gate.resume()
    assert run.refresh().result == [None, None, 200]
    assert not FlowTicket.objects.exists()


def test_a_calls_own_flow_control_wins_alone(box: WorkflowSandbox) -> None:
    box.respond("GET", URL)
    flow_control(KEY.text_key).set(parallelism=1).pause()

    run = trigger(
        lambda ctx: [ctx.sleep("rest", "1h"), ctx.call("ask", URL, flow_control=HOURLY).status][1],
        flow_control=KEY,
    )
    flow_control(KEY.text_key).resume()
    flow_control(KEY.text_key).pause()
    box.advance("1h")

    assert run.refresh().result == 200


def test_attempts_of_calls_keep_their_rate_to_the_moment(box: WorkflowSandbox) -> None:
    box.respond("GET", URL, status=503, times=1)
    box.respond("GET", URL)
    run = trigger(
        lambda ctx: ctx.call("ask", URL, retries=1, retry_delay="1s", flow_control=HOURLY).status
    )
    assert len(box.calls) == 1

    box.advance("59m 59s".replace(" ", ""))
    assert len(box.calls) == 1
    assert 'waits for a slot of flow control "flow_of_steps.hourly"' in run.refresh().reason

    box.advance("1s")
    assert run.refresh().result == 200


@pytest.mark.parametrize("value", ["key", 1, lambda payload: payload])
def test_what_is_no_flow_control_is_refused_at_once(box: WorkflowSandbox, value: Any) -> None:
    workflow(name="flow_of_steps.child")(lambda ctx: None)

    run = trigger(lambda ctx: ctx.invoke("child", "flow_of_steps.child", flow_control=value))

    assert run.failure is not None
    assert "flow_control of a trigger is a FlowControl" in run.failure.message
    assert not run.children.exists()


def test_a_key_told_by_a_function_is_for_workflows_alone() -> None:
    told = FlowControl(lambda payload: str(payload), parallelism=1)
    with pytest.raises(InvalidOptionError, match="a function of the payload is for @workflow"):
        workflow(name="flow_of_steps")(lambda ctx: None).trigger(flow_control=told)
    registry.remove("flow_of_steps")
