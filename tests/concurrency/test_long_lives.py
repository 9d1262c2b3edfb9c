"""What runs tell while they run, ends of generations that meet with others, and runs that grow too long."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import transaction
from django.test import override_settings

from django_workflow import (
    AsyncWorkflowContext,
    InvalidOptionError,
    NotSerializableError,
    WorkflowContext,
    current_step,
    workflow,
)
from django_workflow.core.workflow import registry
from django_workflow.models import Delivery, PastStep, Run, RunLog, Step
from django_workflow.runtime.deletion import delete_runs
from django_workflow.runtime.worker import drain
from django_workflow.store import claims, generations
from django_workflow.store.sql import connection
from tests.concurrency.together import Gate, Threads, eventually, finished, threads

pytestmark = pytest.mark.django_db(transaction=True)

gates: dict[str, Gate] = {}
payloads: list[Any] = []


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    gates.clear()
    payloads.clear()
    known = {each.name for each in registry}
    yield
    for each in list(registry):
        if each.name not in known:
            registry.remove(each.name)


@pytest.fixture
def pool() -> Iterator[Threads]:
    with threads() as found:
        yield found


def long_body() -> None:
    step = current_step()
    step.log("half", part=1)
    step.set_progress(50)
    gates["body"].hold()


async def long_async_body() -> None:
    step = current_step()
    step.log("half", part=1)
    step.set_progress(50)
    await asyncio.to_thread(gates["async"].hold)


def test_a_long_body_is_seen_while_it_runs(pool: Threads) -> None:
    @workflow(name="long_body")
    def flow(ctx: WorkflowContext[Any]) -> None:
        ctx.log("before")
        ctx.run("long", long_body)

    gate = gates["body"] = Gate()
    run = flow.trigger()
    working = pool.start(drain)
    gate.await_arrival()

    assert run.refresh().progress.percent == 50
    assert [line.message for line in run.logs.all()] == ["before", "half"]
    gate.open()
    working.result(30)
    assert finished(run).logs.count() == 2


def test_a_long_async_body_is_seen_while_it_runs(pool: Threads) -> None:
    @workflow(name="long_async_body")
    async def flow(ctx: AsyncWorkflowContext[Any]) -> None:
        await ctx.run("long", long_async_body)

    gate = gates["async"] = Gate()
    run = flow.trigger()
    working = pool.start(drain)
    gate.await_arrival()

    eventually(lambda: run.refresh().progress is not None)
    eventually(lambda: run.logs.count() == 1)
    gate.open()
    working.result(30)
    assert finished(run).logs.count() == 1


def chatter() -> None:
    for number in range(200):
        current_step().log(f"{number}")


def test_a_body_that_says_much_writes_seldom() -> None:
    @workflow(name="chatter")
    def flow(ctx: WorkflowContext[Any]) -> None:
        ctx.run("chatter", chatter)

    run = flow.trigger()
    writes = []

    def count(execute: Any, sql: Any, *rest: Any) -> Any:
        if "runlog" in str(sql):
            writes.append(sql)
        return execute(sql, *rest)

    with connection().execute_wrapper(count):
        drain()

    assert [line.message for line in run.logs.order_by("id")] == [str(n) for n in range(200)]
    assert len(writes) <= 20


def quiet_flow(ctx: WorkflowContext[Any]) -> None:
    for number in range(5):
        ctx.run("one", str, number)


def telling_flow(ctx: WorkflowContext[Any]) -> None:
    for number in range(5):
        ctx.log("line")
        ctx.set_progress(done=number, total=5)
        ctx.run("one", str, number)


def commits_of(function: Any, name: str) -> int:
    run = workflow(name=name)(function).trigger()
    found = []
    of: Any = connection()
    usual = of.commit
    statements = []

    def count(execute: Any, sql: Any, *rest: Any) -> Any:
        if not of.in_atomic_block and str(sql).lstrip().startswith(
            ("INSERT", "UPDATE", "WITH", "DELETE")
        ):
            statements.append(sql)
        return execute(sql, *rest)

    of.commit = lambda: (found.append(1), usual())
    try:
        with of.execute_wrapper(count):
            drain()
    finally:
        del of.commit
    assert run.refresh().status == "completed"
    return len(found) + len(statements)


def test_what_is_said_between_steps_costs_no_commit() -> None:
    assert commits_of(telling_flow, "telling") == commits_of(quiet_flow, "quiet")


def saying_and_failing() -> None:
    step = current_step()
    step.log(f"attempt {step.attempt}")
    if step.attempt == 1:
        raise ValueError("Not yet.")


@pytest.mark.parametrize("verb", ["run", "atomic"])
def test_each_attempt_of_a_body_says_its_lines(verb: str) -> None:
    @workflow(name="attempts", retry_delay=0)
    def flow(ctx: WorkflowContext[Any]) -> None:
        getattr(ctx, verb)("say", saying_and_failing)

    run = finished(flow.trigger())

    found = [(line.attempt, line.message) for line in run.logs.order_by("id")]
    assert found == [(1, "attempt 1"), (2, "attempt 2")]


def in_own_transaction() -> None:
    with transaction.atomic():
        current_step().log("kept")
        transaction.set_rollback(True)


def test_a_line_said_in_a_transaction_of_the_body_outlives_it() -> None:
    @workflow(name="own_transaction")
    def flow(ctx: WorkflowContext[Any]) -> None:
        ctx.run("say", in_own_transaction)

    assert finished(flow.trigger()).logs.get().message == "kept"


@pytest.mark.parametrize(
    ("verb", "arguments", "options"),
    [
        ("set_progress", (101,), {}),
        ("set_progress", ("half",), {}),
        ("set_progress", (), {}),
        ("set_progress", (), {"done": 3, "total": 2}),
        ("set_progress", (5,), {"done": 1, "total": 2}),
        ("log", (7,), {}),
        ("log", ("x", "loud"), {}),
        ("log", ("x",), {"field": {1, 2}}),
        ("set_state", ({1, 2},), {}),
    ],
)
def test_mistaken_sayings_are_refused(verb: str, arguments: Any, options: Any) -> None:
    @workflow(name="mistaken", retries=0)
    def flow(ctx: WorkflowContext[Any]) -> str:
        with pytest.raises((InvalidOptionError, NotSerializableError)):
            getattr(ctx, verb)(*arguments, **options)
        return "refused"

    run = finished(flow.trigger())

    assert run.result == "refused"
    assert (run.progress, run.state, run.logs.count()) == (None, None, 0)


def test_odd_characters_in_a_line_are_kept() -> None:
    @workflow(name="odd_line")
    def flow(ctx: WorkflowContext[Any]) -> None:
        ctx.log("nul \x00 half \ud800 é", field="\x00")

    line = finished(flow.trigger()).logs.get()

    assert line.message == "nul \\x00 half \\ud800 é"
    assert line.fields == {"field": "\x00"}


# Generations


def endless(ctx: WorkflowContext[Any]) -> str:
    payloads.append(ctx.request_payload)
    number = ctx.run("count", int, ctx.request_payload) + 1
    if number < 30:
        ctx.continue_as_new(number)
    return "done"


def test_generations_follow_one_another_at_once() -> None:
    run = finished(workflow(name="endless")(endless).trigger(0))

    assert (run.result, run.generation, run.steps.count()) == ("done", 29, 1)
    assert sorted(set(payloads)) == list(range(30))
    assert PastStep.objects.filter(generation__run=run).count() == 29


def test_a_generation_ends_once_when_two_workers_end_it() -> None:
    made = workflow(name="endless")(endless)
    run = made.trigger(0)
    [held] = claims.claim("one", 1)
    Delivery.objects.update(due_at=run.created_at)
    [taken] = claims.claim("two", 1)

    assert not generations.continue_as_new(held, "1", "1")
    assert run.refresh().generation == 0
    assert generations.continue_as_new(taken, "1", "1")
    assert not generations.continue_as_new(taken, "2", "1")
    assert (run.refresh().generation, run.payload, run.revision) == (1, 1, 1)
    assert not Run.objects.stuck().exists()
    assert finished(run).generation == 29


def test_a_run_that_is_paused_meanwhile_keeps_its_generation() -> None:
    run = workflow(name="endless")(endless).trigger(0)
    [claim] = claims.claim("one", 1)
    run.pause()

    assert not generations.continue_as_new(claim, "1", "1")

    drain()
    assert (run.refresh().status, run.generation) == ("paused", 0)
    run.resume()
    assert finished(run).generation == 29


def test_the_next_generation_gets_the_latest_version_and_a_checked_payload() -> None:
    made = workflow(name="checked", retries=0, payload_schema=int)(
        lambda ctx: ctx.continue_as_new(ctx.run("next", str, 7) if ctx.request_payload else "x")
    )
    made.version("2")(lambda ctx: ctx.request_payload)

    run = finished(made.trigger(1, version="1"))
    refused = made.trigger(0, version="1")
    drain()

    assert (run.result, run.version, run.generations.get().version) == (7, "2", "1")
    assert refused.refresh().status == "failed"
    assert "does not fit" in refused.failure.message
    assert refused.generation == 0


def in_branch(ctx: WorkflowContext[Any]) -> None:
    ctx.parallel(lambda: ctx.continue_as_new(1))


async def with_open_step(ctx: AsyncWorkflowContext[Any]) -> None:
    task = asyncio.create_task(ctx.sleep("open", "1h"))
    await ctx.run("one", str, 1)
    try:
        await ctx.continue_as_new(1)
    finally:
        task.cancel()


async def with_open_task(ctx: AsyncWorkflowContext[Any]) -> None:
    task = asyncio.create_task(asyncio.sleep(0))
    try:
        await ctx.continue_as_new(1)
    finally:
        task.cancel()


@pytest.mark.parametrize(
    ("function", "says"),
    [(in_branch, "in p1.0/"), (with_open_step, 'open: "open"'), (with_open_task, "tasks of it")],
)
def test_a_generation_with_something_open_does_not_end(function: Any, says: str) -> None:
    run = workflow(name="with_open", retries=0)(function).trigger()
    drain()

    assert run.refresh().status in {"failed", "blocked"}
    assert "continue_as_new() was called" in run.failure.message
    assert says in run.failure.message
    assert run.generation == 0


def test_a_handler_does_not_continue() -> None:
    @workflow(name="handled", retries=0)
    def flow(ctx: WorkflowContext[Any]) -> None:
        raise ValueError

    @flow.on_failure
    def handler(ctx: WorkflowContext[Any], failure: Any) -> None:
        ctx.set_progress(5)
        ctx.continue_as_new(1)

    run = flow.trigger()
    drain()

    assert (run.refresh().status, run.handler_status) == ("failed", "failed")
    assert "the failure handler" in run.handler_failure.message
    assert run.progress.percent == 5


# Limits


def ten_steps(ctx: WorkflowContext[Any]) -> None:
    for number in range(10):
        ctx.run("one", str, number)


async def ten_branches(ctx: AsyncWorkflowContext[Any]) -> None:
    await ctx.parallel(*(ctx.run("one", str, number) for number in range(10)))


@pytest.mark.parametrize("function", [ten_steps, ten_branches])
def test_a_run_with_too_many_steps_is_blocked(function: Any) -> None:
    run = workflow(name="too_many")(function).trigger()
    with override_settings(WORKFLOW={"MAX_STEPS": 7}):
        drain()

    assert run.refresh().status == "blocked"
    assert "ctx.continue_as_new()" in run.failure.message
    assert Step.objects.count() <= 7
    run.resume()
    assert finished(run).steps.count() == 10


def test_a_run_of_many_steps_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    run = workflow(name="many")(ten_steps).trigger()
    with override_settings(WORKFLOW={"STEPS_WARNING": 4, "STEPS_PER_PASS": 1}):
        finished(run)

    assert [r for r in caplog.messages if "has 4 steps" in r]
    assert len([r for r in caplog.messages if "ctx.continue_as_new()" in r]) == 1


def test_ended_runs_are_deleted_with_what_they_told() -> None:
    run = finished(workflow(name="endless")(endless).trigger(0))
    RunLog.objects.create(run=run, level="info", message="x", created_at=run.created_at)

    assert delete_runs([run.id]) == 1
    assert not PastStep.objects.exists()
    assert not RunLog.objects.exists()
