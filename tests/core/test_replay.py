from __future__ import annotations

import weakref
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NoReturn

import pytest

from django_workflow.core.codec import codec
from django_workflow.core.exceptions import (
    InvalidOptionError,
    StepError,
    StepTimeoutError,
    UndecodableValueError,
)
from django_workflow.core.replay import (
    Completed,
    Raised,
    Suspended,
)
from tests.core.fakes import Crash, MemoryRun
from tests.core.outcomes import (
    Ctx,
    divergence_in,
    error_of,
    fail,
    leave,
    line,
    one,
    open_in,
    recorded,
    three,
    waiting,
)


class Weekday(StrEnum):
    MONDAY = "monday"


class Custom(BaseException):
    """What a library may use to leave the stack."""


# Identity.


def test_step_is_known_by_name_and_occurrence() -> None:
    run = recorded(lambda ctx: [ctx.run("a", one), ctx.run("b", one), ctx.run("a", one)])

    assert run.order == ["a", "b", "a#2"]


def test_branches_have_paths_of_their_own() -> None:
    def workflow(ctx: Ctx) -> None:
        ctx.parallel(
            lambda: ctx.run("a", one),
            lambda: ctx.parallel(lambda: ctx.run("a", one), lambda: ctx.run("a", one)),
        )
        ctx.parallel(lambda: ctx.run("a", one))

    run = recorded(workflow)

    assert run.keys == {"p1.0/a", "p1.1/p1.0/a", "p1.1/p1.1/a", "p2.0/a"}


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("a", "a", "a#2"),
        ("p1.0/a", "p1.0//a#1", "p1.0//a#2"),
        ("a#2", "a#2#1", "a#2#2"),
        ("/", "//#1", "//#2"),
        ("#", "##1", "##2"),
    ],
)
def test_name_that_reads_as_a_branch_or_an_occurrence_is_escaped(
    name: str, first: str, second: str
) -> None:
    run = recorded(lambda ctx: [ctx.run(name, one), ctx.run(name, one)])

    assert run.order == [first, second]


def test_branches_progress_independently() -> None:
    run = waiting(
        lambda ctx: ctx.parallel(
            lambda: [ctx.run("a", one), ctx.run("b", one), ctx.run("c", one)],
            lambda: ctx.sleep("long", "1d"),
        )
    )

    run.deliver("p1.0/a")
    run.turn()
    run.deliver("p1.0/b")

    assert open_in(run.turn()) == ["p1.0/c", "p1.1/long"]


@pytest.mark.parametrize("name", ["", None, 3, b"a", ["a"]])
def test_name_is_text_that_is_not_empty(name: Any) -> None:
    outcome = MemoryRun(lambda ctx: ctx.run(name, one)).turn()

    assert isinstance(error_of(outcome), InvalidOptionError)
    assert f"found {name!r} (run run-1)" in str(error_of(outcome))


@pytest.mark.parametrize("name", ["x" * 201, "/" * 200, "nul\x00", "half \ud800"])
def test_name_that_cannot_be_stored_is_refused(name: str) -> None:
    run = MemoryRun(lambda ctx: ctx.run(name, one))

    outcome = run.turn()

    assert isinstance(error_of(outcome), InvalidOptionError)
    assert run.called == []


def test_longest_name_is_taken() -> None:
    run = recorded(lambda ctx: ctx.run("x" * 200, one))

    assert run.order == ["x" * 200]


def test_subclass_of_text_names_as_plain_text() -> None:
    run = recorded(lambda ctx: ctx.run(Weekday.MONDAY, one))

    assert [type(record.name) for record in run.stored.values()] == [str]
    assert run.order == ["monday"]


# A pass.


def test_recorded_step_returns_its_record_and_is_not_executed() -> None:
    run = recorded(lambda ctx: ctx.run("a", one))

    outcome = run.run_pass(function=lambda ctx: ctx.run("a", fail))

    assert outcome == Completed(1)
    assert run.called == ["a"]


@pytest.mark.parametrize(
    "value", [None, 0, "", [], (1, "a"), {"at": datetime(2030, 1, 1, tzinfo=UTC)}]
)
def test_value_is_the_decoded_form_already_at_the_first_pass(value: Any) -> None:
    given: list[Any] = []
    run = MemoryRun(lambda ctx: given.append(ctx.run("a", lambda: value)))

    run.turn()
    run.run_pass()

    assert given == [value, value]
    assert [type(one) for one in given] == [type(value)] * 2
    assert given[0] is not given[1] or value in (None, 0, "")


def test_pass_goes_on_on_the_stack_while_the_host_records() -> None:
    run = MemoryRun(lambda ctx: [ctx.run(name, one) for name in "abc"])

    run.turn()

    assert (run.passes, run.order) == (1, ["a", "b", "c"])


def test_pass_ends_where_the_host_has_to_wait() -> None:
    run = MemoryRun(lambda ctx: [ctx.run(name, one) for name in "abc"], steps_per_pass=2)

    outcome = run.run_pass()

    assert open_in(outcome) == ["c"]
    assert run.order == ["a", "b"]


def test_pass_that_waits_is_freed_without_the_garbage_collector() -> None:
    run = waiting(lambda ctx: ctx.parallel(lambda: ctx.sleep("a", 1), lambda: ctx.sleep("b", 1)))
    run.run_pass()

    held = weakref.ref(run.replay)
    run.replay = None

    assert held() is None


def test_waiting_step_is_returned_with_its_record_once_it_is_registered() -> None:
    run = MemoryRun(lambda ctx: ctx.sleep("rest", "1h"))

    first, second = run.turn(), run.turn()

    assert isinstance(first, Suspended)
    assert isinstance(second, Suspended)
    assert first.steps[0][1] is None
    assert second.steps[0][1] == run.stored["rest"]


def test_failed_attempt_leaves_the_step_open_until_its_next_one() -> None:
    answers = iter([fail, one])
    run = MemoryRun(lambda ctx: ctx.run("a", lambda: next(answers)()), retries=1)

    first = run.turn()
    second = run.turn()

    assert open_in(first) == ["a"]
    assert second == Completed(1)
    assert run.stored["a"].attempts == 2


def test_return_value_and_error_of_the_function_are_the_outcome() -> None:
    error = ValueError("no")

    def workflow(_: Ctx) -> NoReturn:
        raise error

    assert MemoryRun(lambda _: {"a": 1}).turn() == Completed({"a": 1})
    assert MemoryRun(workflow).turn() == Raised(error)


def test_system_exit_of_user_code_is_its_outcome() -> None:
    outcome = MemoryRun(lambda _: leave()).turn()

    assert isinstance(error_of(outcome), SystemExit)


@pytest.mark.parametrize("error", [KeyboardInterrupt, Custom])
def test_other_exceptions_that_leave_the_stack_go_through(error: type[BaseException]) -> None:
    def workflow(_: Ctx) -> NoReturn:
        raise error

    with pytest.raises(error):
        MemoryRun(workflow).turn()


def test_pass_may_be_made_inside_a_body() -> None:
    inner = MemoryRun(lambda ctx: ctx.run("inner", one))
    outer = MemoryRun(lambda ctx: ctx.run("outer", lambda: str(inner.turn())))

    outcome = outer.turn()

    assert outcome == Completed("Completed(value=1)")


# What a failed step raises.


def caught(ctx: Ctx) -> Any:
    try:
        ctx.run("a", fail, "out of stock")
    except StepError as error:
        return str(error), error.step, error.attempts, error.failure.message, type(error).__name__
    return ()


def test_step_error_is_the_same_at_first_and_at_replay() -> None:
    run = MemoryRun(caught, retries=2)

    live = run.drive()
    replayed = run.run_pass()

    text = 'Step "a" gave up after 3 attempts: ValueError: out of stock'
    assert live == replayed == Completed((text, "a", 3, "out of stock", "StepError"))


def test_step_error_that_is_not_caught_is_what_the_run_ends_with() -> None:
    run = MemoryRun(lambda ctx: ctx.run("a", fail))

    outcome = run.turn()

    assert isinstance(error_of(outcome), StepError)
    assert "1 attempt:" in str(error_of(outcome))


def test_system_exit_of_a_body_is_its_failure() -> None:
    outcome = MemoryRun(lambda ctx: ctx.run("a", leave)).turn()

    assert isinstance(error_of(outcome), StepError)


def test_timeout_of_a_body_has_an_error_of_its_own() -> None:
    run = recorded(lambda ctx: ctx.run("a", fail))
    failure = codec.loads(run.stored["a"].failure_text or "")
    failure["error_class"] = "django_workflow.core.exceptions.StepTimeoutError"
    run.stored["a"] = run.stored["a"]._replace(failure_text=codec.dumps(failure, what="failure"))

    assert isinstance(error_of(run.run_pass()), StepTimeoutError)


def test_record_that_cannot_be_read_back_is_a_verdict_that_user_code_does_not_see() -> None:
    run = recorded(lambda ctx: ctx.run("a", one))
    run.stored["a"] = run.stored["a"]._replace(result_text='{"$":"Money","v":3}')

    def workflow(ctx: Ctx) -> str:
        try:
            ctx.run("a", one)
        except Exception:
            ctx.run("b", one)
        return "went on"

    outcome = run.run_pass(function=workflow)

    assert isinstance(error_of(outcome), UndecodableValueError)
    assert '"Money"' in str(error_of(outcome))
    assert run.called == ["a"]


# Step deliveries.


def test_step_delivery_executes_its_step_and_goes_no_further() -> None:
    run = waiting(three)

    outcome = run.deliver("p1.1/b")

    assert run.called == ["p1.1/b"]
    assert isinstance(outcome, Suspended)
    assert run.waiting == ["p1.0/a", "p1.2/c"]


def test_step_delivery_runs_no_code_behind_its_step() -> None:
    behind: Any = []
    run = waiting(
        lambda ctx: ctx.parallel(
            lambda: behind.extend([ctx.run("a", one)]),
            lambda: behind.extend([2]) or ctx.run("b", one),
        )
    )
    behind.clear()

    run.deliver("p1.0/a")

    assert behind == []


def test_step_delivery_whose_step_is_not_reached_executes_nothing() -> None:
    run = waiting(three)

    outcome = run.run_pass(target="p1.1/b", function=lambda ctx: ctx.sleep("other", 1))

    assert open_in(outcome) == ["other"]
    assert run.called == []


def test_step_delivery_leaves_what_it_does_not_meet_to_the_turn() -> None:
    run = waiting(three)

    assert run.run_pass(target="p1.1/b", function=lambda _: "ended") == Completed("ended")


def test_step_that_is_recorded_already_is_not_executed_again() -> None:
    run = waiting(three)

    run.deliver("p1.1/b")
    run.deliver("p1.1/b")

    assert run.called == ["p1.1/b"]


def test_single_step_that_has_a_delivery_is_left_to_it() -> None:
    run = waiting(lambda ctx: ctx.parallel(lambda: ctx.run("a", one), lambda: ctx.run("b", one)))
    run.deliver("p1.0/a")

    assert open_in(run.turn()) == ["p1.1/b"]
    assert run.called == ["p1.0/a"]


# The host.


class Broken(MemoryRun):
    """A run whose store cannot be written."""

    def execute(self, *_: Any) -> Any:
        raise ConnectionError("away")


def test_trouble_of_the_host_leaves_the_pass_past_user_code() -> None:
    seen: list[str] = []

    def workflow(ctx: Ctx) -> str:
        for name in "ab":
            try:
                ctx.run(name, one)
            except Exception as error:
                seen.append(str(error))
        return "went on"

    with pytest.raises(ConnectionError, match="away"):
        Broken(workflow).turn()

    assert seen == []


def test_crash_between_body_and_record_repeats_the_body() -> None:
    run = MemoryRun(line("ab"), crashes=[1])

    with pytest.raises(Crash):
        run.turn()

    assert run.drive() == Completed([1, 1])
    assert run.called == ["a", "a", "b"]


# The failure handler's branch.


def test_handler_has_a_branch_and_a_journal_of_its_own() -> None:
    run = recorded(line("ab"))
    run.prefix = "failure.1/"

    outcome = run.run_pass(function=line("ax"))

    assert outcome == Completed([1, 1])
    assert run.order == ["a", "b", "failure.1/a", "failure.1/x"]


def test_handler_leaves_open_steps_of_the_function_alone() -> None:
    run = waiting(lambda ctx: ctx.sleep("rest", 1))
    run.prefix = "failure.1/"

    assert run.run_pass(function=line("a")) == Completed([1])


def test_records_of_the_handler_do_not_disturb_the_function() -> None:
    run = MemoryRun(line("a"), prefix="failure.1/")
    run.drive()
    run.prefix = ""

    assert run.run_pass(function=line("b")) == Completed([1])


def test_rounds_of_the_handler_do_not_meet() -> None:
    run = MemoryRun(line("ab"), prefix="failure.10/")
    run.drive()
    run.prefix = "failure.1/"

    assert run.run_pass(function=line("c")) == Completed([1])


def test_handler_diverges_from_its_own_records() -> None:
    run = MemoryRun(line("ab"), prefix="failure.1/")
    run.drive()

    outcome = run.run_pass(function=lambda ctx: ctx.parallel(lambda: line("a")(ctx)))

    assert divergence_in(outcome).expected == 'run "a"'
