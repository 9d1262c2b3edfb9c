"""Every end of a run and every recorded step, told once to signals and middleware, as the tables of the docs say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.db import connection
from django.test import Client, TestCase, override_settings

from django_workflow import (
    FlowControl,
    Middleware,
    RunInfo,
    Singleton,
    StepInfo,
    WorkflowContext,
    cancel_runs,
    notify,
    signals,
    workflow,
)
from django_workflow.core.workflow import registry
from django_workflow.models import Run
from django_workflow.runtime.announcing import _made
from django_workflow.testing import WorkflowSandbox
from tests.cases.outside import reachable

pytestmark = pytest.mark.django_db

URL = "https://partner.example/x"
#: By whom what was told: ``signals`` and ``hooks`` must agree.
told: dict[str, list[tuple[Any, ...]]] = {"signals": [], "hooks": []}


def is_committed() -> bool:
    return all(getattr(block, "_from_testcase", False) for block in connection.atomic_blocks)


class Listener(Middleware):
    """Writes down what it hears."""

    def run_started(self, run: RunInfo) -> None:
        note("hooks", "run_started", run.workflow_run_id)

    def run_completed(self, run: RunInfo) -> None:
        note("hooks", "run_completed", run.workflow_run_id)

    def run_failed(self, run: RunInfo, failure: Any) -> None:
        assert failure.message
        note("hooks", "run_failed", run.workflow_run_id)

    def run_cancelled(self, run: RunInfo) -> None:
        note("hooks", "run_cancelled", run.workflow_run_id)

    def step_completed(self, run: RunInfo, step: StepInfo) -> None:
        note("hooks", "step_completed", run.workflow_run_id, step.key, step.kind)

    def step_retried(self, run: RunInfo, step: StepInfo, failure: Any) -> None:
        assert failure.message
        note("hooks", "step_retried", run.workflow_run_id, step.key, step.kind)

    def step_failed(self, run: RunInfo, step: StepInfo, failure: Any) -> None:
        assert failure.message
        note("hooks", "step_failed", run.workflow_run_id, step.key, step.kind)


def note(where: str, *what: Any) -> None:
    assert is_committed()
    told[where].append(what)


def listening(name: str) -> Callable[..., None]:
    def receive(sender: str, run: Run, step: Any = None, **_: Any) -> None:
        assert sender == run.workflow
        expected = name.removeprefix("run_").replace("started", "running")
        assert step is not None or run.status in {expected, "blocked", "running"}
        note("signals", name, run.id, *((step.key, step.kind) if step is not None else ()))

    return receive


@pytest.fixture
def box() -> Iterator[WorkflowSandbox]:
    for heard in told.values():
        heard.clear()
    receivers = {name: listening(name) for name in signals.__all__}
    for name, receive in receivers.items():
        getattr(signals, name).connect(receive)
    _made.cache_clear()
    with (
        override_settings(WORKFLOW={"MIDDLEWARE": [f"{__name__}.Listener"]}),
        reachable(),
        WorkflowSandbox() as found,
    ):
        yield found
    for name, receive in receivers.items():
        getattr(signals, name).disconnect(receive)
    _made.cache_clear()
    for one in [one.name for one in registry if one.name.startswith("told")]:
        registry.remove(one)


def make(
    function: Callable[[WorkflowContext[Any]], Any], name: str = "told", **options: Any
) -> Any:
    return workflow(name=name, retries=0, **options)(function)


def take_back(undone: Any) -> None:
    return


def fail(*_: Any) -> None:
    raise ValueError("no")


def parent_of(child: Callable[[Any], Any], **options: Any) -> Callable[[Any], Any]:
    make(child, "told.child")
    return lambda ctx: ctx.invoke("child", "told.child", workflow_run_id="child", **options)


def ends(run_id: str) -> list[str]:
    assert sorted(told["signals"]) == sorted(told["hooks"])
    return [one[0] for one in told["signals"] if one[1] == run_id and one[0].startswith("run_")]


# Runs


def completes(box: WorkflowSandbox) -> None:
    make(lambda ctx: None).trigger(workflow_run_id="run")


def fails(box: WorkflowSandbox) -> None:
    make(fail).trigger(workflow_run_id="run")


def fails_with_handler(box: WorkflowSandbox) -> None:
    made = make(fail)
    made.on_failure(lambda ctx, failure: ctx.sleep("rest", "1s"))
    made.trigger(workflow_run_id="run")
    box.advance("1m")


def is_undone(box: WorkflowSandbox) -> None:
    make(lambda ctx: [ctx.using(undo=take_back).run("a", str), fail()]).trigger(
        workflow_run_id="run"
    )


def is_overdue(box: WorkflowSandbox) -> None:
    make(lambda ctx: ctx.sleep("rest", "9d"), timeout="1d").trigger(workflow_run_id="run")
    box.advance("2d")


def is_blocked(box: WorkflowSandbox) -> None:
    made = make(lambda ctx: [ctx.run("a", str), ctx.sleep("rest", "1h")])
    made.trigger(workflow_run_id="run")
    made.versions["1"] = lambda ctx: ctx.run("b", str)
    box.advance("2h")


def is_cancelled(box: WorkflowSandbox) -> None:
    make(lambda ctx: ctx.sleep("rest", "1h")).trigger(workflow_run_id="run").cancel()


def is_cancelled_before_it_began(box: WorkflowSandbox) -> None:
    make(lambda ctx: None).trigger(workflow_run_id="run", delay="1h").cancel()


def is_cancelled_by_label(box: WorkflowSandbox) -> None:
    make(lambda ctx: ctx.sleep("rest", "1h")).trigger(workflow_run_id="run", label="x")
    assert cancel_runs(label="x") == 1


def cancels_itself(box: WorkflowSandbox) -> None:
    make(lambda ctx: ctx.cancel()).trigger(workflow_run_id="run")


def is_cancelled_and_undone(box: WorkflowSandbox) -> None:
    made = make(lambda ctx: [ctx.using(undo=take_back).run("a", str), ctx.sleep("rest", "1h")])
    made.trigger(workflow_run_id="run").cancel()
    box.settle()


def cancels_itself_and_is_undone(box: WorkflowSandbox) -> None:
    made = make(lambda ctx: [ctx.using(undo=take_back).run("a", str), ctx.cancel()])
    made.trigger(workflow_run_id="run")


def expires(box: WorkflowSandbox) -> None:
    hourly = FlowControl("told", rate=1, period="5h")
    make(lambda ctx: ctx.run("a", str), flow_control=hourly).trigger()
    registry.get("told").trigger(workflow_run_id="run", ttl="1h")
    box.advance("2h")


def is_replaced(box: WorkflowSandbox) -> None:
    made = make(lambda ctx: ctx.sleep("rest", "1h"), singleton=Singleton(on_conflict="replace"))
    made.trigger(workflow_run_id="run")
    # In the transaction of a test case nothing is ever committed.
    with TestCase.captureOnCommitCallbacks(execute=True):
        made.trigger()


def is_cancelled_with_its_parent(box: WorkflowSandbox) -> None:
    run = make(parent_of(lambda ctx: ctx.sleep("rest", "1h"))).trigger()
    run.cancel()
    box.settle()
    assert ends(run.id) == ["run_started", "run_cancelled"]


def is_cancelled_with_children(box: WorkflowSandbox) -> None:
    make(parent_of(lambda ctx: ctx.sleep("rest", "1h"))).trigger(workflow_run_id="run").cancel()
    box.settle()
    assert ends("child") == ["run_started", "run_cancelled"]


def loses_a_race(box: WorkflowSandbox) -> None:
    invoke = parent_of(lambda ctx: ctx.sleep("rest", "9d"))
    make(lambda ctx: ctx.race(lambda: invoke(ctx), lambda: ctx.sleep("short", "1h"))).trigger()
    box.advance("2h")


def loses_a_race_with_children(box: WorkflowSandbox) -> None:
    make(lambda ctx: ctx.sleep("rest", "9d"), "told.grandchild")
    invoke = parent_of(lambda ctx: ctx.invoke("deep", "told.grandchild", workflow_run_id="run"))
    make(lambda ctx: ctx.race(lambda: invoke(ctx), lambda: ctx.sleep("short", "1h"))).trigger()
    box.advance("2h")
    assert ends("child") == ["run_started", "run_cancelled"]


def is_a_child_that_completes(box: WorkflowSandbox) -> None:
    make(parent_of(lambda ctx: 1)).trigger()


def is_a_child_that_fails(box: WorkflowSandbox) -> None:
    make(parent_of(fail)).trigger()


def gives_way_to_the_next_slot(box: WorkflowSandbox) -> None:
    made = make(lambda ctx: ctx.sleep("rest", "9d"))
    made.schedule("* * * * *", schedule_id="told", overlap="cancel_previous")
    box.advance("1m")
    first = Run.objects.get(workflow="told")
    box.advance("1m")
    made.unschedule("told")
    for heard in told.values():
        heard[:] = [(one[0], "run", *one[2:]) for one in heard if one[1] == first.pk]


def fails_again_after_a_resume(box: WorkflowSandbox) -> None:
    make(fail).trigger(workflow_run_id="run").resume()


STARTED = "run_started"
RUNS: list[tuple[Callable[[WorkflowSandbox], None], str, list[str]]] = [
    (completes, "run", [STARTED, "run_completed"]),
    (fails, "run", [STARTED, "run_failed"]),
    (fails_with_handler, "run", [STARTED, "run_failed"]),
    (is_undone, "run", [STARTED, "run_failed"]),
    (is_overdue, "run", [STARTED, "run_failed"]),
    (is_blocked, "run", [STARTED, "run_failed"]),
    (is_cancelled, "run", [STARTED, "run_cancelled"]),
    (is_cancelled_before_it_began, "run", ["run_cancelled"]),
    (is_cancelled_by_label, "run", [STARTED, "run_cancelled"]),
    (cancels_itself, "run", [STARTED, "run_cancelled"]),
    (is_cancelled_and_undone, "run", [STARTED, "run_cancelled"]),
    (cancels_itself_and_is_undone, "run", [STARTED, "run_cancelled"]),
    (expires, "run", [STARTED, "run_cancelled"]),
    (is_replaced, "run", [STARTED, "run_cancelled"]),
    (is_cancelled_with_its_parent, "child", [STARTED, "run_cancelled"]),
    (is_cancelled_with_children, "run", [STARTED, "run_cancelled"]),
    (loses_a_race, "child", [STARTED, "run_cancelled"]),
    (loses_a_race_with_children, "run", [STARTED, "run_cancelled"]),
    (is_a_child_that_completes, "child", [STARTED, "run_completed"]),
    (is_a_child_that_fails, "child", [STARTED, "run_failed"]),
    (gives_way_to_the_next_slot, "run", [STARTED, "run_cancelled"]),
    (fails_again_after_a_resume, "run", [STARTED, "run_failed", "run_failed"]),
]


@pytest.mark.parametrize(
    ("play", "run_id", "expected"), RUNS, ids=lambda one: getattr(one, "__name__", "")
)
def test_every_end_of_a_run_is_told_once(
    box: WorkflowSandbox, play: Callable[[WorkflowSandbox], None], run_id: str, expected: list[str]
) -> None:
    play(box)

    assert ends(run_id) == expected


# Steps


@dataclass(frozen=True)
class Told:
    """What a workflow asks for, what happens then, and what is told of its steps."""

    name: str
    ask: Callable[[Any], Any]
    expected: list[tuple[str, str]]
    meanwhile: Callable[[WorkflowSandbox], object] = lambda box: None


def call_the_webhook(box: WorkflowSandbox) -> None:
    url = Run.objects.get(pk="run").steps.get(name="hook").result["webhook_url"]
    Client().post(url.removeprefix("http://testserver"), "1", content_type="application/json")


def approve(box: WorkflowSandbox) -> None:
    box.approve(Run.objects.get(pk="run"), "step", by="a@example.org")


def caught(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception:
        return None


def child_of(body: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def ask(ctx: Any) -> Any:
        if registry.find("told.child") is None:
            make(body, "told.child")
        return caught(lambda: ctx.invoke("step", "told.child"))

    return ask


DONE, GAVE_UP = ("step_completed", "step"), ("step_failed", "step")
RETRIED = ("step_retried", "step")
once = {"retries": 1, "retry_delay": "1m"}
STEPS = [
    Told("run", lambda ctx: ctx.run("step", str), [DONE]),
    Told("run fails", lambda ctx: caught(lambda: ctx.using(**once).run("step", fail)), [RETRIED, GAVE_UP]),
    Told("atomic", lambda ctx: ctx.atomic("step", str), [DONE]),
    Told("atomic fails", lambda ctx: caught(lambda: ctx.atomic("step", fail)), [GAVE_UP]),
    Told("call", lambda ctx: ctx.call("step", URL), [DONE]),
    Told("call is tried again", lambda ctx: ctx.call("step", f"{URL}/503", **once), [RETRIED, DONE]),
    Told("call gives up", lambda ctx: caught(lambda: ctx.call("step", f"{URL}/down")), [GAVE_UP]),
    Told("map", lambda ctx: ctx.map("step", str, [1, 2, 3], max_parallel=2), [DONE]),
    Told("map of nothing", lambda ctx: ctx.map("step", str, []), [DONE]),
    Told("map fails", lambda ctx: caught(lambda: ctx.map("step", fail, [1, 2])), [GAVE_UP]),
    Told("invoke", child_of(lambda ctx: 1), [DONE]),
    Told("invoke fails", child_of(fail), [GAVE_UP]),
    Told("invoke of a cancelled one", child_of(lambda ctx: ctx.cancel()), [GAVE_UP]),
    Told("invoke times out", lambda ctx: child_of(lambda ctx: ctx.sleep("rest", "9d"))(ctx.using(timeout="1h")), [GAVE_UP]),
    Told("notify", lambda ctx: ctx.notify("step", "told"), [DONE]),
    Told("create_webhook", lambda ctx: ctx.create_webhook("step"), [DONE]),
    Told("sleep", lambda ctx: ctx.sleep("step", "1m"), []),
    Told("sleep_until", lambda ctx: ctx.sleep_until("step", "2000-01-01T00:00:00Z"), []),
    Told("wait_for_event", lambda ctx: ctx.wait_for_event("step", "told"), [], lambda box: notify("told")),
    Told("wait times out", lambda ctx: ctx.wait_for_event("step", "told", timeout="1h"), []),
    Told("wait_for_webhook", lambda ctx: ctx.wait_for_webhook("step", ctx.create_webhook("hook")), [("step_completed", "hook")], call_the_webhook),
    Told("wait_for_approval", lambda ctx: ctx.wait_for_approval("step", assignees="a@example.org"), [], approve),
    Told("race", lambda ctx: ctx.race(lambda: ctx.run("step", str), lambda: ctx.sleep("rest", "1d")), [("step_completed", "r1.0/step")]),
    Told("patched", lambda ctx: [ctx.patched("step"), ctx.sleep("rest", "1m")], []),
    Told("branches", lambda ctx: ctx.parallel(lambda: ctx.run("step", str), lambda: ctx.call("step", URL)), [("step_completed", "p1.0/step"), ("step_completed", "p1.1/step")]),
]  # fmt: skip


@pytest.mark.parametrize("case", STEPS, ids=lambda case: case.name)
def test_every_step_is_told_as_documented_and_once(box: WorkflowSandbox, case: Told) -> None:
    box.respond("GET", URL)
    box.respond("GET", f"{URL}/503", status=503, times=1)
    box.respond("GET", f"{URL}/503")
    box.respond("GET", f"{URL}/down", error="nobody there")
    make(lambda ctx: [case.ask(ctx), None][1]).trigger(workflow_run_id="run")
    case.meanwhile(box)
    box.advance("2h")

    assert Run.objects.get(pk="run").status == "completed"
    assert sorted(told["signals"]) == sorted(told["hooks"])
    steps = [(one[0], one[2]) for one in told["signals"] if one[1] == "run" and len(one) > 2]
    assert sorted(steps) == sorted(case.expected)
