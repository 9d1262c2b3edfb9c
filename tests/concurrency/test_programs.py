"""Random programs with random deaths: they end as if nobody had died, and no body runs more often than it must."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import pytest
from django.test import override_settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from django_workflow.models import Delivery, Run, Step
from django_workflow.runtime.journals import journals
from django_workflow.runtime.worker import drain
from django_workflow.store.sql import connection
from tests.app.models import Note
from tests.store.made import PAST

pytestmark = pytest.mark.django_db(transaction=True)

WRITES = ("INSERT", "UPDATE", "DELETE", "WITH")
PATIENCE = 300


class Death(BaseException):
    """The process is gone."""


class Op(NamedTuple):
    """One thing that a program does; ``branches`` are side by side."""

    kind: str
    branches: tuple[tuple[Op, ...], ...] = ()


class Crash(NamedTuple):
    """A death at the so-manieth write of a worker, before or after it."""

    at: int
    after: bool


leaves = st.sampled_from([Op("run"), Op("run"), Op("atomic"), Op("flaky"), Op("sleep")])
programs = st.recursive(
    st.lists(leaves, min_size=1, max_size=3).map(tuple),
    lambda inner: st.lists(
        leaves | st.lists(inner, min_size=1, max_size=3).map(lambda bs: Op("parallel", tuple(bs))),
        min_size=1,
        max_size=5,
    ).map(tuple),
    max_leaves=12,
)
crashes = st.lists(st.builds(Crash, st.integers(1, 14), st.booleans()), max_size=3)


class Called:
    """How often each body was called, by run and place."""

    def __init__(self) -> None:
        self.times: Counter[tuple[str, str]] = Counter()
        self.flaky: set[tuple[str, str]] = set()

    def body(self, run_id: str, place: str, kind: str) -> str:
        self.times[run_id, place] += 1
        if kind == "atomic":
            Note.objects.create(text=f"{run_id} {place}")
        if kind == "flaky" and (run_id, place) not in self.flaky:
            self.flaky.add((run_id, place))
            raise ValueError("the first time it fails")
        return place


called = Called()


def encoded(program: Sequence[Op]) -> list[Any]:
    return [[op.kind, [encoded(branch) for branch in op.branches]] for op in program]


def decoded(stored: Any) -> tuple[Op, ...]:
    return tuple(
        Op(kind, tuple(decoded(branch) for branch in branches)) for kind, branches in stored
    )


def interpret(ctx: WorkflowContext[Any], program: Sequence[Op], place: str) -> list[Any]:
    results: list[Any] = []
    for index, op in enumerate(program):
        here = f"{place}{index}"
        if op.kind == "parallel":
            branches = [
                partial(interpret, ctx, branch, f"{here}.{number}.")
                for number, branch in enumerate(op.branches)
            ]
            results.append(ctx.parallel(*branches))
        elif op.kind == "sleep":
            ctx.sleep(here, 0.001)
        else:
            verb = ctx.atomic if op.kind == "atomic" else ctx.run
            results.append(verb(here, called.body, ctx.workflow_run_id, here, op.kind))
    return results


async def interpret_async(
    ctx: AsyncWorkflowContext[Any], program: Sequence[Op], place: str
) -> list[Any]:
    results: list[Any] = []
    for index, op in enumerate(program):
        here = f"{place}{index}"
        if op.kind == "parallel":
            branches = [
                interpret_async(ctx, branch, f"{here}.{number}.")
                for number, branch in enumerate(op.branches)
            ]
            results.append(await asyncio.gather(*branches))
        elif op.kind == "sleep":
            await ctx.sleep(here, 0.001)
        else:
            verb = ctx.atomic if op.kind == "atomic" else ctx.run
            results.append(await verb(here, called.body, ctx.workflow_run_id, here, op.kind))
    return results


@workflow(name="programs_sync", retry_delay=0)
def sync_program(ctx: WorkflowContext[Any]) -> Any:
    return interpret(ctx, decoded(ctx.request_payload), "")


@workflow(name="programs_async", retry_delay=0)
async def async_program(ctx: AsyncWorkflowContext[Any]) -> Any:
    return await interpret_async(ctx, decoded(ctx.request_payload), "")


def expected(program: Sequence[Op], place: str = "") -> list[Any]:
    """Return what the program returns, by looking at it."""
    results: list[Any] = []
    for index, op in enumerate(program):
        here = f"{place}{index}"
        if op.kind == "parallel":
            results.append(
                [expected(branch, f"{here}.{number}.") for number, branch in enumerate(op.branches)]
            )
        elif op.kind != "sleep":
            results.append(here)
    return results


def plain(value: Any) -> Any:
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def kinds(program: Sequence[Op]) -> Counter[str]:
    """Count the ops of each kind."""
    found: Counter[str] = Counter()
    for op in program:
        found[op.kind] += 1
        for branch in op.branches:
            found += kinds(branch)
    return found


class Dying:
    """Lets this thread's connection die at a write; the dead send nothing more."""

    def __init__(self, crash: Crash) -> None:
        self.crash = crash
        self.writes = 0
        self.is_dead = False

    def __call__(self, execute: Any, sql: Any, params: Any, many: Any, context: Any) -> Any:
        if self.is_dead and not str(sql).startswith(("ROLLBACK", "RELEASE")):
            raise Death
        if not str(sql).startswith(WRITES):
            return execute(sql, params, many, context)
        self.writes += 1
        if self.writes != self.crash.at:
            return execute(sql, params, many, context)
        if self.crash.after:
            execute(sql, params, many, context)
        self.is_dead = True
        raise Death


@contextmanager
def dying(crash: Crash) -> Iterator[None]:
    with connection().execute_wrapper(Dying(crash)):
        try:
            yield
        except Death:
            # A new process has seen no journal.
            journals.clear()


def end_leases(run_id: str) -> None:
    """Let every lease and every retry delay be over; what is parked stays so."""
    Delivery.objects.filter(run_id=run_id, due_at__isnull=False).update(due_at=PAST)


def drive(run: Any, deaths: Sequence[Crash]) -> Run:
    """Work the run off, dying as told."""
    for crash in deaths:
        with dying(crash):
            drain()
        end_leases(run.id)
    for _ in range(PATIENCE):
        drain()
        if run.refresh().is_finished:
            return run  # type: ignore[no-any-return]
        assert not Run.objects.stuck().filter(pk=run.id).exists()
        end_leases(run.id)
    raise AssertionError((run.status, run.reason, list(Delivery.objects.values())))


@pytest.mark.parametrize("made", [sync_program, async_program], ids=["sync", "async"])
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(program=programs, deaths=crashes, budget=st.sampled_from([0.0001, 1]))
def test_program_ends_as_if_nobody_had_died(
    made: Any, program: tuple[Op, ...], deaths: list[Crash], budget: float
) -> None:
    with override_settings(WORKFLOW={"CLAIM_BATCH": 2, "PASS_BUDGET": budget}):
        run = drive(made.trigger(encoded(program)), deaths)

    assert (run.status, run.failure) == ("completed", None)
    assert plain(run.result) == expected(program)
    of_run = {place: n for (run_id, place), n in called.times.items() if run_id == run.id}
    assert all(
        times <= 1 + len(deaths) + ((run.id, place) in called.flaky)
        for place, times in of_run.items()
    )
    found = kinds(program)
    assert len(of_run) == found["run"] + found["atomic"] + found["flaky"]
    assert Note.objects.filter(text__startswith=run.id).count() == found["atomic"]
    assert (
        Step.objects.filter(run=run.id, status="completed").count() == len(of_run) + found["sleep"]
    )


@settings(max_examples=15)
@given(program=programs)
def test_program_without_deaths_calls_each_body_once(program: tuple[Op, ...]) -> None:
    run = drive(sync_program.trigger(encoded(program)), [])

    flaky = kinds(program)["flaky"]
    of_run = [n for (run_id, _), n in called.times.items() if run_id == run.id]
    assert sum(of_run) == len(of_run) + flaky
