"""Verbs that change when a run goes on, or what it goes on from: what each does, refuses, and keeps."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync

from django_workflow import (
    FlowControl,
    InvalidOptionError,
    RetryPolicy,
    RunNotFoundError,
    RunStateError,
    WorkflowContext,
    notify,
    workflow,
)
from django_workflow.core.ports import get_runtime
from django_workflow.core.workflow import registry
from django_workflow.models import Action, Approval, Attempt, Delivery, FlowTicket, Run, Step
from django_workflow.runtime.forking import Stored
from django_workflow.runtime.worker import drain
from django_workflow.store.claims import now
from tests.concurrency.together import bodies

pytestmark = pytest.mark.django_db(transaction=True)

LATER = RetryPolicy(max_retries=3, first_delay=timedelta(hours=1), jitter=0)
failing: set[str] = set()


def body(name: str, value: Any = None) -> Any:
    bodies(name)
    if name in failing:
        raise ValueError(f"no {name}")
    return name if value is None else value


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    bodies.clear()
    failing.clear()
    yield
    for name in [one.name for one in registry if one.name.startswith("verbs_")]:
        registry.remove(name)


def made(function: Any, payload: Any = None, **options: Any) -> Run:
    run: Run = workflow(name=f"verbs_{function.__name__}", retries=LATER)(function).trigger(
        payload, workflow_run_id="one", **options
    )
    drain()
    return run.refresh()


def ended(run: Run) -> Run:
    drain()
    run.refresh()
    assert run.status == "completed", (run.status, run.reason, list(Delivery.objects.values()))
    assert not Run.objects.stuck().exists()
    return run


def last_action() -> Action:
    found = Action.objects.order_by("id").last()
    assert found is not None
    return found


# Retry now


def one_step(ctx: WorkflowContext[Any]) -> Any:
    return ctx.run("a", body, "a")


def branches(ctx: WorkflowContext[Any]) -> Any:
    return ctx.parallel(lambda: ctx.run("a", body, "a"), lambda: ctx.run("b", body, "b"))


def between(ctx: WorkflowContext[Any]) -> Any:
    ctx.run("a", body, "a")
    return body("between")


def many(ctx: WorkflowContext[Any]) -> Any:
    return ctx.map("items", body, ["a", "b"])


@pytest.mark.parametrize(
    ("function", "fails", "steps"),
    [
        (one_step, "a", ["a"]),
        (branches, "b", ["p1.1/b"]),
        (between, "between", [""]),
        (many, "b", ["items"]),
    ],
)
def test_retry_now_skips_the_delay(function: Any, fails: str, steps: list[str]) -> None:
    failing.add(fails)
    run = made(function)
    drain()
    assert bodies.calls[fails] == 1
    failing.clear()

    run.retry_now(actor="Ann", why="it is mended")

    assert ended(run)
    assert bodies.calls[fails] == 2
    action = last_action()
    assert (action.verb, action.actor, action.why) == ("retry", "Ann", "it is mended")
    assert action.details == {"steps": steps}


def test_retry_now_of_one_step_leaves_the_others() -> None:
    failing.update("ab")
    run = made(branches)

    run.retry_now("b")
    drain()

    assert bodies.calls == {"a": 1, "b": 2}
    assert not Run.objects.stuck().exists()


def test_retry_now_ends_the_trouble_of_a_delivery() -> None:
    run = made(one_step)
    Run.objects.update(status="running", finished_at=None)
    Delivery.objects.create(
        run_id=run.id, step_key="", due_at=now() + timedelta(minutes=1), trouble="no answer"
    )

    run.retry_now()

    assert Delivery.objects.get().due_at <= now()  # type: ignore[operator]


@pytest.mark.parametrize("prepare", ["complete", "pause", "fail"])
def test_retry_now_is_refused_where_nothing_is_tried_again(prepare: str) -> None:
    failing.add("a" if prepare != "complete" else "")
    run = made(one_step)
    if prepare == "pause":
        run.pause()
    if prepare == "fail":
        run.cancel()

    with pytest.raises(RunStateError, match="Nothing waits for a retry that is to come"):
        run.retry_now()

    assert not Action.objects.filter(verb="retry").exists()


# Skip a sleep


def sleeping(ctx: WorkflowContext[Any]) -> Any:
    ctx.parallel(lambda: ctx.sleep("rest", "2h"), lambda: ctx.sleep("nap", "1h"))
    return ctx.run("a", body, "a")


def test_skip_sleep_goes_on_at_once() -> None:
    run = made(sleeping)

    run.skip_sleep("rest", why="no time")
    drain()
    assert [step.name for step in run.refresh().waiting_for] == ["nap"]
    run.skip_sleep()

    assert ended(run).result == "a"
    assert last_action().details == {"steps": ["p1.1/nap"]}


def test_skip_sleep_of_a_paused_run_is_recorded_and_it_stays_paused() -> None:
    run = made(sleeping)
    run.pause()

    run.skip_sleep()
    drain()

    assert run.refresh().status == "paused"
    assert not Step.objects.filter(status="sleeping").exists()
    assert bodies.calls == {}
    run.resume()
    assert ended(run)


@pytest.mark.parametrize("step", [None, "a"])
def test_skip_sleep_is_refused_where_nothing_sleeps(step: str | None) -> None:
    failing.add("a")
    run = made(one_step)

    with pytest.raises(RunStateError, match="sleeps until a time that is to come"):
        run.skip_sleep(step)


@pytest.mark.parametrize("verb", ["retry_now", "skip_sleep"])
def test_unknown_steps_and_runs_are_refused(verb: str) -> None:
    run = made(sleeping)

    with pytest.raises(InvalidOptionError, match='has no open step "other"'):
        getattr(run, verb)("other")
    with pytest.raises(RunNotFoundError):
        getattr(get_runtime(), verb)("lost")
    with pytest.raises(RunNotFoundError):
        getattr(get_runtime(), verb)("lost", "rest")


def test_name_of_several_steps_is_refused_with_their_keys() -> None:
    def twice(ctx: WorkflowContext[Any]) -> Any:
        ctx.parallel(lambda: ctx.sleep("rest", "2h"), lambda: ctx.sleep("rest", "1h"))

    run = made(twice)

    with pytest.raises(InvalidOptionError, match=r"'p1\.0/rest', 'p1\.1/rest'"):
        run.skip_sleep("rest")
    run.skip_sleep("p1.0/rest")
    drain()
    assert len(run.refresh().waiting_for) == 1


# Extend a timeout


def waiting(ctx: WorkflowContext[Any]) -> Any:
    return ctx.wait_for_event("pickup", "pickup:1", timeout="1h").timed_out


def test_extend_timeout_of_a_wait() -> None:
    run = made(waiting)
    [before] = run.waiting_for

    run.extend_timeout("2h", "pickup", why="he is late")
    drain()

    [after] = run.refresh().waiting_for
    assert after.wake_at == before.wake_at + timedelta(hours=2)
    assert Delivery.objects.get().due_at == after.wake_at
    assert last_action().details == {
        "step": "pickup",
        "before": before.wake_at.isoformat(),
        "after": after.wake_at.isoformat(),
    }
    notify("pickup:1")
    assert ended(run).result is False


def test_extend_timeout_of_an_approval_moves_what_people_see() -> None:
    def asking(ctx: WorkflowContext[Any]) -> Any:
        return ctx.wait_for_approval("sign", assignees=["user:ann"], timeout="1h").approved

    run = made(asking)

    run.extend_timeout("1d", "sign")

    assert Approval.objects.get().due_at == Step.objects.get().wake_at
    assert Approval.objects.get().due_at > now() + timedelta(hours=24)


def test_extend_timeout_of_the_run() -> None:
    run = made(waiting, timeout="30m")
    before = run.deadline
    assert before is not None

    run.extend_timeout("1d")
    drain()

    assert run.refresh().deadline == before + timedelta(days=1)
    assert Delivery.objects.get().due_at == Step.objects.get().wake_at


@pytest.mark.parametrize(
    ("by", "step", "error", "match"),
    [
        ("1h", None, RunStateError, "no timeout of its own"),
        ("1h", "nap", RunStateError, 'Step "nap" does not wait with a timeout'),
        ("1h", "other", InvalidOptionError, "no open step"),
        (0, "nap", InvalidOptionError, "extended by a time"),
    ],
)
def test_extend_timeout_is_refused(by: Any, step: str | None, error: Any, match: str) -> None:
    run = made(sleeping)

    with pytest.raises(error, match=match):
        run.extend_timeout(by, step)


def test_timeout_that_is_over_is_not_extended() -> None:
    run = made(waiting)
    Step.objects.update(wake_at=now())

    with pytest.raises(RunStateError):
        run.extend_timeout("1h", "pickup")


# Priority


def test_priority_moves_a_run_forward_in_its_line() -> None:
    limited = workflow(name="verbs_line", flow_control=FlowControl("verbs", parallelism=1))(
        one_step
    )
    handles = [limited.trigger(workflow_run_id=name) for name in ("first", "second", "third")]

    handles[2].set_priority(5, why="vip")

    waiting_ones = FlowTicket.objects.waiting().order_by("-priority", "id")
    assert waiting_ones[0].run_id == "third"
    assert last_action().details == {"before": 0, "after": 5}
    for run in handles:
        ended(run)


def test_priority_does_not_begin_a_delayed_run() -> None:
    run = workflow(name="verbs_delayed")(one_step).trigger(delay="1h")

    run.set_priority(9)
    drain()

    assert run.refresh().status == "pending"
    with pytest.raises(InvalidOptionError):
        run.set_priority("high")  # type: ignore[arg-type]


def test_priority_of_an_ended_run_is_refused() -> None:
    run = made(one_step)

    with pytest.raises(RunStateError, match="stands in no line any more"):
        run.set_priority(1)


# Fork


def three(ctx: WorkflowContext[Any]) -> Any:
    a = ctx.run("a", body, "a", ctx.request_payload)
    b = ctx.run("b", body, "b", f"{a}+b")
    return [a, b, ctx.run("c", body, "c", ctx.request_payload)]


def test_fork_goes_on_from_a_step_with_what_was_recorded_before() -> None:
    run = made(three, "x", label="vip")
    bodies.clear()

    new = run.fork("b", payload="y", actor="Ann", why="what if")

    assert ended(new).result == ["x", "x+b", "y"]
    assert bodies.calls == {"b": 1, "c": 1}
    assert (new.restarted_from_id, new.forked_at, new.labels) == ("one", "b", ["vip"])
    assert run.refresh().result == ["x", "x+b", "x"]
    assert last_action().details == {"step": "b", "changed": [], "new_run": new.id}


def test_fork_with_another_result_of_an_earlier_step() -> None:
    run = made(three, "x")

    new = run.fork("c", results={"b": "other"})

    assert ended(new).result == ["x", "other", "x"]


def test_fork_of_a_step_that_is_still_open() -> None:
    failing.add("c")
    run = made(three, "x")
    failing.clear()

    new = run.fork("c")

    assert ended(new).result == ["x", "x+b", "x"]
    assert run.refresh().status == "running"


def test_fork_counts_on_where_the_copy_ends() -> None:
    run = made(three, "x")

    ended(run.fork("c"))

    sequences = Step.objects.exclude(run_id="one").order_by("sequence")
    assert [step.key for step in sequences] == ["a", "b", "c"]
    assert len({step.sequence for step in sequences}) == 3


def test_fork_among_branches_keeps_what_was_recorded_first() -> None:
    run = made(branches)
    later = Step.objects.filter(run_id="one", kind="run").order_by("-sequence").first()
    assert later is not None
    bodies.clear()

    assert ended(run.fork(later.key)).result == ("a", "b")

    assert sum(bodies.calls.values()) == 1


@pytest.mark.parametrize(
    ("step", "options", "match"),
    [
        ("other", {}, 'no step "other"'),
        ("b", {"results": {"c": 1}}, "stands after the step"),
        ("c", {"results": {"z": 1}}, 'no recorded step "z"'),
    ],
)
def test_fork_is_refused(step: str, options: dict[str, Any], match: str) -> None:
    run = made(three, "x")

    with pytest.raises(InvalidOptionError, match=match):
        run.fork(step, **options)

    assert Run.objects.count() == 1


def test_fork_after_a_url_of_the_run_is_refused() -> None:
    run = made(three, "x")
    Step.objects.filter(key="a").update(kind="create_webhook")

    with pytest.raises(InvalidOptionError, match='Step "a" made a URL'):
        run.fork("b")
    run.fork("a")


def test_fork_of_a_version_that_is_gone_is_refused() -> None:
    run = made(three, "x")
    Run.objects.update(version="9")

    with pytest.raises(InvalidOptionError, match='of version "9"'):
        run.fork("b")


# Edit a result


def failed(payload: Any = "x") -> Run:
    failing.add("c")
    run = made(three, payload)
    for _ in range(3):
        run.retry_now()
        drain()
    assert run.refresh().status == "failed"
    failing.clear()
    return run


def test_edit_of_a_result_does_all_after_it_again() -> None:
    run = failed()
    bodies.clear()

    run.edit_result("a", "z", actor="Ann", why="typed wrong")
    assert run.status == "failed"
    assert [step.key for step in run.steps.all()] == ["a"]
    run.resume()

    assert ended(run).result == ["z", "z+b", "x"]
    assert bodies.calls == {"b": 1, "c": 1}
    edit = Action.objects.get(verb="edit")
    assert edit.details == {
        "step": "a", "name": "a", "before": '"x"', "failure": None, "after": '"z"', "put_aside": ["b", "c"],
    }  # fmt: skip


def test_edit_gives_a_failed_step_a_result() -> None:
    run = failed()

    run.edit_result("c", "by hand")
    run.resume()

    assert ended(run).result == ["x", "x+b", "by hand"]


def test_what_an_edit_puts_aside_is_kept() -> None:
    run = failed()

    run.edit_result("b", "other")

    aside = Attempt.objects.filter(outcome="put_aside").order_by("id")
    assert [(one.step_key, one.result_text) for one in aside] == [("b", '"x+b"'), ("c", None)]


def test_edit_of_a_paused_run_puts_open_steps_aside() -> None:
    def longer(ctx: WorkflowContext[Any]) -> Any:
        a = ctx.run("a", body, "a")
        ctx.parallel(
            lambda: ctx.sleep("rest", "1h"),
            lambda: ctx.wait_for_event("e", "verbs:e", timeout="1h"),
            lambda: ctx.map("items", body, ["m"]),
        )
        return a

    run = made(longer)
    run.pause()

    run.edit_result("a", 1)
    assert run.steps.count() == 1
    run.resume()
    drain()
    assert {step.name for step in run.refresh().waiting_for} == {"rest", "e"}
    run.skip_sleep()
    notify("verbs:e")
    assert ended(run).result == 1


def test_edit_after_an_approval_asks_anew() -> None:
    def asking(ctx: WorkflowContext[Any]) -> Any:
        ctx.run("a", body, "a")
        return ctx.wait_for_approval("sign", assignees=["user:ann"], timeout="1h").approved

    run = made(asking)
    run.pause()

    run.edit_result("a", 1)
    run.resume()
    drain()

    old, new = Approval.objects.order_by("id")
    assert old.step_key.startswith("/put aside")
    assert list(Approval.objects.open()) == [new]


def test_edit_takes_the_stored_form_of_a_value() -> None:
    run = failed()

    run.edit_result("a", Stored('{"$":"datetime","v":"2026-01-02T03:04:05+00:00"}'))

    assert run.steps.get(key="a").result.year == 2026


@pytest.mark.parametrize("prepare", ["running", "completed"])
def test_edit_is_refused_in_other_states(prepare: str) -> None:
    failing.add("c" if prepare == "running" else "")
    run = made(three, "x")

    with pytest.raises(RunStateError, match="while the run is paused, failed or blocked"):
        run.edit_result("a", 1)


def test_edit_of_what_the_engine_reads_is_refused() -> None:
    run = made(waiting)
    notify("pickup:1", 1)
    drain()

    with pytest.raises(InvalidOptionError, match="is a wait_for_event"):
        run.edit_result("pickup", 1)


def test_edit_of_an_open_step_is_refused() -> None:
    run = made(waiting)
    run.pause()

    with pytest.raises(InvalidOptionError, match='no recorded step "pickup"'):
        run.edit_result("pickup", 1)


def test_edit_is_refused_while_a_child_is_alive() -> None:
    child = workflow(name="verbs_child")(waiting)

    def parent(ctx: WorkflowContext[Any]) -> Any:
        ctx.run("a", body, "a")
        return ctx.invoke("child", child)

    run = made(parent)
    run.pause()
    [begun] = run.children.all()

    with pytest.raises(RunStateError, match=f'Run "{begun.id}".* Cancel it first'):
        run.edit_result("a", 1)
    begun.cancel()
    drain()
    run.edit_result("a", 1)
    run.resume()
    drain()
    assert run.children.count() == 2


# All of them


def test_async_verbs_do_the_same() -> None:
    run = made(sleeping)

    async def act() -> Any:
        await run.aextend_timeout("1h") if run.deadline else None
        await run.aset_priority(3)
        await run.askip_sleep("rest")
        await run.apause()
        await run.aresume()
        return await run.afork("rest")

    new = async_to_sync(act)()

    assert Run.objects.filter(pk=new.id).exists()
    with pytest.raises(RunStateError):
        async_to_sync(run.aretry_now)()
    with pytest.raises(InvalidOptionError):
        async_to_sync(run.aedit_result)("nap", 1)
