from __future__ import annotations

import warnings
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from django_workflow.core.exceptions import (
    ArgumentDrift,
    ArgumentDriftError,
    InvalidOptionError,
)
from django_workflow.core.replay import (
    Completed,
    Diverged,
    Suspended,
)
from tests.core.fakes import MemoryRun
from tests.core.outcomes import (
    Ctx,
    divergence_in,
    error_of,
    fail,
    line,
    one,
    open_in,
    recorded,
    three,
    waiting,
)

# Order.


@pytest.mark.parametrize(
    ("now", "expected", "found"),
    [
        ("xabc", 'run "a"', 'run "x"'),
        ("axbc", 'run "b"', 'run "x"'),
        ("ac", 'run "b"', 'run "c"'),
        ("acb", 'run "b"', 'run "c"'),
        ("axc", 'run "b"', 'run "x"'),
        ("abb", 'run "c"', 'run "b"'),
        ("ab", 'run "c"', "nothing: it returned"),
        ("", 'run "a"', "nothing: it returned"),
    ],
)
def test_code_that_does_not_meet_the_recorded_order_has_diverged(
    now: str, expected: str, found: str
) -> None:
    run = recorded(line("abc"))

    error = divergence_in(run.run_pass(function=line(now)))

    assert (error.expected, error.found) == (expected, found)
    assert run.called == ["a", "b", "c"]


def test_divergence_says_where_and_what_to_do() -> None:
    run = recorded(line("abc"))

    error = divergence_in(run.run_pass(function=line("axc")))

    assert str(error) == (
        'Step run "b" was recorded at this place (b), but the workflow now asks for run "x" (run run-1). '
        "Mend the code and resume the run, guard the change with ctx.patched(), or register a new "
        "workflow version."
    )
    assert error.step == "x"


def test_other_kind_under_a_recorded_name_has_diverged() -> None:
    run = recorded(line("a"))

    error = divergence_in(run.run_pass(function=lambda ctx: ctx.atomic("a", one)))

    assert (error.expected, error.found) == ('run "a"', 'atomic "a"')


def test_unrecorded_step_in_the_place_of_a_pending_one_has_diverged() -> None:
    run = waiting(lambda ctx: ctx.sleep("rest", "1h"))

    error = divergence_in(run.run_pass(function=lambda ctx: ctx.sleep("pause", "1h")))

    assert 'Step sleep "rest" is pending at this place' in str(error)
    assert error.found == 'sleep "pause"'


def test_raising_before_what_is_recorded_has_diverged_because_of_the_error() -> None:
    run = recorded(line("ab"))

    def workflow(ctx: Ctx) -> None:
        ctx.run("a", one)
        fail("away")

    error = divergence_in(run.run_pass(function=workflow))

    assert error.found == "nothing: it raised"
    assert str(error.__cause__) == "away"


def test_ending_a_branch_before_what_is_recorded_has_diverged() -> None:
    run = recorded(lambda ctx: ctx.parallel(lambda: line("ab")(ctx), lambda: line("ab")(ctx)))

    outcome = run.run_pass(
        function=lambda ctx: ctx.parallel(lambda: line("ab")(ctx), lambda: line("a")(ctx))
    )

    assert divergence_in(outcome).expected == 'run "b"'


def test_branch_that_was_taken_out_has_diverged() -> None:
    run = waiting(lambda ctx: ctx.parallel(lambda: line("a")(ctx), lambda: line("b")(ctx)))

    outcome = run.run_pass(function=lambda ctx: ctx.parallel(lambda: line("a")(ctx)))

    assert divergence_in(outcome).expected == 'run "b"'
    assert divergence_in(outcome).found == "nothing: it waits elsewhere"


def test_new_wait_in_front_of_what_is_recorded_has_diverged() -> None:
    def workflow(ctx: Ctx, *extra: str) -> None:
        ctx.parallel(lambda: line("a")(ctx), lambda: [ctx.sleep(name, 1) for name in extra])
        ctx.run("after", one)

    run = recorded(workflow)

    outcome = run.run_pass(function=lambda ctx: workflow(ctx, "new"))

    assert divergence_in(outcome).expected == 'run "after"'


def test_code_may_be_changed_beyond_what_is_recorded() -> None:
    run = MemoryRun(line("abc"), steps_per_pass=1)
    run.run_pass()

    assert run.run_pass(function=line("ax")) == Completed([1, 1])
    assert run.order == ["a", "x"]


def test_user_code_does_not_catch_a_divergence() -> None:
    run = recorded(line("a"))
    seen: list[str] = []

    def workflow(ctx: Ctx) -> None:
        for name in "bcd":
            try:
                ctx.run(name, one)
            except Exception as error:
                seen.append(str(error))

    assert divergence_in(run.run_pass(function=workflow)).found == 'run "b"'
    assert (seen, run.called) == ([], ["a"])


def test_divergence_in_a_branch_ends_the_pass_at_once() -> None:
    run = recorded(lambda ctx: ctx.parallel(lambda: line("a")(ctx), lambda: line("b")(ctx)))
    begun: list[str] = []

    outcome = run.run_pass(
        function=lambda ctx: ctx.parallel(lambda: line("x")(ctx), lambda: begun.append("second"))
    )

    assert divergence_in(outcome).found == 'run "x"'
    assert begun == []


# Arguments.


def test_recorded_arguments_win_with_a_warning_at_the_line_of_the_verb() -> None:
    run = recorded(lambda ctx: ctx.sleep("rest", "1h"))

    with pytest.warns(ArgumentDrift) as caught:
        outcome = run.run_pass(function=lambda ctx: ctx.sleep("rest", "2h"))

    assert outcome == Completed(None)
    assert [str(warning.message) for warning in caught] == [
        'Step "rest" was recorded with {"seconds":3600.0}, but is now asked for with {"seconds":7200.0} '
        "(run run-1). The recorded arguments win."
    ]
    assert caught[0].filename == __file__


def test_pending_arguments_are_compared_too() -> None:
    run = waiting(lambda ctx: ctx.sleep("rest", "1h"))

    with pytest.warns(ArgumentDrift):
        run.run_pass(function=lambda ctx: ctx.sleep("rest", "2h"))


def test_same_arguments_in_other_words_are_no_drift() -> None:
    run = recorded(lambda ctx: [ctx.sleep("a", "1h"), ctx.sleep_until("b", "2030-01-02")])

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outcome = run.run_pass(
            function=lambda ctx: [
                ctx.sleep("a", timedelta(minutes=60)),
                ctx.sleep_until("b", datetime(2030, 1, 2, tzinfo=UTC)),
            ]
        )

    assert outcome == Completed([None, None])


def test_strict_arguments_make_a_drift_the_verdict() -> None:
    run = recorded(lambda ctx: ctx.sleep("rest", "1h"), strict_arguments=True)

    outcome = run.run_pass(function=lambda ctx: ctx.sleep("rest", "2h"))

    assert isinstance(error_of(outcome), ArgumentDriftError)


def test_drift_is_the_verdict_where_warnings_are_errors() -> None:
    run = recorded(lambda ctx: ctx.sleep("rest", "1h"))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outcome = run.run_pass(function=lambda ctx: ctx.sleep("rest", "2h"))

    assert isinstance(outcome, Diverged)
    assert isinstance(outcome.error, ArgumentDriftError)


# Patched.


def old(ctx: Ctx) -> list[Any]:
    return [ctx.run("a", one), ctx.run("b", one)]


def new(ctx: Ctx) -> list[Any]:
    results = [ctx.run("a", one)]
    if ctx.patched("check"):
        results.append(ctx.run("check", one))
    return [*results, ctx.run("b", one)]


def test_new_run_goes_through_patched_code_and_records_the_marker_first() -> None:
    run = recorded(new)

    assert run.order == ["a", "patch:check", "check", "b"]
    assert run.run_pass() == Completed([1, 1, 1])


def test_run_beyond_the_point_keeps_to_the_old_code() -> None:
    run = recorded(old)

    assert run.run_pass(function=new) == Completed([1, 1])


def test_run_that_waits_beyond_the_point_keeps_to_the_old_code() -> None:
    run = waiting(lambda ctx: [ctx.run("a", one), ctx.sleep("b", 1)])

    def changed(ctx: Ctx) -> None:
        ctx.run("a", one)
        assert not ctx.patched("check")
        ctx.sleep("b", 1)

    assert open_in(run.run_pass(function=changed)) == ["b"]


def test_run_before_the_point_takes_the_new_code() -> None:
    run = MemoryRun(old, steps_per_pass=1)
    run.run_pass()

    run.function = new
    outcome = run.drive()

    assert outcome == Completed([1, 1, 1])


def test_loop_under_way_is_patched_from_where_it_stands() -> None:
    seen: list[list[bool]] = []

    def changed(ctx: Ctx) -> None:
        seen.append([])
        for _ in range(4):
            seen[-1].append(ctx.patched("check"))
            ctx.run("item", one)

    run = MemoryRun(lambda ctx: [ctx.run("item", one) for _ in range(4)])
    run.drive()
    run.go_back(2)
    run.function = changed

    run.drive()
    run.run_pass()

    assert seen == [[False, False, True, True]] * 2
    assert run.order == ["item", "item#2", "patch:check#3", "item#3", "patch:check#4", "item#4"]


def test_branch_without_steps_is_left_behind_when_its_parallel_is() -> None:
    def changed(ctx: Ctx) -> None:
        ctx.parallel(lambda: line("a")(ctx), lambda: ctx.patched("new") and ctx.run("new", one))
        ctx.run("after", one)

    run = recorded(lambda ctx: [ctx.parallel(lambda: line("a")(ctx), lambda: None), line("")(ctx)])
    run.function = lambda ctx: [
        ctx.parallel(lambda: line("a")(ctx), lambda: None),
        ctx.run("after", one),
    ]
    run.drive()

    assert run.run_pass(function=changed) == Completed(None)


def test_point_before_recorded_branches_is_left_behind() -> None:
    run = waiting(lambda ctx: ctx.parallel(lambda: line("a")(ctx), lambda: line("b")(ctx)))

    def changed(ctx: Ctx) -> None:
        assert not ctx.patched("new")
        ctx.parallel(lambda: line("a")(ctx), lambda: line("b")(ctx))

    assert isinstance(run.run_pass(function=changed), Suspended)


def test_branch_beside_another_that_is_further_takes_the_new_code() -> None:
    def workflow(ctx: Ctx) -> Any:
        return ctx.parallel(
            lambda: [ctx.run("a", one), ctx.patched("new")], lambda: line("bc")(ctx)
        )

    run = waiting(workflow)
    run.deliver("p1.1/b")
    run.deliver("p1.0/a")

    assert run.drive() == Completed(([1, True], [1, 1]))


def test_point_before_a_branch_of_markers_and_one_of_steps_is_left_behind() -> None:
    def workflow(ctx: Ctx) -> None:
        ctx.parallel(lambda: ctx.patched("x"), lambda: line("b")(ctx))

    def changed(ctx: Ctx) -> None:
        assert not ctx.patched("new")
        workflow(ctx)

    assert open_in(waiting(workflow).run_pass(function=changed)) == ["p1.1/b"]


def test_step_may_take_the_place_of_a_marker_without_one() -> None:
    run = waiting(lambda ctx: ctx.parallel(lambda: ctx.patched("x"), lambda: ctx.sleep("b", 1)))
    run.function = lambda ctx: ctx.parallel(lambda: line("a")(ctx), lambda: ctx.sleep("b", 1))

    assert run.drive() == Completed(([1], None))


def test_marker_is_registered_with_the_steps_it_stands_before() -> None:
    def workflow(ctx: Ctx) -> None:
        ctx.parallel(lambda: ctx.patched("x") and ctx.run("a", one), lambda: ctx.run("b", one))

    run = waiting(workflow)

    assert run.order == ["p1.0/patch:x"]
    assert run.waiting == ["p1.0/a", "p1.1/b"]
    run.deliver("p1.0/a")
    assert run.called == ["p1.0/a"]


def test_step_delivery_writes_no_markers() -> None:
    run = waiting(three)

    def changed(ctx: Ctx) -> Any:
        return ctx.parallel(
            lambda: line("ax")(ctx),
            lambda: line("by")(ctx),
            lambda: line("cz")(ctx),
            lambda: ctx.patched("more"),
        )

    run.run_pass(target="p1.1/b", function=changed)

    assert run.order == ["p1.1/b"]


def test_marker_that_nothing_asks_for_any_more_is_passed_over() -> None:
    run = recorded(new)

    def cleaned(ctx: Ctx) -> list[Any]:
        return [ctx.run("a", one), ctx.run("check", one), ctx.run("b", one)]

    assert run.run_pass(function=cleaned) == Completed([1, 1, 1])


def test_run_goes_on_behind_a_marker_that_nothing_asks_for() -> None:
    run = waiting(lambda ctx: [ctx.patched("x"), ctx.sleep("rest", 1)])
    run.end_wait("rest")
    run.function = lambda ctx: [ctx.sleep("rest", 1), ctx.run("a", one), ctx.run("b", one)]

    assert run.drive() == Completed([None, 1, 1])


def test_marker_that_was_moved_back_stays_true() -> None:
    run = recorded(new)

    def moved(ctx: Ctx) -> list[Any]:
        results = [ctx.run("a", one), ctx.run("check", one)]
        return [*results, ctx.run("b", one), ctx.patched("check")]

    assert run.run_pass(function=moved) == Completed([1, 1, 1, True])


@pytest.mark.parametrize("patch_id", ["", None, 3, "x" * 250])
def test_patch_id_is_a_name(patch_id: Any) -> None:
    outcome = MemoryRun(lambda ctx: ctx.patched(patch_id)).turn()

    assert isinstance(error_of(outcome), InvalidOptionError)
