"""New names for steps of every kind, while they are open: what belongs to them goes with them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from django_workflow import FlowControl, WorkflowContext, flow_control, notify, workflow
from django_workflow.core.workflow import registry
from django_workflow.models import FlowTicket, Run
from django_workflow.testing import WorkflowSandbox
from tests.cases.outside import reachable

pytestmark = pytest.mark.django_db

URL = "https://partner.example/slow"
ONE = FlowControl("renamed", parallelism=1)
OLD = ("ask", "wait", "answer", "sign", "child", "items", "line", "queue", "rest", "hook", "charge")
NEW = tuple(f"new {name}/2" for name in OLD)

undone: list[Any] = []
down: list[bool] = []


def take_back(what: Any) -> None:
    undone.append((what.step, what.outcome, what.result))


def item(number: int) -> int:
    if down:
        raise ConnectionError("Not yet.")
    return number * 2


def make(names: tuple[str, ...]) -> Callable[[WorkflowContext[Any]], Any]:
    ask, wait, answer, sign, child, items, line, queue, rest, hook_name, charge = names

    def function(ctx: WorkflowContext[Any]) -> Any:
        hook = ctx.create_webhook(hook_name)
        ctx.using(undo=take_back).run(charge, str, 1)
        retried = ctx.using(retries=9, retry_delay="1h")
        limited = ctx.using(flow_control=ONE)
        both = ctx.using(retries=9, retry_delay="1h", flow_control=ONE)
        found = ctx.parallel(
            lambda: retried.call(ask, URL).status,
            lambda: ctx.wait_for_event(wait, "event", timeout="9d").event_data,
            lambda: ctx.wait_for_webhook(answer, hook, timeout="9d").timed_out,
            lambda: ctx.wait_for_approval(sign, assignees="a@example.org", timeout="9d").approved,
            lambda: ctx.invoke(child, "renamed_child"),
            lambda: retried.map(items, item, [1, 2, 3], max_parallel=2),
            lambda: limited.run(line, str, "line"),
            lambda: both.call(queue, URL).status,
            lambda: (
                ctx.race(lambda: ctx.sleep(rest, "1d"), lambda: ctx.sleep("longer", "2d")).index
            ),
        )
        ctx.run("store", str, len(found))
        raise ValueError(json.dumps(found))

    return function


def call(*args: str) -> Any:
    out = io.StringIO()
    call_command(*args, "--json", stdout=out, stderr=io.StringIO())
    return json.loads(out.getvalue())


def deploy(names: tuple[str, ...]) -> None:
    registry.remove("renamed_kinds")
    workflow(name="renamed_kinds", retries=0)(make(names))


@pytest.fixture
def box() -> Iterator[WorkflowSandbox]:
    undone.clear()
    down[:] = [True]
    workflow(name="renamed_child")(lambda ctx: ctx.sleep("rest", "1d"))
    deploy(OLD)
    with reachable(), WorkflowSandbox() as found:
        yield found
    for name in ("renamed_kinds", "renamed_child"):
        registry.remove(name)


@pytest.fixture
def run(box: WorkflowSandbox) -> Run:
    box.respond("GET", URL, status=503, times=1)
    flow_control(ONE.text_key).set(parallelism=1).pause()
    made: Run = registry.get("renamed_kinds").trigger()
    assert set(box.waiting_on(made)) == {*OLD[:9], "longer"}
    return made


def mapping() -> list[str]:
    return [f"--step=renamed_kinds:{old}={new}" for old, new in zip(OLD, NEW, strict=True)]


def test_a_living_run_of_all_kinds_fits_its_code(run: Run) -> None:
    assert call("workflow_check", "--against") == []


@pytest.mark.parametrize("place", range(len(OLD)))
def test_a_changed_name_of_any_kind_is_told_before_the_deploy(run: Run, place: int) -> None:
    deploy((*OLD[:place], "other", *OLD[place + 1 :]))

    with pytest.raises(CommandError):
        call_command("workflow_check", "--against", stdout=io.StringIO(), stderr=io.StringIO())


@pytest.mark.parametrize(
    ("leaves_out", "reason"),
    [
        ("none", 'step "charge" can be undone'),
        ("renamed_kinds:charge=", 'step "items" may have been begun'),
    ],
)
def test_bodies_that_may_have_begun_keep_their_names_unless_forced(
    run: Run, leaves_out: str, reason: str
) -> None:
    deploy(NEW)
    names = [name for name in mapping() if leaves_out not in name]

    out = io.StringIO()
    with pytest.raises(CommandError):
        call_command("workflow_migrate_names", *names, "--json", stdout=out)

    assert reason in json.loads(out.getvalue())[0]["refused"]


def test_steps_of_all_kinds_go_on_under_their_new_names(box: WorkflowSandbox, run: Run) -> None:
    deploy(NEW)
    [told] = call("workflow_migrate_names", *mapping(), "--apply", "--force")
    assert told["applied"]
    assert call("workflow_check", "--against") == []
    assert not Run.objects.stuck().exists()
    assert set(box.waiting_on(run)) == {*NEW[:9], "longer"}
    assert [t.reason.split('"')[1] for t in FlowTicket.objects.placed()] == ["renamed"] * 2

    down.clear()
    box.respond("GET", URL, status=200)
    flow_control(ONE.text_key).resume()
    notify("event", 7)
    hook = run.steps.get(name=NEW[9]).result["webhook_url"].removeprefix("http://testserver")
    assert Client().post(hook, "1", content_type="application/json").status_code == 200
    box.approve(run, NEW[3], by="a@example.org")
    box.advance("3d")

    assert run.refresh().status == "failed"
    found = json.loads(run.failure.message)  # type: ignore[union-attr]
    assert found == [200, 7, False, True, None, [2, 4, 6], "line", 200, 0]
    assert undone == [(NEW[10], "done", "1")]
    assert not FlowTicket.objects.exists()
    assert not run.attempts.filter(step_key__in=OLD).exists()
    assert run.children.get().parent_step.endswith("new child//2#1")
    old = {name for name in OLD if any(key.endswith(f"/{name}") for key in keys_of(run))}
    assert old == set()


def keys_of(run: Run) -> list[str]:
    """Return all that is found by a key of one of the run's steps."""
    rows: list[str] = []
    for related in (run.calls, run.map_items, run.webhooks, run.approvals, run.undos, run.attempts):
        rows += related.values_list("step_key", flat=True)
    return [*rows, *run.steps.values_list("key", flat=True)]
