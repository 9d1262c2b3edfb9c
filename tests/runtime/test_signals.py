"""Signals and middleware: told what happened, after it was committed, and never able to stop it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import pytest
from django.db import connection, transaction
from django.dispatch import Signal, receiver
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from django_workflow import (
    AsyncWorkflowContext,
    Failure,
    Middleware,
    NonRetryableError,
    RunInfo,
    StepInfo,
    StepTimeoutError,
    WorkflowContext,
    signals,
    workflow,
)
from django_workflow.runtime.announcing import _made
from django_workflow.runtime.worker import drain
from django_workflow.testing import WorkflowSandbox
from tests.cases.stage import current_box

heard: list[Any] = []
inside: ContextVar[str] = ContextVar("inside", default="")
ALL = [getattr(signals, name) for name in signals.__all__]


def flaky(tries: list[int]) -> str:
    tries.append(1)
    if len(tries) < 2:
        raise ValueError("not yet")
    return inside.get()


def refuse() -> None:
    raise NonRetryableError("no")


tries: list[int] = []


@workflow(name="signals_good", retries=2, retry_delay="1s")
def good(ctx: WorkflowContext[Any]) -> Any:
    ctx.sleep("rest", "1s")
    found = ctx.run("flaky", flaky, tries)
    return [found, ctx.atomic("atomic", inside.get)]


@workflow(name="signals_good_async", retries=2, retry_delay="1s")
async def good_async(ctx: AsyncWorkflowContext[Any]) -> Any:
    await ctx.sleep("rest", "1s")
    found = await ctx.run("flaky", flaky, tries)
    return [found, await ctx.atomic("atomic", inside.get)]


@workflow(name="signals_bad")
def bad(ctx: WorkflowContext[Any]) -> None:
    ctx.run("refuse", refuse)


@workflow(name="signals_waits")
def waits(ctx: WorkflowContext[Any]) -> None:
    ctx.sleep("rest", "1d")


def name_of(signal: Signal) -> str:
    return next(name for name in signals.__all__ if getattr(signals, name) is signal)


def listen(signal: Signal, sender: str, run: Any, step: Any = None, **_: Any) -> None:
    assert not [b for b in connection.atomic_blocks if not getattr(b, "_from_testcase", False)]
    heard.append((name_of(signal), sender, run.status, step and (step.name, step.status)))


@pytest.fixture(autouse=True)
def nothing_heard() -> Iterator[None]:
    heard.clear()
    tries.clear()
    yield
    for signal in ALL:
        signal.receivers = []


@pytest.fixture
def listening() -> None:
    for signal in ALL:
        signal.connect(listen)


@pytest.mark.django_db
@pytest.mark.usefixtures("listening")
@pytest.mark.parametrize("made", [good, good_async])
def test_signals_tell_what_happens_in_order(made: Any) -> None:
    with WorkflowSandbox() as box:
        made.trigger()
        box.advance("1m")

    name = made.name
    assert heard == [
        ("run_started", name, "running", None),
        ("step_retried", name, "running", ("flaky", "retrying")),
        ("step_completed", name, "running", ("flaky", "completed")),
        ("step_completed", name, "running", ("atomic", "completed")),
        ("run_completed", name, "completed", None),
    ]


@pytest.mark.django_db
@pytest.mark.usefixtures("listening")
def test_failure_and_cancellation_are_told() -> None:
    with WorkflowSandbox():
        bad.trigger()
        waits.trigger().cancel()

    assert heard == [
        ("run_started", "signals_bad", "running", None),
        ("step_failed", "signals_bad", "running", ("refuse", "failed")),
        ("run_failed", "signals_bad", "failed", None),
        ("run_started", "signals_waits", "running", None),
        ("run_cancelled", "signals_waits", "cancelled", None),
    ]


def oversleep() -> None:
    current_box().advance("10s")


async def oversleep_async() -> None:
    await asyncio.sleep(5)


@workflow(name="signals_slow", retries=1, retry_delay="1s", step_timeout="2s")
def slow(ctx: WorkflowContext[Any]) -> None:
    ctx.using(retry_on=StepTimeoutError).run("slow", oversleep)


@workflow(name="signals_slow_once", retries=1, retry_delay="1s", step_timeout="2s")
def slow_once(ctx: WorkflowContext[Any]) -> None:
    ctx.using(retry_on=ValueError).run("slow", oversleep)


@workflow(name="signals_slow_async", retries=1, retry_delay="0s", step_timeout="0.05s")
async def slow_async(ctx: AsyncWorkflowContext[Any]) -> None:
    await ctx.using(retry_on=TimeoutError).run("slow", oversleep_async)


@pytest.mark.django_db
@pytest.mark.usefixtures("listening")
@pytest.mark.parametrize(
    ("made", "ends"),
    [
        (slow, ["step_retried", "step_failed"]),
        (slow_once, ["step_failed"]),
        (slow_async, ["step_retried", "step_failed"]),
    ],
)
def test_attempt_that_takes_too_long_is_told_and_retried_on_timeouts(
    made: Any, ends: list[str]
) -> None:
    with WorkflowSandbox() as box:
        made.trigger()
        box.advance("1m")

    assert [name for name, *_, step in heard if step] == ends
    assert heard[-1][:3] == ("run_failed", made.name, "failed")


@pytest.mark.django_db
@pytest.mark.parametrize("sender", [bad, "signals_bad", "".join(["signals", "_bad"])])
def test_receiver_may_ask_for_one_workflow(sender: Any) -> None:
    @receiver(signals.run_failed, sender=sender)
    def hear(sender: str, run: Any, **_: Any) -> None:
        heard.append(run.failure.message)

    @receiver(signals.run_failed, sender="another")
    def hear_another(**_: Any) -> None:
        heard.append("another")

    with WorkflowSandbox():
        bad.trigger()

    assert heard == ["no"]


@pytest.mark.django_db
@pytest.mark.parametrize("made", [good, good_async])
def test_receiver_that_raises_changes_nothing(made: Any, caplog: pytest.LogCaptureFixture) -> None:
    def break_down(**_: Any) -> None:
        raise RuntimeError("receiver")

    for signal in ALL:
        signal.connect(break_down)
    with WorkflowSandbox() as box:
        run = made.trigger()
        box.advance("1m")

    assert run.refresh().status == "completed"
    assert "receiver" in caplog.text


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("listening")
def test_cancelling_is_told_when_its_transaction_commits() -> None:
    run, kept = waits.trigger(), waits.trigger()
    with transaction.atomic():
        run.cancel()
        assert heard == []
    with transaction.atomic():
        kept.cancel()
        transaction.set_rollback(True)

    assert [name for name, *_ in heard] == ["run_cancelled"]


@workflow(name="signals_parent")
def parent(ctx: WorkflowContext[Any]) -> None:
    ctx.invoke("child", waits)


@pytest.mark.django_db
@pytest.mark.usefixtures("listening")
def test_cancelling_is_told_of_children_and_then_of_their_parent() -> None:
    with WorkflowSandbox() as box:
        run = parent.trigger()
        box.advance("1s")
        run.cancel()
        box.advance("1s")

    cancelled = [(name, state) for event, name, state, _ in heard if event == "run_cancelled"]
    assert cancelled == [("signals_waits", "cancelled"), ("signals_parent", "cancelled")]


@pytest.mark.django_db(transaction=True)
def test_nobody_listening_costs_no_query() -> None:
    def queries() -> int:
        bad.trigger()
        with CaptureQueriesContext(connection) as asked:
            drain()
        return len(asked)

    alone = queries()
    signals.run_failed.connect(listen, sender="another")
    assert queries() == alone
    signals.run_failed.connect(listen)
    assert queries() > alone


class Telling(Middleware):
    @contextmanager
    def around_pass(self, run: RunInfo) -> Iterator[None]:
        token = inside.set(run.workflow_run_id)
        yield
        inside.reset(token)

    @contextmanager
    def around_step(self, run: RunInfo, step: StepInfo) -> Iterator[None]:
        heard.append(f"{step.name} {step.attempt} begins")
        try:
            yield
        except Exception as error:
            heard.append(f"{step.name} raised {error}")
            raise
        heard.append(f"{step.name} ends")

    def run_started(self, run: RunInfo) -> None:
        heard.append("started")

    def run_completed(self, run: RunInfo) -> None:
        heard.append("completed")

    def run_failed(self, run: RunInfo, failure: Failure) -> None:
        heard.append(f"failed: {failure.message}")

    def run_cancelled(self, run: RunInfo) -> None:
        heard.append(f"cancelled {run.workflow}")

    def step_completed(self, run: RunInfo, step: StepInfo) -> None:
        heard.append(f"{step.name} completed")

    def step_retried(self, run: RunInfo, step: StepInfo, failure: Failure) -> None:
        heard.append(f"{step.name} retried: {failure.message}")

    def step_failed(self, run: RunInfo, step: StepInfo, failure: Failure) -> None:
        heard.append(f"{step.name} failed: {failure.message}")


class Inner(Middleware):
    @contextmanager
    def around_step(self, run: RunInfo, step: StepInfo) -> Iterator[None]:
        heard.append("inner begins")
        yield
        heard.append("inner ends")


class Broken(Middleware):
    @contextmanager
    def around_pass(self, run: RunInfo) -> Iterator[None]:
        raise RuntimeError("around pass")
        yield

    @contextmanager
    def around_step(self, run: RunInfo, step: StepInfo) -> Iterator[None]:
        try:
            yield
        except ValueError:
            # Swallowed: the attempt has failed all the same.
            return
        raise RuntimeError("after the body")

    def run_started(self, run: RunInfo) -> None:
        raise RuntimeError("started")

    step_completed = run_completed = step_retried = run_started  # type: ignore[assignment]


def with_middleware(*names: str) -> Any:
    return override_settings(WORKFLOW={"MIDDLEWARE": [f"{__name__}.{name}" for name in names]})


@pytest.mark.django_db
@pytest.mark.parametrize("made", [good, good_async])
def test_middleware_surrounds_bodies_and_hears_outcomes(made: Any) -> None:
    with with_middleware("Telling", "Inner"), WorkflowSandbox() as box:
        run = made.trigger()
        box.advance("1m")

    assert heard == [
        "started",
        "flaky 1 begins",
        "inner begins",
        "flaky raised not yet",
        "flaky retried: not yet",
        "flaky 2 begins",
        "inner begins",
        "inner ends",
        "flaky ends",
        "flaky completed",
        "atomic 1 begins",
        "inner begins",
        "inner ends",
        "atomic ends",
        "atomic completed",
        "completed",
    ]
    # What a pass has set is seen in the bodies.
    assert run.refresh().result == [run.id, run.id]


@pytest.mark.django_db
def test_middleware_hears_of_failure_and_cancellation() -> None:
    with with_middleware("Telling"), WorkflowSandbox():
        bad.trigger()
        waits.trigger().cancel()

    assert heard == [
        "started",
        "refuse 1 begins",
        "refuse raised no",
        "refuse failed: no",
        "failed: no",
        "started",
        "cancelled signals_waits",
    ]


@pytest.mark.django_db
@pytest.mark.parametrize("made", [good, good_async])
def test_middleware_that_raises_or_swallows_changes_nothing(
    made: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    _made.cache_clear()
    with with_middleware("Broken", "Missing", "Telling"), WorkflowSandbox() as box:
        run = made.trigger()
        box.advance("1m")

    assert run.refresh().status == "completed"
    assert "flaky retried: not yet" in heard
    assert {"around pass", "after the body", "started"} <= {
        str(record.exc_info[1]) for record in caplog.records if record.exc_info
    }
    assert "Missing" in caplog.text
