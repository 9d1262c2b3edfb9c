"""Pruning beside others who want the same rows: nobody waits for ever, and nobody loses a run that lives again."""

from __future__ import annotations

import signal
import subprocess
import sys
from datetime import timedelta
from threading import Event as Flag
from typing import Any

import pytest
from django.db import transaction
from django.db.models import Q

from django_workflow import FlowControl, Singleton, WorkflowContext, workflow
from django_workflow.core.exceptions import RunNotFoundError, RunStateError
from django_workflow.core.types import RunStatus
from django_workflow.models import Event, FlowKey, FlowTicket, Run, RunLabel, Step, TriggerKey
from django_workflow.runtime.client import DjangoRuntime
from django_workflow.runtime.pruning import Selection, prune_keys
from django_workflow.runtime.sweeper import sweep
from django_workflow.runtime.waiting import send
from django_workflow.runtime.worker import drain
from django_workflow.store import claims, completions, deletion, events, runs, triggers
from tests.concurrency.together import Threads
from tests.store.made import FAILURE, new_run

pytestmark = pytest.mark.django_db(transaction=True)

AGE = timedelta(0)
ENDED = Selection(ages=dict.fromkeys(("completed", "failed"), AGE))


def make(*run_ids: str, status: RunStatus = RunStatus.COMPLETED) -> None:
    triggers.insert([new_run(run_id) for run_id in run_ids])
    for claim in claims.claim("worker", len(run_ids), only=run_ids):
        if status == RunStatus.COMPLETED:
            assert completions.complete(claim, "1", leaves_open=False)
        else:
            assert runs.end_badly(claim, status, FAILURE)


KILLED_PRUNING = """
import os, signal, sys
import django
django.setup()
from tests.concurrency.test_pruning import prune
from tests.crashes import CrashPoint
with CrashPoint(int(sys.argv[1]), "before", die=lambda: os.kill(os.getpid(), signal.SIGKILL)).watching():
    prune(2)
"""


@pytest.mark.serial
def test_a_process_killed_while_it_prunes_leaves_whole_runs(child_env: dict[str, str]) -> None:
    numbers = range(4)
    sizes = set()
    for at in (3, 10, 17, 24, 31, 45, 60):
        make(*(f"run-{number}" for number in numbers))
        for number in numbers:
            RunLabel.objects.create(run_id=f"run-{number}", label="x")
        command = [sys.executable, "-c", KILLED_PRUNING, str(at)]
        status = subprocess.run(command, env=child_env, check=False).returncode
        left = set(Run.objects.values_list("pk", flat=True))
        assert status == (-signal.SIGKILL if left else 0)
        assert set(RunLabel.objects.values_list("run_id", flat=True)) == left
        assert prune(2) == len(left)
        sizes.add(len(left))
    assert {2, 4} <= sizes <= {0, 2, 4}


def prune(batch: int = 3) -> int:
    return sum(count for _, count in ENDED.prune(batch=batch))


def test_two_who_prune_delete_each_run_once(crew: Threads) -> None:
    for _ in range(5):
        make(*(f"run-{number}" for number in range(40)))

        counts = crew.together(lambda: prune(3), lambda: prune(7), lambda: prune(5))

        assert sum(counts) == 40
        assert not Run.objects.exists()


def test_a_run_is_either_resumed_or_pruned(crew: Threads) -> None:
    runtime = DjangoRuntime()
    outcomes = set()
    for number in range(30):
        make("dead", status=RunStatus.FAILED)

        def resume() -> bool:
            try:
                runtime.resume("dead")
            except (RunNotFoundError, RunStateError):
                return False
            return True

        was_resumed, pruned = crew.together(resume, prune)

        assert was_resumed == (pruned == 0), number
        assert Run.objects.filter(pk="dead", status="running").exists() == was_resumed
        assert not Run.objects.stuck().exists()
        outcomes.add(was_resumed)
        Run.objects.all().delete()


@pytest.mark.pg_only
def test_a_dead_letter_that_is_being_resumed_when_it_was_chosen_stays(crew: Threads) -> None:
    make("dead", status=RunStatus.FAILED)
    resumed, go_on = Flag(), Flag()

    def resume() -> None:
        with transaction.atomic():
            runs.resume("dead", force=False)
            resumed.set()
            assert go_on.wait(30)

    resuming = crew.start(resume)
    assert resumed.wait(30)
    # It looks failed to whoever chooses now, and is locked by who resumes it.
    chosen = list(ENDED._runs("failed", claims.now()).values_list("pk", flat=True))
    assert chosen == ["dead"]
    pruning = crew.start(lambda: deletion.prune(chosen, Q(status="failed"), by=None))
    go_on.set()
    resuming.result(30)

    assert pruning.result(30) == 0
    assert Run.objects.get().status == "running"
    assert not Run.objects.stuck().exists()


@pytest.mark.pg_only
def test_a_child_whose_parent_is_being_resumed_stays_and_nobody_waits(crew: Threads) -> None:
    make("parent", status=RunStatus.FAILED)
    make("child")
    Run.objects.filter(pk="child").update(parent="parent")
    resumed, go_on = Flag(), Flag()

    def resume() -> None:
        with transaction.atomic():
            runs.resume("parent", force=False)
            resumed.set()
            assert go_on.wait(30)

    resuming = crew.start(resume)
    assert resumed.wait(30)
    # Its parent looks failed to whoever chooses now, and is locked by who resumes it.
    chosen = list(ENDED._runs("completed", claims.now()).values_list("pk", flat=True))
    assert chosen == ["child"]
    pruning = crew.start(lambda: deletion.prune(chosen, Q(status="completed"), by=None))

    assert pruning.result(30) == 0
    go_on.set()
    resuming.result(30)
    assert Run.objects.filter(pk="child").exists()


def test_who_resumes_a_parent_and_who_prunes_its_child_come_one_after_the_other(
    crew: Threads,
) -> None:
    runtime = DjangoRuntime()
    for _ in range(15):
        make("parent", status=RunStatus.FAILED)
        make("child")
        Run.objects.filter(pk="child").update(parent="parent")

        crew.together(
            lambda: runtime.resume("parent"),
            lambda: deletion.prune(["child"], Q(status="completed"), by=None),
            lambda: deletion.prune(["child"], Q(status="completed"), by=None),
        )

        assert Run.objects.get(pk="parent").status == "running"
        assert deletion.prune(["child"], Q(status="completed"), by=None) == 0
        Run.objects.all().delete()


@workflow(name="pruned_singleton", singleton=Singleton())
def alone(ctx: WorkflowContext[Any]) -> None:
    ctx.run("body", str, 1)


@workflow(name="pruned_limited", flow_control=FlowControl("pruned_limited", parallelism=1))
def limited(ctx: WorkflowContext[Any]) -> None:
    ctx.run("body", str, 1)


def test_keys_go_while_others_use_them(crew: Threads) -> None:
    made: list[Any] = []

    def use() -> None:
        for _ in range(15):
            made.append(alone.trigger())
            limited.trigger()
            while Run.objects.filter(pk=made[-1].pk).unfinished().exists():
                drain(seconds=0.2)

    def clean() -> None:
        for _ in range(150):
            prune_keys()

    crew.together(use, use, clean, clean)
    while Run.objects.unfinished().exists():
        drain(seconds=0.5)
        sweep(force=True)

    assert set(Run.objects.values_list("status", flat=True)) == {"completed"}
    assert not FlowTicket.objects.exists()
    prune_keys()
    assert not FlowKey.objects.exists()
    assert not TriggerKey.objects.exists()


def test_events_and_claims_beside_pruning_meet_no_deadlock(crew: Threads) -> None:
    for round_ in range(6):
        make(*(f"done-{number}" for number in range(12)))
        make(*(f"dead-{number}" for number in range(12)), status=RunStatus.FAILED)
        triggers.insert([new_run(f"live-{number}") for number in range(12)])
        sent = [send("e", "1", f"dead-{number}", True).pk for number in range(12)]

        def match(sent: list[int] = sent) -> None:
            for pk in reversed(sent):
                events.match(pk)

        def work() -> int:
            done = 0
            while found := claims.claim("worker", 3):
                done += sum(completions.complete(claim, "1", leaves_open=False) for claim in found)
            return done

        def cancel() -> None:
            for number in range(12):
                runs.cancel(f"dead-{number}")

        _, done, _, _, _ = crew.together(match, work, cancel, lambda: prune(5), lambda: prune(4))

        assert done == 12, round_
        assert not Run.objects.stuck().exists()
        Run.objects.all().delete()
        Event.objects.all().delete()
        assert not Step.objects.exists()
