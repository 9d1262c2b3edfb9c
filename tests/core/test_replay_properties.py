from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from django_workflow.core.exceptions import NonDeterminismError
from django_workflow.core.replay import Completed, Diverged
from tests.core.fakes import MemoryRun
from tests.core.programs import (
    Do,
    Fork,
    Sleep,
    Trace,
    async_workflow,
    expected,
    programs,
    sync_workflow,
    without_patches,
)

# Each example is a run of up to some dozens of passes.
few = settings(max_examples=25)

orders = st.randoms(use_true_random=False)
pass_sizes = st.sampled_from([None, 1, 2])
sync_programs = programs(is_async=False)
async_programs = programs(is_async=True)
doomed_programs = programs(is_async=True, doomed=True)
either = st.one_of(
    st.tuples(st.just(sync_workflow), sync_programs),
    st.tuples(st.just(async_workflow), async_programs),
)


def driven(
    form: Callable[..., Any], program: tuple[Any, ...], order: Random, **options: Any
) -> tuple[MemoryRun, list[Trace], Any]:
    traces: list[Trace] = []
    run = MemoryRun(form(program, traces), **options)
    return run, traces, run.drive(order)


def prefixes(run: MemoryRun) -> list[Any]:
    """Return the outcome of a pass over each beginning of the journal, as a crash might have left it."""
    return [run.run_pass(journal=run.load(until=n)) for n in range(run.sequence + 1)]


@few
@given(either, orders, pass_sizes)
def test_any_order_of_completion_gives_the_same_result(
    case: tuple[Any, Any], order: Random, size: int | None
) -> None:
    form, program = case

    _, _, outcome = driven(form, program, order, steps_per_pass=size)

    assert outcome == Completed(expected(program))


@few
@given(either, orders, orders)
def test_any_order_of_completion_meets_the_same_keys(
    case: tuple[Any, Any], order: Random, other: Random
) -> None:
    form, program = case

    run, _, _ = driven(form, program, order)
    again, _, _ = driven(form, program, other)

    assert run.keys == again.keys


@few
@given(st.one_of(either, st.tuples(st.just(async_workflow), doomed_programs)), orders, pass_sizes)
def test_replay_sees_what_was_seen_and_executes_nothing(
    case: tuple[Any, Any], order: Random, size: int | None
) -> None:
    form, program = case
    run, traces, outcome = driven(form, program, order, steps_per_pass=size)
    called = list(run.called)

    replayed = run.run_pass()

    assert replayed == outcome
    assert traces[-1] == traces[-2]
    assert run.called == called


@few
@given(st.one_of(either, st.tuples(st.just(async_workflow), doomed_programs)), orders)
def test_every_beginning_of_a_journal_fits_the_code_that_wrote_it(
    case: tuple[Any, Any], order: Random
) -> None:
    form, program = case
    run, _, _ = driven(form, program, order, steps_per_pass=1)
    run.steps_per_pass = 0

    outcomes = prefixes(run)

    assert [outcome for outcome in outcomes if isinstance(outcome, Diverged)] == []


@few
@given(doomed_programs, orders)
def test_async_pass_over_less_sees_the_beginning_of_what_a_pass_over_more_sees(
    program: tuple[Any, ...], order: Random
) -> None:
    run, traces, _ = driven(async_workflow, program, order, steps_per_pass=1)
    whole = traces[-1].events
    del traces[:]
    run.steps_per_pass = 0

    prefixes(run)

    assert [trace.events for trace in traces] == [whole[: len(trace.events)] for trace in traces]


@few
@given(either, orders, pass_sizes, st.sets(st.integers(1, 12)))
def test_crash_repeats_the_body_it_interrupted_and_no_other(
    case: tuple[Any, Any], order: Random, size: int | None, crashes: set[int]
) -> None:
    form, program = case

    run, _, outcome = driven(form, program, order, steps_per_pass=size, crashes=crashes)

    repeats = sum(run.calls.values()) - len(run.calls)
    assert outcome == Completed(expected(program))
    assert repeats == len([crash for crash in crashes if crash <= len(run.called)])


@few
@given(either, orders, orders, st.integers(0, 20))
def test_code_behind_patched_may_be_put_anywhere_in_a_run_that_is_under_way(
    case: tuple[Any, Any], order: Random, later: Random, moment: int
) -> None:
    form, program = case
    run, _, _ = driven(form, without_patches(program), order, steps_per_pass=1)
    run.go_back(moment)
    run.function = form(program, [])

    outcome = run.drive(later)

    assert isinstance(outcome, Completed)
    assert run.run_pass() == outcome


kinds = st.sampled_from([Do, Sleep])
lines = st.lists(
    st.builds(lambda kind, name: kind(name), kinds, st.sampled_from("abcdefgh")),
    min_size=1,
    max_size=6,
    unique_by=lambda node: node.name,
)


def in_root(line: list[Any]) -> tuple[Any, ...]:
    return tuple(line)


def in_branch(line: list[Any]) -> tuple[Any, ...]:
    return (Fork("parallel", ((Do("other"),), tuple(line))),)


def in_task(line: list[Any]) -> tuple[Any, ...]:
    return (Fork("gather", (tuple(line), (Do("other"),))),)


def called(node: Any) -> str:
    return f'{"run" if isinstance(node, Do) else "sleep"} "{node.name}"'


@pytest.mark.parametrize(
    ("form", "placed"),
    [
        (sync_workflow, in_root),
        (sync_workflow, in_branch),
        (async_workflow, in_root),
        (async_workflow, in_branch),
        (async_workflow, in_task),
    ],
)
@few
@given(lines, orders, st.data())
def test_changed_step_among_recorded_or_pending_ones_is_named_beside_the_old_one(
    form: Any, placed: Any, line: list[Any], order: Random, data: st.DataObject
) -> None:
    run, _, _ = driven(form, placed(line), order, steps_per_pass=1)
    run.go_back(data.draw(st.integers(1, run.sequence)))
    known = [node for node in line if node.name in {r.name for r in run.stored.values()}]
    assume(known)
    place = data.draw(st.integers(0, len(known) - 1))
    code = data.draw(st.sampled_from(CHANGES))(line, place)
    assume(code != line)
    executed = list(run.called)

    outcome = run.run_pass(function=form(placed(code), []))

    assert isinstance(outcome, Diverged)
    assert isinstance(outcome.error, NonDeterminismError)
    assert outcome.error.expected == called(known[place])
    assert (outcome.error.found or "").startswith(
        called(code[place]) if place < len(code) else "nothing"
    )
    assert run.called == executed


def inserted(line: list[Any], place: int) -> list[Any]:
    return [*line[:place], Do("new"), *line[place:]]


def removed(line: list[Any], place: int) -> list[Any]:
    return line[:place] + line[place + 1 :]


def renamed(line: list[Any], place: int) -> list[Any]:
    return [*line[:place], type(line[place])("new"), *line[place + 1 :]]


def swapped(line: list[Any], place: int) -> list[Any]:
    return [*line[:place], *line[place + 1 : place + 2], line[place], *line[place + 2 :]]


def of_other_kind(line: list[Any], place: int) -> list[Any]:
    other = Sleep if isinstance(line[place], Do) else Do
    return [*line[:place], other(line[place].name), *line[place + 1 :]]


CHANGES = [inserted, removed, renamed, swapped, of_other_kind]
