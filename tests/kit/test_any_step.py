"""The process can be made to die at a step of any kind, and every run goes on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from django_workflow import AsyncWorkflowContext, Workflow, WorkflowContext, workflow
from django_workflow.core.workflow import registry
from django_workflow.models import Event, Run
from django_workflow.testing import WorkflowSandbox
from tests.transports.wsgi import served_at

STEPS = ("tell", "rest", "later", "hear", "hook", "child", "branch a", "branch b")


def child(ctx: WorkflowContext[Any]) -> int:
    return 7


def of_all_kinds(ctx: WorkflowContext[Any]) -> int:
    ctx.notify("tell", "kit:told")
    ctx.sleep("rest", "1h")
    ctx.sleep_until("later", ctx.now())
    heard = ctx.wait_for_event("hear", "kit:heard", timeout="7d")
    ctx.create_webhook("hook")
    ctx.parallel(lambda: ctx.sleep("branch a", "1h"), lambda: ctx.sleep("branch b", "2h"))
    return int(ctx.invoke("child", "kit.child")) + int(heard.event_data)


async def aof_all_kinds(ctx: AsyncWorkflowContext[Any]) -> int:
    await ctx.notify("tell", "kit:told")
    await ctx.sleep("rest", "1h")
    await ctx.sleep_until("later", await ctx.now())
    heard = await ctx.wait_for_event("hear", "kit:heard", timeout="7d")
    await ctx.create_webhook("hook")
    await ctx.parallel(ctx.sleep("branch a", "1h"), ctx.sleep("branch b", "2h"))
    return int(await ctx.invoke("child", "kit.child")) + int(heard.event_data)


@pytest.fixture(autouse=True)
def made() -> Iterator[dict[str, Workflow[Any, Any]]]:
    bodies: dict[str, Any] = {
        "kit.child": child,
        "kit.kinds": of_all_kinds,
        "kit.akinds": aof_all_kinds,
    }
    found = {name: workflow(name=name)(body) for name, body in bodies.items()}
    yield found
    for name in found:
        registry.remove(name)


@pytest.mark.django_db
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("name", ["kit.kinds", "kit.akinds"])
@pytest.mark.parametrize("step", STEPS)
def test_run_goes_on_after_a_death_at(step: str, name: str, when: str) -> None:
    with (
        served_at("http://testserver", TRANSPORT="inline"),
        WorkflowSandbox() as box,
    ):
        order = box.crash_before if when == "before" else box.crash_after
        order(step)
        run = registry.get(name).trigger()
        for _ in range(4):
            box.settle()
            box.advance("2h") if box.waiting_on(run) != ["hear"] else box.notify("kit:heard", 3)

    assert run.refresh().result == 10
    assert not Run.objects.stuck().exists()
    assert Event.objects.filter(event_id="kit:told").count() == 1
    assert Run.objects.filter(workflow="kit.child").count() == 1


@pytest.mark.django_db
def test_death_before_a_sleep_is_a_real_one() -> None:
    with WorkflowSandbox() as box:
        box.crash_before("rest")
        run = registry.get("kit.kinds").trigger()
        dead = box.waiting_on(run)
        box.settle()

        assert (dead, box.waiting_on(run)) == ([], ["rest"])


@pytest.mark.django_db
def test_notify_of_the_box_wakes_who_waits() -> None:
    with WorkflowSandbox() as box:
        run = registry.get("kit.kinds").trigger()
        box.advance("1h")
        event = box.notify("kit:heard", 3, workflow_run_id=run.id)

        assert event.reached == 1
        assert box.waiting_on(run) != ["hear"]
