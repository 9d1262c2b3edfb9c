"""Workflows that the tests of transports and doors run, what their bodies did, and how to move a run along."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.utils import timezone

from django_workflow import AsyncWorkflowContext, Failure, WorkflowContext, workflow
from django_workflow.models import Delivery, Run
from django_workflow.runtime.worker import drain
from django_workflow.store import claims
from django_workflow.store.rows import Claim

#: What bodies did, in order; emptied before each test.
done: list[str] = []


def act(what: str) -> str:
    done.append(what)
    return what


def fail(what: str) -> None:
    done.append(what)
    raise ValueError(f"{what} failed")


def fail_once(what: str) -> str:
    if act(what) and done.count(what) == 1:
        raise ValueError(f"{what} failed")
    return what


@workflow(name="steps")
def steps(ctx: WorkflowContext[list[str]]) -> str:
    return "-".join(ctx.run(name, act, name) for name in ctx.request_payload)


@workflow(name="async_steps")
async def async_steps(ctx: AsyncWorkflowContext[list[str]]) -> str:
    return "-".join([await ctx.run(name, act, name) for name in ctx.request_payload])


@workflow(name="other")
def other(ctx: WorkflowContext[Any]) -> None:
    ctx.run("other", act, "other")


passed_inline = threading.Event()


@workflow(name="inline", transport="inline")
def inline(ctx: WorkflowContext[Any]) -> str:
    passed_inline.set()
    return "passed"


@workflow(name="astray", transport="http", url="http://nowhere.invalid/")
def astray(ctx: WorkflowContext[Any]) -> None:
    ctx.run("other", act, "other")


@workflow(name="branches")
def branches(ctx: WorkflowContext[Any]) -> str:
    def branch(name: str) -> str:
        return ctx.run("first", act, f"{name}1") + ctx.run("second", act, f"{name}2")

    left, right = ctx.parallel(lambda: branch("left"), lambda: branch("right"))
    return left + right


@workflow(name="async_branches")
async def async_branches(ctx: AsyncWorkflowContext[Any]) -> str:
    async def branch(name: str) -> str:
        return await ctx.run("first", act, f"{name}1") + await ctx.run("second", act, f"{name}2")

    return "".join(await asyncio.gather(branch("left"), branch("right")))


@workflow(name="recovers", retries=1, retry_delay=0)
def recovers(ctx: WorkflowContext[Any]) -> str:
    return ctx.run("shaky", fail_once, "shaky")


@workflow(name="fails", retries=0)
def fails(ctx: WorkflowContext[Any]) -> None:
    ctx.run("doomed", fail, "doomed")


@fails.on_failure
def clean_up(ctx: WorkflowContext[Any], failure: Failure) -> None:
    ctx.run("clean", act, f"clean after {failure.step}")


@workflow(name="between", retries=1, retry_delay=0)
def between(ctx: WorkflowContext[Any]) -> str:
    ctx.run("one", act, "one")
    fail_once("between")
    return ctx.run("two", act, "two")


@workflow(name="diverges")
def diverges(ctx: WorkflowContext[Any]) -> None:
    name = "late" if done else "early"
    ctx.run(name, act, name)
    ctx.sleep("rest", 0)
    ctx.run("last", fail_once, "last")


@workflow(name="rests")
def rests(ctx: WorkflowContext[Any]) -> None:
    ctx.run("before", act, "before")
    ctx.sleep("rest", "1h")
    ctx.run("after", act, "after")


def note(file: str, line: str) -> str:
    with Path(file).open("a") as notes:
        notes.write(f"{line}\n")
    return line


def die_once(file: str) -> str:
    if not Path(file).exists():
        note(file, "died")
        os.kill(os.getpid(), signal.SIGKILL)
    return note(file, "survived")


@workflow(name="notes")
def notes(ctx: WorkflowContext[dict[str, Any]]) -> str:
    file, names = ctx.request_payload["file"], ctx.request_payload["names"]
    return "-".join(ctx.run(name, note, file, f"{ctx.workflow_run_id} {name}") for name in names)


@workflow(name="dies")
def dies(ctx: WorkflowContext[str]) -> str:
    ctx.run("first", act, "first")
    return ctx.run("dies", die_once, ctx.request_payload)


def claimed(run: Run) -> Claim:
    """Claim the run's only due delivery, as a worker does."""
    (claim,) = claims.claim("a worker", 8, only=[run.id])
    return claim


def let_time_pass() -> None:
    """Make everything due that waits for its time."""
    past = timezone.now() - timedelta(seconds=1)
    Delivery.objects.exclude(due_at=None).filter(leased_by="").update(due_at=past)


def lose_lease() -> None:
    """End every lease, as if its holder had been silent for too long."""
    Delivery.objects.exclude(leased_by="").update(due_at=timezone.now() - timedelta(seconds=1))


def driven(run: Run, *, rounds: Iterable[int] = range(20)) -> Run:
    """Carry the run on until nothing of it is due, whatever it was put off by; return it refreshed."""
    for _ in rounds:
        drain()
        if run.refresh().is_finished:
            break
        let_time_pass()
    return run


def recorded(run: Run) -> list[str]:
    """Return the names of the recorded steps, in their order."""
    found = run.steps.filter(sequence__isnull=False).order_by("sequence")
    return list(found.values_list("name", flat=True))
