"""The line of a singleton among threads: one run at a time from its begin to its end, in the order of the triggers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event, Lock
from time import sleep
from typing import Any

import pytest
from django.db import transaction

from django_workflow import Singleton, WorkflowContext, workflow
from django_workflow.core.singleton_lines import line_of
from django_workflow.models import FlowTicket, Run
from django_workflow.runtime.sweeper import sweep
from django_workflow.runtime.worker import drain
from django_workflow.store import singleton_lines
from tests.concurrency.together import Threads, finished

pytestmark = pytest.mark.django_db(transaction=True)

TRIGGERS = 20
LINE = line_of("queue_quick", "*")


class Living:
    """Tells which runs are between their first body and their last, and how many were so at once."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.clear()

    def clear(self) -> None:
        self.inside: set[str] = set()
        self.begun: list[str] = []
        self.most = 0

    def enter(self, run_id: str) -> None:
        with self._lock:
            self.begun.append(run_id)
            self.inside.add(run_id)
            self.most = max(self.most, len(self.inside))

    def leave(self, run_id: str) -> None:
        with self._lock:
            self.inside.discard(run_id)


living = Living()


@workflow(name="queue_crowd", singleton=Singleton(on_conflict="queue"))
def crowd(ctx: WorkflowContext[Any]) -> Any:
    ctx.run("enter", living.enter, ctx.workflow_run_id)
    # No body runs meanwhile, and no delivery is held: the slot is the run's.
    ctx.sleep("rest", 0.02)
    ctx.parallel(lambda: ctx.run("left", sleep, 0.002), lambda: ctx.run("right", sleep, 0.002))
    ctx.run("leave", living.leave, ctx.workflow_run_id)
    return ctx.request_payload


@workflow(name="queue_quick", singleton=Singleton(on_conflict="queue"))
def quick(ctx: WorkflowContext[Any]) -> Any:
    ctx.run("enter", living.enter, ctx.workflow_run_id)
    ctx.run("leave", living.leave, ctx.workflow_run_id)
    return ctx.request_payload


@pytest.fixture(autouse=True)
def nobody_lives() -> None:
    living.clear()


@pytest.mark.timeout(300)
def test_runs_that_many_threads_trigger_begin_one_after_the_other_in_their_order() -> None:
    order: list[str] = []
    triggered = Event()

    def trigger(number: int) -> None:
        with transaction.atomic():
            run = crowd.trigger(number)
            # The key is locked until the commit, so nobody is between the two.
            order.append(run.id)

    def work() -> None:
        while not triggered.is_set() or Run.objects.unfinished().exists():
            drain(seconds=0.2)
            sleep(0.002)

    with ThreadPoolExecutor(TRIGGERS + 2) as pool:
        crew = Threads(pool)
        workers = [crew.start(work) for _ in range(2)]
        try:
            crew.together(*(partial(trigger, number) for number in range(TRIGGERS)))
        finally:
            triggered.set()
        for worker in workers:
            worker.result(240)

    assert living.most == 1
    assert living.begun == order
    assert len(order) == TRIGGERS
    assert Run.objects.filter(status="completed").count() == TRIGGERS
    assert not FlowTicket.objects.exists()
    assert not Run.objects.stuck().exists()


def test_run_whose_holder_died_at_its_end_is_found_by_the_sweep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = quick.trigger(1), quick.trigger(2)
    with monkeypatch.context() as dying:
        dying.setattr(singleton_lines, "has_ended", lambda run_id: False)
        finished(first)
    assert second.refresh().status == "pending"
    assert not Run.objects.stuck().exists()

    sweep(force=True)

    assert finished(second).result == 2


def test_trigger_that_died_after_its_commit_is_found_by_the_sweep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as dying:
        dying.setattr(transaction, "on_commit", lambda *args, **options: None)
        run = quick.trigger("found")
    drain()
    assert run.refresh().status == "pending"

    sweep(force=True)

    assert finished(run).result == "found"


@pytest.mark.timeout(120)
def test_those_who_move_the_line_on_at_once_let_one_run_begin(crew: Threads) -> None:
    runs = quick.trigger_many([1, 2, 3])
    FlowTicket.objects.update(state="waiting")

    crew.together(*[partial(singleton_lines.settle, LINE)] * 4)

    assert list(FlowTicket.objects.exclude(state="waiting").values_list("run_id", flat=True)) == [
        runs[0].id
    ]


@pytest.mark.timeout(120)
def test_cancelling_and_moving_on_at_once_leave_nobody_behind(crew: Threads) -> None:
    runs = quick.trigger_many(list(range(8)))

    crew.together(*(run.cancel for run in runs[:6]), *[partial(singleton_lines.settle, LINE)] * 2)
    sweep(force=True)

    assert not Run.objects.stuck().exists()
    for run in runs[6:]:
        finished(run)
    sweep(force=True)
    assert not FlowTicket.objects.exists()
    assert living.most == 1
