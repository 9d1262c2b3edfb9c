"""A child's end that meets its parent's cancel, registration, timeout: one outcome, nothing lost, nobody locked out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.db import transaction

from django_workflow import RunStateError, WorkflowContext, workflow
from django_workflow.models import Delivery, Run, Step
from django_workflow.runtime import endings, invoking
from django_workflow.runtime.invoking import tell_parent
from django_workflow.runtime.worker import drain
from django_workflow.store import children, runs
from tests.concurrency.together import Gate, Threads, bodies, finished
from tests.store.made import PAST

pytestmark = pytest.mark.django_db(transaction=True)


@workflow(name="children_leaf")
def leaf(ctx: WorkflowContext[Any]) -> Any:
    return ctx.run("work", bodies, "work")


@workflow(name="children_sleeper")
def sleeper(ctx: WorkflowContext[Any]) -> None:
    ctx.sleep("rest", "1h")


@workflow(name="children_parent")
def parent(ctx: WorkflowContext[Any]) -> Any:
    return ctx.using(timeout="1h").invoke("child", ctx.request_payload or leaf)


@workflow(name="children_many")
def many(ctx: WorkflowContext[Any]) -> Any:
    return ctx.parallel(*[partial(ctx.invoke, f"child {n}", leaf) for n in range(20)])


@workflow(name="children_of_children")
def grandparent(ctx: WorkflowContext[Any]) -> Any:
    return ctx.parallel(
        lambda: ctx.invoke("left", parent, "children_sleeper"),
        lambda: ctx.invoke("right", parent, "children_sleeper"),
    )


def waiting_parent(child: str = "children_leaf") -> tuple[Run, Run]:
    """Return a run that waits for its child, which has not begun."""
    run: Run = parent.trigger(child)
    drain(only=[run.id])
    return run, run.children.get()


def cancel(run: Run) -> bool:
    try:
        run.cancel()
    except RunStateError:
        return False
    return True


def dies(*args: Any, **options: Any) -> None:
    """Do nothing, as the dead."""


def rest() -> None:
    """Work off what is left, after the leases of the dead are over."""
    Delivery.objects.exclude(leased_by="").update(due_at=PAST)
    drain()
    assert not Run.objects.stuck().exists()


@pytest.mark.parametrize("time", range(5))
def test_ends_of_many_children_at_one_moment_reach_their_parent_once_each(
    time: int, crew: Threads
) -> None:
    run = many.trigger()

    crew.together(drain, drain, drain, drain)

    assert finished(run).result == finished(run).result
    assert sorted(run.result) == list(range(1, 21))
    assert not Delivery.objects.exists()


@pytest.mark.parametrize("time", range(10))
def test_childs_end_and_parents_cancel_at_one_moment_have_one_outcome(
    time: int, crew: Threads
) -> None:
    run, child = waiting_parent()

    crew.together(drain, partial(cancel, run), drain)
    rest()

    found = (run.refresh().status, child.refresh().status)
    assert found in [
        ("completed", "completed"),
        ("cancelled", "completed"),
        ("cancelled", "cancelled"),
    ]
    assert not Delivery.objects.exists()


@pytest.mark.parametrize("time", range(10))
def test_registration_of_a_child_and_parents_cancel_at_one_moment_leave_no_child(
    time: int, crew: Threads
) -> None:
    run = parent.trigger("children_sleeper")

    crew.together(partial(drain, only=[run.id]), partial(cancel, run))
    rest()

    assert run.refresh().status == "cancelled"
    assert set(run.children.values_list("status", flat=True)) <= {"cancelled"}
    assert not Delivery.objects.exists()


@pytest.mark.pg_only
def test_cancel_that_waits_for_a_registration_takes_its_child_along(
    crew: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    run = parent.trigger("children_sleeper")
    insert = children.triggers.insert

    def held(new: Any) -> Any:
        done = insert(new)
        gate.hold()
        return done

    with monkeypatch.context() as registering:
        registering.setattr(children.triggers, "insert", held)
        passing = crew.start(partial(drain, only=[run.id]))
        gate.await_arrival()
        cancelling = crew.start(cancel, run)
        gate.open()
        passing.result(30)
        assert cancelling.result(30)
    rest()

    assert run.refresh().status == "cancelled"
    assert run.children.get().status == "cancelled"


@pytest.mark.parametrize("time", range(10))
def test_childs_end_and_the_timeout_of_its_step_at_one_moment_have_one_outcome(
    time: int, crew: Threads
) -> None:
    run, child = waiting_parent()
    Step.objects.filter(run=run).update(wake_at=PAST)
    Delivery.objects.filter(run=run).update(due_at=PAST)

    crew.together(drain, drain, drain)
    rest()

    assert child.refresh().status == "completed"
    assert run.refresh().status in {"completed", "failed"}
    assert Step.objects.get(run=run).status == run.status


@pytest.mark.parametrize("last", ["record_end", "end_telling"])
def test_process_that_dies_before_it_has_told_the_parent_is_covered_by_the_childs_turn(
    last: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, child = waiting_parent()
    with monkeypatch.context() as dying:
        if last == "record_end":
            dying.setattr(endings, "tell_parent", dies)
        else:
            dying.setattr(children, "end_telling", dies)
        drain(only=[child.id])
    assert child.refresh().status == "completed"
    assert Delivery.objects.filter(run=child).exclude(due_at=None).exists()
    assert not Run.objects.stuck().exists()

    rest()

    assert run.refresh().result == 1
    assert not child.refresh().parent_waits
    assert not Delivery.objects.exists()


def test_telling_a_parent_many_times_at_one_moment_is_telling_it_once(crew: Threads) -> None:
    run, child = waiting_parent()
    with pytest.MonkeyPatch.context() as dying:
        dying.setattr(endings, "tell_parent", dies)
        drain(only=[child.id])

    crew.together(*[partial(tell_parent, child.id)] * 4)

    assert finished(run).result == 1
    assert Step.objects.filter(run=run).count() == 1


@pytest.mark.parametrize("survives", range(6))
def test_cascade_over_three_levels_goes_on_where_its_process_has_died(
    survives: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = grandparent.trigger()
    drain()
    usual: Callable[..., Any] = runs.cancel
    calls = iter(range(100))

    def mortal(run_id: str, **options: Any) -> Any:
        if next(calls) > survives:
            raise SystemError("The process is dead.")
        return usual(run_id, **options)

    with monkeypatch.context() as dying:
        dying.setattr(runs, "cancel", mortal)
        run.cancel()
        drain()
        assert not Run.objects.stuck().exists()
    Delivery.objects.exclude(due_at=None).update(due_at=PAST)
    rest()

    assert set(Run.objects.values_list("status", flat=True)) == {"cancelled"}
    assert Run.objects.count() == 5
    assert not Delivery.objects.exists()


@pytest.mark.pg_only
def test_transaction_that_cancels_parent_and_child_locks_no_telling_out(crew: Threads) -> None:
    run, child = waiting_parent()
    gate = Gate()
    with pytest.MonkeyPatch.context() as dying:
        dying.setattr(endings, "tell_parent", dies)
        drain(only=[child.id])

    def cancel_in_one() -> None:
        with transaction.atomic():
            run.cancel()
            gate.hold()
            cancel(child)

    cancelling = crew.start(cancel_in_one)
    gate.await_arrival()
    telling = crew.start(invoking.tell_parent, child.id)
    gate.open()
    cancelling.result(30)
    telling.result(30)
    rest()

    assert (run.refresh().status, child.refresh().status) == ("cancelled", "completed")
    assert not Delivery.objects.exists()
