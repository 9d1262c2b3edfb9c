from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import pytest

from django_workflow.core.replay import (
    Cancelled,
    Completed,
)
from tests.core.fakes import MemoryRun
from tests.core.outcomes import (
    Ctx,
    error_of,
    fail,
    one,
    open_in,
    swallowed_in,
)


def test_verb_in_finally_is_left_while_the_interrupt_unwinds() -> None:
    order: list[str] = []

    def workflow(ctx: Ctx) -> None:
        try:
            ctx.sleep("rest", 1)
        finally:
            order.append("finally")
            ctx.run("release", order.append, "released")
            order.append("never in a pass that waits")

    run = MemoryRun(workflow)

    first = run.turn()
    assert open_in(first) == ["rest"]
    assert order == ["finally"]
    run.end_wait("rest")
    assert run.turn() == Completed(None)
    assert run.order == ["rest", "release"]


def test_verb_in_finally_is_executed_when_the_code_raises() -> None:
    def workflow(ctx: Ctx) -> None:
        try:
            fail()
        finally:
            ctx.run("release", one)

    run = MemoryRun(workflow)

    assert isinstance(error_of(run.turn()), ValueError)
    assert run.order == ["release"]


def test_with_block_may_ask_at_its_end() -> None:
    @contextmanager
    def locked(ctx: Ctx) -> Iterator[None]:
        ctx.run("lock", one)
        try:
            yield
        finally:
            ctx.run("unlock", one)

    def workflow(ctx: Ctx) -> None:
        with locked(ctx):
            ctx.sleep("rest", 1)

    run = MemoryRun(workflow)
    run.drive()

    assert run.order == ["lock", "rest", "unlock"]


def numbers(ctx: Ctx) -> Generator[int, None, None]:
    try:
        yield 1
        yield 2
    finally:
        ctx.run("put back", one)


def test_generator_that_is_closed_by_the_interrupt_may_ask_at_its_end() -> None:
    def workflow(ctx: Ctx) -> None:
        with closing(numbers(ctx)) as given:
            for number in given:
                ctx.sleep(f"rest {number}", 1)

    run = MemoryRun(workflow)
    run.drive()

    assert run.order == ["rest 1", "rest 2", "put back"]


def test_generator_that_is_dropped_with_the_stack_may_ask_at_its_end() -> None:
    def workflow(ctx: Ctx) -> None:
        for number in numbers(ctx):
            ctx.sleep(f"rest {number}", 1)

    run = MemoryRun(workflow)
    run.drive()

    assert run.order == ["rest 1", "rest 2", "put back"]


def test_handled_errors_in_finally_do_not_hide_the_interrupt() -> None:
    def workflow(ctx: Ctx) -> None:
        try:
            ctx.sleep("rest", 1)
        finally:
            try:
                fail()
            except ValueError:
                ctx.run("report", one)

    run = MemoryRun(workflow)

    assert open_in(run.turn()) == ["rest"]
    assert run.called == []


def ask(ctx: Ctx) -> Any:
    return ctx.run("b", one)


def ask_side_by_side(ctx: Ctx) -> Any:
    return ctx.parallel(lambda: ctx.run("b", one))


def ask_for_a_patch(ctx: Ctx) -> Any:
    return ctx.patched("new")


def ask_to_cancel(ctx: Ctx) -> Any:
    ctx.cancel()


VERBS = [ask, ask_side_by_side, ask_for_a_patch, ask_to_cancel]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_left_while_the_interrupt_unwinds(verb: Callable[[Ctx], Any]) -> None:
    def workflow(ctx: Ctx) -> None:
        try:
            ctx.sleep("rest", 1)
        finally:
            verb(ctx)

    run = MemoryRun(workflow)

    assert open_in(run.turn()) == ["rest"]
    assert run.called == []
    assert run.replay is not None
    assert run.replay.markers == []


@pytest.mark.parametrize("verb", VERBS)
def test_verb_after_a_swallowed_interrupt_is_refused(verb: Callable[[Ctx], Any]) -> None:
    def workflow(ctx: Ctx) -> None:
        with suppress(BaseException):
            ctx.sleep("rest", 1)
        verb(ctx)

    run = MemoryRun(workflow)

    error = swallowed_in(run.turn())

    assert error.step == "rest"
    assert 'at step "rest" was caught, and the workflow then asked for' in str(error)
    assert "`except Exception:`" in str(error)
    assert run.stored == {}


def test_returning_after_a_swallowed_interrupt_is_refused() -> None:
    def workflow(ctx: Ctx) -> str:
        with suppress(BaseException):
            ctx.sleep("rest", 1)
        return "done"

    assert "the workflow then returned" in str(swallowed_in(MemoryRun(workflow).turn()))


def test_raising_something_else_after_an_interrupt_is_refused() -> None:
    def workflow(ctx: Ctx) -> None:
        try:
            ctx.sleep("rest", 1)
        except BaseException as interrupt:
            raise ValueError("no") from interrupt

    assert "the workflow then raised ValueError" in str(swallowed_in(MemoryRun(workflow).turn()))


@pytest.mark.parametrize("then", [one, fail], ids=["returns", "raises"])
def test_interrupt_swallowed_in_a_branch_is_refused(then: Callable[[], Any]) -> None:
    def branch(ctx: Ctx) -> Any:
        with suppress(BaseException):
            ctx.sleep("rest", 1)
        return then()

    run = MemoryRun(lambda ctx: ctx.parallel(lambda: branch(ctx), lambda: ctx.run("b", one)))

    assert swallowed_in(run.turn()).step == "rest"
    assert run.stored == {}


def test_interrupt_of_a_parallel_that_is_swallowed_is_refused() -> None:
    def workflow(ctx: Ctx) -> Any:
        with suppress(BaseException):
            ctx.parallel(lambda: ctx.run("a", one), lambda: ctx.run("b", one))
        return ctx.run("after", one)

    run = MemoryRun(workflow)

    assert swallowed_in(run.turn()).step == "a"
    assert run.called == []


def test_cancel_ends_the_pass_and_the_run() -> None:
    run = MemoryRun(lambda ctx: [ctx.run("a", one), ctx.cancel(), ctx.run("b", one)])

    assert run.turn() == Cancelled()
    assert run.called == ["a"]


def test_cancel_in_a_branch_ends_the_run() -> None:
    run = MemoryRun(lambda ctx: ctx.parallel(lambda: ctx.run("a", one), lambda: ctx.cancel()))

    assert run.turn() == Cancelled()
    assert run.called == []


def test_verb_in_finally_is_left_while_the_cancel_unwinds() -> None:
    def workflow(ctx: Ctx) -> None:
        try:
            ctx.parallel(lambda: ctx.cancel())
        finally:
            ctx.run("release", one)

    run = MemoryRun(workflow)

    assert run.turn() == Cancelled()
    assert run.called == []


def test_cancel_that_is_swallowed_is_refused() -> None:
    def workflow(ctx: Ctx) -> None:
        with suppress(BaseException):
            ctx.cancel()

    assert swallowed_in(MemoryRun(workflow).turn()).step == ""
