from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random
from typing import Any

import pytest

from django_workflow.core.exceptions import (
    InvalidOptionError,
    StepError,
)
from django_workflow.core.replay import (
    Completed,
    Suspended,
)
from tests.core.fakes import STARTED_AT, MemoryRun
from tests.core.outcomes import (
    Ctx,
    error_of,
    fail,
    leave,
    one,
    open_in,
    recorded,
    three,
    waiting,
)


def test_parallel_returns_in_the_order_given() -> None:
    run = MemoryRun(lambda ctx: ctx.parallel(lambda: ctx.run("a", str, 1), lambda: "no step"))

    assert run.drive() == Completed(("1", "no step"))


def test_parallel_of_nothing_is_empty() -> None:
    assert MemoryRun(lambda ctx: ctx.parallel()).turn() == Completed(())


def test_turn_finds_the_open_step_of_every_branch_and_executes_none() -> None:
    run = MemoryRun(
        lambda ctx: ctx.parallel(
            lambda: ctx.run("a", one), lambda: ctx.sleep("b", 1), lambda: ctx.run("c", one)
        )
    )

    assert open_in(run.turn()) == ["p1.0/a", "p1.1/b", "p1.2/c"]
    assert run.called == []


def failing_branches(ctx: Ctx, *, return_errors: bool = False) -> Any:
    return ctx.parallel(
        lambda: ctx.run("a", fail, "first"),
        lambda: ctx.run("b", one),
        lambda: ctx.run("c", fail, "third"),
        return_errors=return_errors,
    )


@pytest.mark.parametrize(
    ("order", "first", "other"), [("abc", "first", "third"), ("cba", "third", "first")]
)
def test_parallel_raises_the_error_that_was_recorded_first_when_all_have_ended(
    order: str, first: str, other: str
) -> None:
    run = waiting(failing_branches)
    keys = {"a": "p1.0/a", "b": "p1.1/b", "c": "p1.2/c"}

    run.deliver(keys[order[0]])
    assert isinstance(run.turn(), Suspended)
    run.deliver(keys[order[1]])
    run.deliver(keys[order[2]])
    error = error_of(run.turn())

    assert isinstance(error, StepError)
    assert error.failure.message == first
    assert [str(one) for one in error.others] == [  # type: ignore[attr-defined]
        f'Step "{order[2]}" gave up after 1 attempt: ValueError: {other}'
    ]


def test_parallel_returns_errors_in_place_where_asked() -> None:
    run = MemoryRun(lambda ctx: list(map(type, failing_branches(ctx, return_errors=True))))

    assert run.drive() == Completed([StepError, int, StepError])


def test_error_of_a_branch_without_steps_comes_first() -> None:
    def workflow(ctx: Ctx) -> None:
        ctx.parallel(lambda: ctx.run("a", fail, "step"), lambda: fail("code"))

    assert str(error_of(MemoryRun(workflow).drive())) == "code"


def test_system_exit_of_a_branch_waits_for_the_other_branches() -> None:
    run = MemoryRun(lambda ctx: ctx.parallel(leave, lambda: ctx.run("b", one)))

    assert open_in(run.turn()) == ["p1.1/b"]
    assert isinstance(error_of(run.drive()), SystemExit)


@pytest.mark.parametrize("given", [1, "a", None, [one]])
def test_branch_is_a_function(given: Any) -> None:
    outcome = MemoryRun(lambda ctx: ctx.parallel(given)).turn()

    assert isinstance(error_of(outcome), InvalidOptionError)
    assert "Branch 0 of ctx.parallel is" in str(error_of(outcome))


def test_branches_made_by_a_loop_over_one_variable_are_refused() -> None:
    def workflow(ctx: Ctx) -> Any:
        return ctx.parallel(*[lambda: ctx.run(f"item {item}", one) for item in "ab"])  # noqa: B023

    outcome = MemoryRun(workflow).turn()

    assert isinstance(error_of(outcome), InvalidOptionError)
    assert "Branches 0 and 1" in str(error_of(outcome))
    assert "ctx.map" in str(error_of(outcome))


def test_branches_that_a_function_makes_are_told_apart() -> None:
    def branch(ctx: Ctx, item: str) -> Callable[[], str]:
        return lambda: ctx.run(item, str, item)

    run = MemoryRun(lambda ctx: ctx.parallel(*[branch(ctx, item) for item in "ab"]))

    assert run.drive() == Completed(("a", "b"))


def test_order_of_completion_does_not_matter_to_a_join() -> None:
    runs = [MemoryRun(three) for _ in range(5)]

    outcomes = [run.drive(Random(seed)) for seed, run in enumerate(runs)]

    assert outcomes == [Completed(([1, 1], [1, 1], [1, 1]))] * 5
    assert len({tuple(run.order) for run in runs}) > 1


def drawn(ctx: Ctx) -> list[Any]:
    return [ctx.uuid(), ctx.uuid(), ctx.random(), ctx.random(), ctx.now()]


def test_values_are_the_same_at_replay_and_differ_by_place() -> None:
    seen: list[list[Any]] = []

    def workflow(ctx: Ctx) -> None:
        first = drawn(ctx)
        inside = ctx.parallel(lambda: drawn(ctx), lambda: drawn(ctx))
        ctx.run("a", one)
        seen.append([first, *inside, drawn(ctx)])

    run = MemoryRun(workflow)
    run.drive()
    run.run_pass()

    assert seen[0] == seen[1]
    flat = [value for part in seen[0] for value in part[:4]]
    assert len(set(flat)) == len(flat)
    assert all(0 <= number < 1 for part in seen[0] for number in part[2:4])


def test_now_is_when_the_branch_was_last_handed_something() -> None:
    def workflow(ctx: Ctx) -> list[datetime]:
        moments = [ctx.now()]
        ctx.run("a", one)
        moments.append(ctx.now())
        inside = ctx.parallel(ctx.now, lambda: [ctx.run("b", one), ctx.now()][1], ctx.now)
        return [*moments, *inside, ctx.now()]

    outcome = MemoryRun(workflow).drive()

    seconds = [0, 1, 1, 2, 1, 2]
    assert outcome == Completed([STARTED_AT + timedelta(seconds=s) for s in seconds])


def test_record_without_a_time_leaves_the_time_as_it_was() -> None:
    run = recorded(lambda ctx: ctx.run("a", one))
    run.stored["a"] = run.stored["a"]._replace(finished_at=None)

    assert run.run_pass(function=lambda ctx: [ctx.run("a", one), ctx.now()][1]) == Completed(
        STARTED_AT
    )
