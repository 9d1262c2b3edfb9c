from __future__ import annotations

import asyncio
import gc
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import timedelta
from random import Random
from typing import Any, NoReturn

import pytest
from asgiref.sync import sync_to_async

from django_workflow.core import idle_loop
from django_workflow.core.exceptions import (
    ArgumentDrift,
    InvalidOptionError,
    MisplacedStepError,
    NonDeterminismError,
    StepError,
    UndecodableValueError,
)
from django_workflow.core.replay import Cancelled, Completed, Diverged, Raised, Suspended
from tests.core.fakes import STARTED_AT, Crash, MemoryRun
from tests.core.outcomes import (
    Ctx,
    divergence_in,
    error_of,
    fail,
    leave,
    one,
    open_in,
    recorded,
    swallowed_in,
    waiting,
)


def line(names: str) -> Callable[[Ctx], Any]:
    """Return a workflow with one step after the other."""

    async def workflow(ctx: Ctx) -> list[Any]:
        return [await ctx.run(name, one) for name in names]

    return workflow


def gathered(*names: str) -> Callable[[Ctx], Any]:
    """Return a workflow of tasks side by side, each a line."""

    async def workflow(ctx: Ctx) -> list[Any]:
        return await asyncio.gather(*(line(part)(ctx) for part in names))

    return workflow


# Identity.


def test_tasks_are_branches_numbered_by_their_parent() -> None:
    async def workflow(ctx: Ctx) -> None:
        await ctx.run("a", one)
        await asyncio.gather(ctx.run("a", one), gathered("a", "a")(ctx))
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.run("a", one))
        await ctx.run("a", one)

    run = recorded(workflow)

    assert run.keys == {"a", "t1/a", "t2/t1/a", "t2/t2/a", "t3/a", "a#2"}


def test_parallel_has_the_paths_it_has_in_sync_code() -> None:
    async def workflow(ctx: Ctx) -> Any:
        inner = ctx.parallel(lambda: ctx.run("a", one), ctx.run("a", one))
        return await ctx.parallel(ctx.run("a", one), inner)

    run = MemoryRun(workflow)

    assert run.drive() == Completed((1, (1, 1)))
    assert run.keys == {"p1.0/a", "p1.1/p1.0/a", "p1.1/p1.1/a"}


def test_branches_progress_independently() -> None:
    run = waiting(gathered("abc", "xyz"))

    run.deliver("t1/a")
    run.turn()
    run.deliver("t1/b")

    assert open_in(run.turn()) == ["t2/x", "t1/c"]


def test_task_made_by_a_callback_does_not_change_the_numbers_of_others() -> None:
    async def workflow(ctx: Ctx) -> Any:
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        loop.call_soon(lambda: done.set_result(loop.create_task(ctx.run("stray", one))))
        await asyncio.create_task(ctx.run("a", one))
        return await (await done)

    run = MemoryRun(workflow)

    assert run.drive() == Completed(1)
    assert run.keys == {"x1/stray", "t1/a"}


# A pass.


def test_single_open_step_is_executed_on_the_stack_with_the_loop_stopped() -> None:
    def body() -> bool:
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        return True

    async def workflow(ctx: Ctx) -> list[Any]:
        return [await ctx.run("a", body), await ctx.run("b", body)]

    run = MemoryRun(workflow)

    assert run.turn() == Completed([True, True])
    assert run.passes == 1


def test_turn_finds_all_open_steps_and_executes_none() -> None:
    run = MemoryRun(gathered("a", "b", "c"))

    assert open_in(run.turn()) == ["t1/a", "t2/b", "t3/c"]
    assert run.called == []


def test_recorded_step_is_not_executed() -> None:
    run = recorded(line("ab"))

    assert run.run_pass() == Completed([1, 1])
    assert run.called == ["a", "b"]


def test_step_error_is_the_same_at_first_and_at_replay() -> None:
    async def workflow(ctx: Ctx) -> str:
        try:
            await ctx.run("a", fail, "out of stock")
        except StepError as error:
            return str(error)
        return ""

    run = MemoryRun(workflow, retries=1)

    assert run.drive() == run.run_pass()
    assert run.run_pass() == Completed(
        'Step "a" gave up after 2 attempts: ValueError: out of stock'
    )


def test_error_of_the_function_is_the_outcome() -> None:
    async def workflow(_: Ctx) -> None:
        fail("no")

    assert str(error_of(MemoryRun(workflow).turn())) == "no"


@pytest.mark.parametrize("how", ["root", "gather", "group", "parallel"])
def test_system_exit_of_user_code_is_its_outcome(how: str) -> None:
    async def leaving() -> None:
        leave()

    async def workflow(ctx: Ctx) -> None:
        match how:
            case "root":
                leave()
            case "gather":
                await asyncio.gather(leaving())
            case "group":
                async with asyncio.TaskGroup() as group:
                    group.create_task(leaving())
            case "parallel":
                await ctx.parallel(leaving)

    assert isinstance(error_of(MemoryRun(workflow).turn()), SystemExit)


def test_exit_that_is_no_task_s_outcome_goes_through() -> None:
    async def workflow(_: Ctx) -> None:
        asyncio.get_running_loop().call_soon(leave)
        await asyncio.sleep(0.1)

    with pytest.raises(SystemExit):
        MemoryRun(workflow).turn()


def test_keyboard_interrupt_goes_through() -> None:
    async def workflow(ctx: Ctx) -> None:
        waiting = asyncio.create_task(ctx.run("a", one))
        await asyncio.sleep(0)
        assert not waiting.done()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        MemoryRun(workflow).turn()


def test_workflow_that_cancels_itself_has_raised() -> None:
    async def workflow(_: Ctx) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    assert isinstance(error_of(MemoryRun(workflow).turn()), asyncio.CancelledError)


def test_foreign_exception_that_leaves_the_stack_goes_through() -> None:
    class Custom(BaseException):
        pass

    async def workflow(_: Ctx) -> NoReturn:
        raise Custom

    with pytest.raises(Custom):
        MemoryRun(workflow).turn()


def test_trouble_of_the_host_leaves_the_pass_past_user_code() -> None:
    class Broken(MemoryRun):
        def execute(self, *_: Any) -> Any:
            raise ConnectionError("away")

    async def workflow(ctx: Ctx) -> str:
        try:
            await ctx.run("a", one)
        except Exception:
            await ctx.run("b", one)
        return "went on"

    with pytest.raises(ConnectionError, match="away"):
        Broken(workflow).turn()


def test_crash_between_body_and_record_repeats_the_body() -> None:
    run = MemoryRun(line("ab"), crashes=[2])

    with pytest.raises(Crash):
        run.turn()

    assert run.drive() == Completed([1, 1])
    assert run.called == ["a", "b", "b"]


# It replays as it went.


async def racing(ctx: Ctx) -> list[str]:
    """Let three lines run, and note in which order their steps came back."""
    seen: list[str] = []

    async def runner(name: str) -> None:
        for lap in range(3):
            await ctx.run(f"{name}{lap}", one)
            seen.append(f"{name}{lap}")

    await asyncio.gather(runner("a"), runner("b"), runner("c"))
    await ctx.run(f"{seen[0]} was first", one)
    return seen


@pytest.mark.parametrize("seed", range(6))
def test_what_depended_on_who_was_first_goes_the_same_way_again(seed: int) -> None:
    run = MemoryRun(racing)

    live = run.drive(Random(seed))
    replayed = run.run_pass()

    names = [run.stored[key].name for key in run.order]
    assert live == replayed == Completed(names[:-1])
    assert names[-1] == f"{names[0]} was first"


def test_several_new_records_are_handed_out_as_they_were_recorded() -> None:
    run = waiting(racing)

    for key in ("t3/c0", "t1/a0", "t2/b0"):
        run.deliver(key)
    run.turn()
    for key in ("t2/b1", "t3/c1", "t1/a1"):
        run.deliver(key)
    outcome = run.drive()

    assert isinstance(outcome, Completed)
    assert outcome.value[:6] == ["c0", "a0", "b0", "b1", "c1", "a1"]


def test_first_of_several_is_found_again() -> None:
    async def workflow(ctx: Ctx) -> tuple[str, Any]:
        tasks = [asyncio.create_task(ctx.run(name, str, name)) for name in "abc"]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        (first,) = done
        return first.result(), await ctx.run("after", one)

    run = waiting(workflow)
    run.deliver("t2/b")

    assert run.drive() == Completed(("b", 1))
    run.deliver("t1/a", until=0)
    assert run.order == ["t2/b", "after", "t1/a"]
    assert run.run_pass() == Completed(("b", 1))


def test_queues_and_locks_replay_too() -> None:
    async def workflow(ctx: Ctx) -> list[str]:
        queue: asyncio.Queue[str] = asyncio.Queue()
        eaten: list[str] = []
        lock = asyncio.Lock()

        async def feed(name: str) -> None:
            await ctx.run(name, one)
            await queue.put(name)

        async def eat() -> None:
            for _ in range(2):
                name = await queue.get()
                async with lock:
                    await ctx.run(f"eat {name}", one)
                    eaten.append(name)

        await asyncio.gather(*map(feed, "abcd"), eat(), eat())
        return eaten

    runs = [MemoryRun(workflow) for _ in range(6)]

    outcomes = [run.drive(Random(seed)) for seed, run in enumerate(runs)]

    assert [run.run_pass() for run in runs] == outcomes
    assert len({str(outcome) for outcome in outcomes}) > 1


def test_now_is_when_the_run_was_last_handed_something() -> None:
    async def workflow(ctx: Ctx) -> list[Any]:
        before = await ctx.now()
        moments = await asyncio.gather(*(at(ctx, name) for name in "ab"))
        return [before, *moments, await ctx.now()]

    async def at(ctx: Ctx, name: str) -> Any:
        await ctx.run(name, one)
        return await ctx.now()

    run = waiting(workflow)
    run.deliver("t2/b")
    run.deliver("t1/a")

    outcome = run.turn()

    assert outcome == Completed([STARTED_AT + timedelta(seconds=s) for s in (0, 2, 1, 2)])
    assert run.run_pass() == outcome


def test_values_are_the_same_at_replay_and_differ_by_place() -> None:
    async def draw(ctx: Ctx) -> list[Any]:
        return [await ctx.uuid(), await ctx.uuid(), await ctx.random()]

    async def workflow(ctx: Ctx) -> list[Any]:
        parts = await asyncio.gather(draw(ctx), draw(ctx))
        await ctx.run("a", one)
        return [*await draw(ctx), *parts[0], *parts[1]]

    run = MemoryRun(workflow)

    outcome = run.drive()

    assert isinstance(outcome, Completed)
    assert len(set(outcome.value)) == 9
    assert run.run_pass() == outcome


# Order.


@pytest.mark.parametrize(
    ("now", "expected", "found"),
    [
        ("xabc", 'run "a"', 'run "x"'),
        ("axbc", 'run "b"', 'run "x"'),
        ("ac", 'run "b"', 'run "c"'),
        ("acb", 'run "b"', 'run "c"'),
        ("ab", 'run "c"', "nothing: it returned"),
    ],
)
@pytest.mark.parametrize("placed", [line, lambda names: gathered("o", names)])
def test_code_that_does_not_meet_the_recorded_order_has_diverged(
    placed: Callable[[str], Any], now: str, expected: str, found: str
) -> None:
    run = recorded(placed("abc"))
    called = list(run.called)

    error = divergence_in(run.run_pass(function=placed(now)))

    assert (error.expected, error.found) == (expected, found)
    assert run.called == called


def test_unrecorded_step_in_the_place_of_a_pending_one_is_not_executed() -> None:
    async def workflow(ctx: Ctx, name: str) -> None:
        await ctx.sleep(name, 1)

    run = waiting(line("a"), steps_per_pass=0)

    error = divergence_in(run.run_pass(function=line("x")))

    assert 'Step run "a" is pending at this place' in str(error)
    assert error.found == 'run "x"'
    assert run.called == []


def test_waiting_elsewhere_than_recorded_has_diverged() -> None:
    async def changed(_: Ctx) -> None:
        await asyncio.Event().wait()

    run = recorded(line("a"))

    assert divergence_in(run.run_pass(function=changed)).found == "nothing there"


def test_other_kind_under_a_recorded_name_has_diverged() -> None:
    async def changed(ctx: Ctx) -> None:
        await ctx.sleep("a", 1)

    run = recorded(line("a"))

    assert divergence_in(run.run_pass(function=changed)).found == 'sleep "a"'


def test_raising_before_what_is_recorded_has_diverged_because_of_the_error() -> None:
    async def changed(_: Ctx) -> None:
        fail("away")

    run = recorded(line("a"))

    assert str(divergence_in(run.run_pass(function=changed)).__cause__) == "away"


def test_user_code_does_not_catch_a_divergence() -> None:
    seen: list[str] = []

    async def changed(ctx: Ctx) -> None:
        for name in "xyz":
            try:
                await ctx.sleep("a", name)
            except Exception as error:
                seen.append(str(error))

    async def kept(ctx: Ctx) -> None:
        try:
            await ctx.sleep("a", 1)
        except Exception as error:
            seen.append(str(error))

    run = recorded(line("a"))

    assert isinstance(run.run_pass(function=kept), Diverged)
    assert seen == []


def test_record_that_cannot_be_read_back_is_a_verdict_that_user_code_does_not_see() -> None:
    async def workflow(ctx: Ctx) -> None:
        try:
            await ctx.run("a", one)
        except Exception:
            await ctx.run("b", one)

    run = recorded(line("a"))
    run.stored["a"] = run.stored["a"]._replace(result_text='{"$":"Money","v":3}')

    assert isinstance(error_of(run.run_pass(function=workflow)), UndecodableValueError)
    assert run.called == ["a"]


def test_recorded_arguments_win_with_a_warning_at_the_line_of_the_verb() -> None:
    async def rest(ctx: Ctx) -> None:
        await ctx.sleep("rest", "1h")

    async def longer(ctx: Ctx) -> None:
        await ctx.sleep("rest", "2h")

    run = recorded(rest)

    with pytest.warns(ArgumentDrift) as caught:
        outcome = run.run_pass(function=longer)

    assert outcome == Completed(None)
    assert caught[0].filename == __file__


def test_handler_has_a_branch_and_a_journal_of_its_own() -> None:
    run = recorded(gathered("a", "b"))
    run.prefix = "failure.1/"

    assert run.run_pass(function=line("ax")) == Completed([1, 1])
    assert run.order[2:] == ["failure.1/a", "failure.1/x"]
    run.prefix = ""
    assert run.run_pass() == Completed([[1], [1]])


async def patched(ctx: Ctx) -> Any:
    async def branch(name: str) -> Any:
        await ctx.run(name, one)
        return await ctx.run("new", str, "new") if ctx.patched("new") else "old"

    results = await asyncio.gather(branch("a"), branch("b"))
    await ctx.run("after", one)
    return results


async def unpatched(ctx: Ctx) -> None:
    await gathered("a", "b")(ctx)
    await ctx.run("after", one)


def test_branches_under_way_take_the_new_code() -> None:
    run = waiting(unpatched)
    run.deliver("t1/a")
    run.function = patched

    assert run.drive() == Completed(["new", "new"])
    assert {"t1/patch:new", "t2/patch:new"} <= set(run.order)


def test_branches_that_were_left_keep_to_the_old_code() -> None:
    run = recorded(unpatched)

    assert run.run_pass(function=patched) == Completed(["old", "old"])


# Parallel.


async def failing_branches(ctx: Ctx, *, return_errors: bool = False) -> Any:
    return await ctx.parallel(
        ctx.run("a", fail, "first"),
        ctx.run("b", one),
        ctx.run("c", fail, "third"),
        return_errors=return_errors,
    )


@pytest.mark.parametrize(
    ("keys", "first", "other"),
    [
        (["p1.0/a", "p1.1/b", "p1.2/c"], "first", "third"),
        (["p1.2/c", "p1.1/b", "p1.0/a"], "third", "first"),
    ],
)
def test_parallel_raises_the_error_that_was_recorded_first_when_all_have_ended(
    keys: list[str], first: str, other: str
) -> None:
    run = waiting(failing_branches)

    run.deliver(keys[0])
    assert isinstance(run.turn(), Suspended)
    run.deliver(keys[1])
    run.deliver(keys[2])
    error = error_of(run.turn())

    assert isinstance(error, StepError)
    assert error.failure.message == first
    assert [one.failure.message for one in error.others] == [other]  # type: ignore[attr-defined]


def test_parallel_returns_errors_in_place_where_asked() -> None:
    async def workflow(ctx: Ctx) -> list[type]:
        return list(map(type, await failing_branches(ctx, return_errors=True)))

    assert MemoryRun(workflow).drive() == Completed([StepError, int, StepError])


def test_parallel_of_nothing_is_empty() -> None:
    async def workflow(ctx: Ctx) -> Any:
        return await ctx.parallel()

    assert MemoryRun(workflow).turn() == Completed(())


def test_refused_parallel_leaves_no_coroutine_behind() -> None:
    async def workflow(ctx: Ctx) -> Any:
        return await ctx.parallel(ctx.run("a", one), 3)

    assert isinstance(error_of(MemoryRun(workflow).turn()), InvalidOptionError)


def test_branch_that_cancels_itself_cancels_the_parallel() -> None:
    async def branch() -> None:
        raise asyncio.CancelledError

    async def workflow(ctx: Ctx) -> Any:
        return await ctx.parallel(branch)

    assert isinstance(error_of(MemoryRun(workflow).turn()), asyncio.CancelledError)


# Step deliveries.


def test_step_delivery_executes_its_step_and_goes_no_further() -> None:
    run = waiting(gathered("ax", "by", "cz"))

    outcome = run.deliver("t2/b")

    assert isinstance(outcome, Suspended)
    assert run.called == ["t2/b"]
    assert run.waiting == ["t1/a", "t3/c"]


def test_step_delivery_whose_step_the_workflow_has_given_up_executes_nothing() -> None:
    run = waiting(doomed)
    run.deliver("t1/a")

    outcome = run.deliver("t2/b")

    assert isinstance(outcome, Suspended)
    assert run.called == ["t1/a"]


def test_step_delivery_gives_no_verdict_on_what_it_waits_for() -> None:
    async def changed(_: Ctx) -> None:
        await asyncio.Event().wait()

    run = waiting(gathered("a", "b"))

    assert run.run_pass(target="t1/a", function=changed) == Suspended(())


# A step that the workflow itself gives up.


async def doomed(ctx: Ctx) -> Any:
    """Fail in one branch of a task group while the other waits, and go on."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.run("a", fail))
            group.create_task(ctx.run("b", one))
    except* StepError:
        pass
    return await ctx.run("after", one)


def test_run_goes_on_without_the_step_it_has_given_up() -> None:
    run = waiting(doomed)
    run.deliver("t1/a")

    assert run.turn() == Completed(1)
    assert run.order == ["t1/a", "after"]
    assert run.run_pass() == Completed(1)


def test_late_record_of_a_step_that_was_given_up_changes_nothing() -> None:
    run = waiting(doomed)
    run.deliver("t1/a")
    run.deliver("t2/b", until=0)

    assert run.turn() == Completed(1)
    assert run.order == ["t1/a", "t2/b", "after"]
    assert run.run_pass() == Completed(1)


def test_step_that_was_recorded_in_time_is_not_given_up() -> None:
    run = waiting(doomed)
    run.deliver("t2/b")
    run.deliver("t1/a")

    assert run.turn() == Completed(1)
    assert run.order == ["t2/b", "t1/a", "after"]


def test_gather_leaves_the_others_running_when_one_fails() -> None:
    async def workflow(ctx: Ctx) -> Any:
        other = asyncio.ensure_future(line("bc")(ctx))
        try:
            await asyncio.gather(ctx.run("a", fail), other)
        except StepError:
            await ctx.run("undo", one)
        return await other

    run = waiting(workflow)
    run.deliver("t2/a")

    assert open_in(run.turn()) == ["t1/b", "undo"]
    assert run.drive() == Completed([1, 1])
    assert run.run_pass() == Completed([1, 1])


def tidy(names: str) -> Callable[[Ctx], Any]:
    async def workflow(ctx: Ctx) -> None:
        try:
            await line(names)(ctx)
        finally:
            await ctx.run("tidy up", one)

    return workflow


@pytest.mark.parametrize("seed", range(4))
def test_cancelled_sibling_may_tidy_up_in_a_step(seed: int) -> None:
    async def workflow(ctx: Ctx) -> str:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(ctx.run("a", fail))
                group.create_task(tidy("bcd")(ctx))
        except* StepError:
            await ctx.run("after", one)
        return "done"

    run = MemoryRun(workflow, steps_per_pass=1)

    assert run.drive(Random(seed)) == Completed("done")
    assert run.calls["t2/tidy up"] == 1
    assert run.run_pass() == Completed("done")


def test_step_given_up_by_a_timeout_lets_the_branch_go_on() -> None:
    async def workflow(ctx: Ctx) -> Any:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.01):
                await ctx.run("slow", one)
        return await line("ab")(ctx)

    run = MemoryRun(workflow, steps_per_pass=1)

    assert run.drive() == Completed([1, 1])
    assert run.order == ["a", "b"]
    assert run.run_pass() == Completed([1, 1])


# Interrupts.


def test_verb_in_finally_is_left_while_the_pass_ends() -> None:
    begun: list[str] = []

    async def workflow(ctx: Ctx) -> None:
        try:
            await ctx.sleep("rest", 1)
        finally:
            begun.append("finally")
            await ctx.run("release", one)
            begun.append("released")

    run = MemoryRun(workflow)

    assert open_in(run.turn()) == ["rest"]
    assert begun == ["finally"]
    run.end_wait("rest")
    assert run.turn() == Completed(None)
    assert run.order == ["rest", "release"]


async def releasing(ctx: Ctx) -> None:
    await ctx.run("release", one)


async def releasing_side_by_side(ctx: Ctx) -> None:
    await ctx.parallel(ctx.run("release", one), ctx.run("tell", one))


async def releasing_in_tasks(ctx: Ctx) -> None:
    await asyncio.gather(ctx.run("release", one), releasing(ctx))


async def releasing_in_a_group(ctx: Ctx) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(releasing(ctx))


async def releasing_in_time(ctx: Ctx) -> None:
    await asyncio.wait_for(ctx.run("release", one), 0.5)


async def asking_for_a_patch(ctx: Ctx) -> None:
    ctx.patched("new")


async def cancelling(ctx: Ctx) -> None:
    await ctx.cancel()


VERBS = [
    releasing,
    releasing_side_by_side,
    releasing_in_tasks,
    releasing_in_a_group,
    releasing_in_time,
    asking_for_a_patch,
    cancelling,
]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_left_while_the_pass_ends(verb: Callable[[Ctx], Any]) -> None:
    async def workflow(ctx: Ctx) -> None:
        try:
            await ctx.sleep("rest", 1)
        finally:
            await verb(ctx)

    run = MemoryRun(workflow)

    assert open_in(run.turn()) == ["rest"]
    assert run.called == []
    assert run.replay is not None
    assert run.replay.markers == []


def test_async_with_block_may_ask_at_its_end() -> None:
    @asynccontextmanager
    async def locked(ctx: Ctx) -> AsyncIterator[None]:
        await ctx.run("lock", one)
        try:
            yield
        finally:
            await ctx.run("unlock", one)

    async def workflow(ctx: Ctx) -> None:
        async with locked(ctx):
            await ctx.sleep("rest", 1)

    run = recorded(workflow)

    assert run.order == ["lock", "rest", "unlock"]


async def numbers(ctx: Ctx) -> AsyncIterator[int]:
    try:
        yield 1
        yield 2
    finally:
        await ctx.run("put back", one)


def test_generator_that_is_closed_as_the_pass_ends_may_ask_at_its_end() -> None:
    async def workflow(ctx: Ctx) -> None:
        async with aclosing(numbers(ctx)) as given:  # type: ignore[type-var]
            async for number in given:
                await ctx.sleep(f"rest {number}", 1)

    run = recorded(workflow)

    assert run.order == ["rest 1", "rest 2", "put back"]


def test_generator_that_is_dropped_as_the_pass_ends_may_ask_at_its_end() -> None:
    async def workflow(ctx: Ctx) -> None:
        async for number in numbers(ctx):
            await ctx.sleep(f"rest {number}", 1)

    run = recorded(workflow)

    assert run.order == ["rest 1", "rest 2", "put back"]


def test_generator_that_is_still_held_is_closed_with_the_pass() -> None:
    closed: list[int] = []

    async def counting() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            closed.append(1)

    async def workflow(ctx: Ctx) -> None:
        ctx.kept = counting()
        await anext(ctx.kept)
        await ctx.sleep("rest", 1)

    run = MemoryRun(workflow)
    assert isinstance(run.turn(), Suspended)

    assert closed == [1]


async def swallowing_then_asking(ctx: Ctx) -> Any:
    with suppress(BaseException):
        await ctx.sleep("rest", 1)
    return await ctx.run("b", one)


async def swallowing_then_returning(ctx: Ctx) -> str:
    with suppress(BaseException):
        await ctx.sleep("rest", 1)
    return "done"


async def swallowing_then_raising(ctx: Ctx) -> None:
    with suppress(BaseException):
        await ctx.sleep("rest", 1)
    fail()


async def swallowing_what_tasks_raise(ctx: Ctx) -> str:
    with suppress(BaseException):
        await asyncio.gather(ctx.sleep("rest", 1))
    return "done"


async def swallowing_around_a_group(ctx: Ctx) -> str:
    with suppress(BaseException):
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.sleep("rest", 1))
    return "done"


async def swallowing_in_a_group(ctx: Ctx) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(swallowing_then_asking(ctx))


async def swallowing_and_raising_in_a_group(ctx: Ctx) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(swallowing_then_raising(ctx))


async def swallowing_in_a_branch(ctx: Ctx) -> None:
    await ctx.parallel(swallowing_then_asking(ctx))


async def swallowing_for_ever(ctx: Ctx) -> None:
    while True:
        with suppress(BaseException):
            await ctx.sleep("rest", 1)


@pytest.mark.parametrize(
    "workflow",
    [
        swallowing_then_asking,
        swallowing_then_returning,
        swallowing_then_raising,
        swallowing_what_tasks_raise,
        swallowing_around_a_group,
        swallowing_in_a_group,
        swallowing_and_raising_in_a_group,
        swallowing_in_a_branch,
    ],
)
def test_swallowed_interrupt_is_refused(workflow: Callable[[Ctx], Any]) -> None:
    run = MemoryRun(workflow)

    error = swallowed_in(run.turn())

    assert error.step == "rest"
    assert "`except Exception:`" in str(error)
    assert run.stored == {}


# Python itself complains of a coroutine that cannot be closed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_function_that_swallows_whatever_it_is_sent_hangs_nothing() -> None:
    error = swallowed_in(MemoryRun(swallowing_for_ever).turn())
    gc.collect()

    assert error.step == "rest"


def test_gather_that_returns_exceptions_swallows_nothing() -> None:
    async def workflow(ctx: Ctx) -> Any:
        results = await asyncio.gather(
            ctx.run("a", fail), ctx.run("b", one), return_exceptions=True
        )
        return [type(result) for result in results]

    run = MemoryRun(workflow)

    assert open_in(run.turn()) == ["t1/a", "t2/b"]
    assert run.drive() == Completed([StepError, int])


def test_group_of_cancellations_is_a_cancellation() -> None:
    async def workflow(ctx: Ctx) -> None:
        try:
            await ctx.sleep("rest", 1)
        except asyncio.CancelledError as error:
            raise BaseExceptionGroup("as some libraries do", [error]) from None

    assert open_in(MemoryRun(workflow).turn()) == ["rest"]


def test_task_that_ends_when_it_is_cancelled_swallows_nothing() -> None:
    async def workflow(ctx: Ctx) -> Any:
        queue: asyncio.Queue[str] = asyncio.Queue()

        async def consumer() -> None:
            with suppress(asyncio.CancelledError):
                while True:
                    await ctx.run(await queue.get(), one)
                    queue.task_done()

        task = asyncio.create_task(consumer())
        for name in "ab":
            await queue.put(name)
        await queue.join()
        task.cancel()
        await task
        return await ctx.run("after", str, "done")

    run = MemoryRun(workflow, steps_per_pass=1)

    assert run.drive() == Completed("done")
    assert run.order == ["t1/a", "t1/b", "after"]


def test_awaiting_a_task_that_was_cancelled_swallows_nothing() -> None:
    async def resting(ctx: Ctx) -> None:
        try:
            await ctx.sleep("rest", 1)
        finally:
            await ctx.sleep("tidy up", 1)

    async def workflow(ctx: Ctx) -> Any:
        task = asyncio.create_task(resting(ctx))
        await ctx.run("begin", one)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return await ctx.run("after", one)

    run = waiting(workflow)
    run.deliver("begin")

    assert open_in(run.turn()) == ["t1/tidy up"]
    assert run.drive() == Completed(1)
    assert run.order == ["begin", "t1/tidy up", "after"]
    assert run.run_pass() == Completed(1)


# Background tasks.


def test_tasks_that_nobody_awaits_end_with_the_pass() -> None:
    ended: list[str] = []

    async def background(ctx: Ctx) -> None:
        try:
            await line("xyz")(ctx)
        finally:
            ended.append("background")

    async def workflow(ctx: Ctx) -> tuple[Any, Any]:
        task = asyncio.create_task(background(ctx))
        return await ctx.run("a", one), task.done()

    run = waiting(workflow)
    run.deliver("a")

    assert run.turn() == Completed((1, False))
    assert ended == ["background", "background", "background"]
    assert run.called == ["a"]


def test_error_of_a_task_that_nobody_awaits_makes_no_noise(caplog: Any) -> None:
    async def background() -> None:
        fail()

    async def workflow(ctx: Ctx) -> Any:
        task = asyncio.create_task(background())
        await ctx.run("a", one)
        return task.done()

    assert MemoryRun(workflow).turn() == Completed(True)
    assert caplog.records == []


def test_task_that_has_not_begun_when_the_function_returns_makes_no_noise() -> None:
    async def workflow(ctx: Ctx) -> int:
        ctx.task = asyncio.create_task(line("a")(ctx))
        return 1

    run = MemoryRun(workflow)

    assert run.turn() == Completed(1)
    assert run.stored == {}


def test_branch_that_has_not_begun_when_the_pass_ends_makes_no_noise() -> None:
    async def workflow(ctx: Ctx) -> int:
        ctx.task = asyncio.create_task(ctx.parallel(ctx.run("a", one)))
        return 1

    run = MemoryRun(workflow)

    assert run.turn() == Completed(1)
    assert run.stored == {}
    gc.collect()


def test_tasks_of_a_pass_have_all_ended_after_it() -> None:
    tasks: list[asyncio.Task[Any]] = []

    async def shielded(task: asyncio.Task[Any]) -> None:
        await asyncio.shield(task)

    async def workflow(ctx: Ctx) -> None:
        tasks.extend(asyncio.create_task(ctx.sleep(name, 1)) for name in "abc")
        tasks.append(asyncio.create_task(shielded(tasks[0])))
        await asyncio.wait(tasks)

    MemoryRun(workflow).turn()

    assert [task.done() for task in tasks] == [True] * 4


def test_task_that_refuses_to_end_is_refused_and_makes_no_noise() -> None:
    async def workflow(_: Ctx) -> None:
        event = asyncio.Event()
        while True:
            with suppress(asyncio.CancelledError):
                await event.wait()

    async def beside(ctx: Ctx) -> None:
        ctx.task = asyncio.create_task(workflow(ctx))
        await ctx.sleep("rest", 1)

    assert "then did not end" in str(swallowed_in(MemoryRun(beside).turn()))


# Cancel.


async def cancel_in_root(ctx: Ctx) -> None:
    await ctx.run("a", one)
    await ctx.cancel()


async def cancel_in_branch(ctx: Ctx) -> None:
    await ctx.run("a", one)
    await ctx.parallel(ctx.sleep("rest", 1), ctx.cancel())


async def cancel_in_task(ctx: Ctx) -> None:
    await ctx.run("a", one)
    await asyncio.gather(ctx.sleep("rest", 1), ctx.cancel(), return_exceptions=True)


async def cancel_in_group(ctx: Ctx) -> None:
    await ctx.run("a", one)
    async with asyncio.TaskGroup() as group:
        group.create_task(ctx.sleep("rest", 1))
        group.create_task(ctx.cancel())


async def cancel_in_background(ctx: Ctx) -> None:
    task = asyncio.create_task(ctx.cancel())
    await ctx.run("a", one)
    await ctx.run(f"after {task}", one)


async def cancel_with_finally(ctx: Ctx) -> None:
    await ctx.run("a", one)
    try:
        await ctx.cancel()
    finally:
        await ctx.run("release", one)


@pytest.mark.parametrize(
    "workflow",
    [cancel_in_root, cancel_in_branch, cancel_in_task, cancel_in_group, cancel_with_finally],
)
def test_cancel_ends_the_run_from_wherever_it_is_called(workflow: Callable[[Ctx], Any]) -> None:
    run = MemoryRun(workflow)

    assert run.turn() == Cancelled()
    assert run.order == ["a"]


def test_cancel_in_the_background_ends_the_pass_at_once() -> None:
    run = MemoryRun(cancel_in_background)

    assert run.turn() == Cancelled()
    assert run.order == []


# What may be awaited between steps.


def read() -> str:
    return threading.current_thread().name


@pytest.mark.parametrize(
    "reading",
    [
        lambda: asyncio.to_thread(read),
        lambda: asyncio.get_running_loop().run_in_executor(None, read),
        lambda: sync_to_async(read, thread_sensitive=True)(),
        lambda: sync_to_async(read, thread_sensitive=False)(),
    ],
    ids=["to_thread", "run_in_executor", "sync_to_async", "insensitive"],
)
def test_code_between_steps_may_read_in_a_thread(reading: Callable[[], Any]) -> None:
    async def branch(ctx: Ctx, name: str) -> bool:
        names = [await reading()]
        await ctx.run(name, one)
        names.append(await reading())
        return threading.current_thread().name not in names

    async def workflow(ctx: Ctx) -> Any:
        return await asyncio.gather(branch(ctx, "a"), branch(ctx, "b"))

    run = MemoryRun(workflow)

    assert open_in(run.turn()) in (["t1/a", "t2/b"], ["t2/b", "t1/a"])
    assert run.drive() == Completed([True, True])
    assert run.run_pass() == Completed([True, True])


def test_nothing_is_handed_out_while_a_thread_is_at_work() -> None:
    release = threading.Event()
    seen: list[str] = []

    async def reader() -> None:
        await asyncio.to_thread(release.wait, 5)
        seen.append("read")

    async def workflow(ctx: Ctx) -> None:
        task = asyncio.create_task(reader())
        threading.Timer(0.02, release.set).start()
        await ctx.run("a", one)
        seen.append("a")
        await task

    run = MemoryRun(workflow)
    run.turn()
    release.clear()
    run.run_pass()

    assert seen == ["read", "a", "read", "a"]


def test_socket_is_waited_for() -> None:
    async def workflow(ctx: Ctx) -> bytes:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        data = await reader.read()
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
        await ctx.run("a", one)
        return data

    async def answer(_: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()
        await writer.wait_closed()

    assert MemoryRun(workflow).turn() == Completed(b"hello")


def test_socket_that_stays_open_is_an_error_of_the_workflow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(idle_loop, "LONGEST_WAIT_SECONDS", 0.05)

    async def workflow(ctx: Ctx) -> None:
        ctx.server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        try:
            await ctx.run("a", one)
        finally:
            ctx.server.close()

    run = MemoryRun(workflow)
    outcome = run.turn()

    assert isinstance(outcome, Raised)
    assert isinstance(outcome.error, TimeoutError)
    assert "close connections before you ask for a step" in str(outcome.error)
    assert run.called == []


def test_socket_that_is_never_closed_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle_loop, "LONGEST_WAIT_SECONDS", 0.05)
    here, there = socket.socketpair()

    async def workflow(ctx: Ctx) -> None:
        asyncio.get_running_loop().add_reader(here, one)
        with suppress(asyncio.CancelledError):
            await ctx.run("a", one)
        await asyncio.Event().wait()

    with here, there:
        outcome = MemoryRun(workflow).turn()

    assert isinstance(error_of(outcome), TimeoutError)


@pytest.mark.parametrize(
    "waiting_for",
    [
        lambda: asyncio.sleep(5),
        lambda: asyncio.timeout(5).__aenter__(),
        lambda: asyncio.wait_for(asyncio.get_running_loop().create_future(), 5),
    ],
    ids=["sleep", "timeout", "wait_for"],
)
def test_long_timer_is_refused_and_the_step_named_that_does_it(
    waiting_for: Callable[[], Any],
) -> None:
    async def workflow(_: Ctx) -> None:
        await waiting_for()

    error = error_of(MemoryRun(workflow).turn())

    assert isinstance(error, InvalidOptionError)
    assert "A timer of 5 s" in str(error)
    assert "ctx.sleep" in str(error)


def test_short_timers_are_waited_for() -> None:
    async def workflow(ctx: Ctx) -> Any:
        await asyncio.sleep(0.01)
        async with asyncio.timeout(0.5):
            await asyncio.sleep(0)
        return await line("ab")(ctx)

    assert MemoryRun(workflow).turn() == Completed([1, 1])


def test_waiting_for_what_no_step_will_end_is_an_error() -> None:
    async def workflow(ctx: Ctx) -> None:
        await ctx.run("a", one)
        await asyncio.Event().wait()

    outcome = MemoryRun(workflow).turn()

    assert isinstance(outcome, Diverged)
    assert isinstance(outcome.error, MisplacedStepError)
    assert "waits for something that no step will end (run run-1)" in str(outcome.error)


# Where verbs may stand.


async def patch(ctx: Ctx) -> None:
    ctx.patched("inner")


MISPLACED = [
    releasing,
    releasing_side_by_side,
    patch,
    lambda ctx: ctx.uuid(),
    lambda ctx: ctx.random(),
    cancelling,
]


@pytest.mark.parametrize("verb", MISPLACED)
def test_steps_do_not_nest(verb: Callable[[Ctx], Any]) -> None:
    async def workflow(ctx: Ctx) -> None:
        await ctx.run("outer", lambda: asyncio.run(verb(ctx)))

    error = error_of(MemoryRun(workflow).turn())

    assert isinstance(error, StepError)
    assert error.failure.error_class == "django_workflow.core.exceptions.MisplacedStepError"


@pytest.mark.parametrize("verb", MISPLACED)
def test_verb_is_refused_when_its_pass_has_ended(verb: Callable[[Ctx], Any]) -> None:
    kept: list[Any] = []

    async def workflow(ctx: Ctx) -> None:
        kept.append(ctx)

    MemoryRun(workflow).turn()

    with pytest.raises(MisplacedStepError, match="outside the pass"):
        asyncio.run(verb(kept[0]))


def test_verb_is_refused_in_another_thread() -> None:
    async def workflow(ctx: Ctx) -> None:
        await asyncio.to_thread(asyncio.run, releasing(ctx))

    assert isinstance(error_of(MemoryRun(workflow).turn()), MisplacedStepError)


def test_verb_is_refused_without_a_loop() -> None:
    async def workflow(ctx: Ctx) -> None:
        await asyncio.to_thread(ctx.patched, "new")

    assert isinstance(error_of(MemoryRun(workflow).turn()), MisplacedStepError)


def test_pass_may_be_made_inside_a_body() -> None:
    inner = MemoryRun(line("a"))

    async def workflow(ctx: Ctx) -> Any:
        return await ctx.run("outer", lambda: str(inner.turn()))

    assert MemoryRun(workflow).turn() == Completed("Completed(value=[1])")


@pytest.mark.parametrize("name", ["", None, "x" * 201])
def test_name_is_checked(name: Any) -> None:
    async def workflow(ctx: Ctx) -> None:
        await ctx.run(name, one)

    assert isinstance(error_of(MemoryRun(workflow).turn()), InvalidOptionError)


def test_divergence_is_a_non_determinism_error() -> None:
    assert isinstance(
        divergence_in(recorded(line("a")).run_pass(function=line(""))), NonDeterminismError
    )
