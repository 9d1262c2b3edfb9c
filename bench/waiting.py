"""Workloads of runs that wait: for the clock, for an event, for a slot."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from bench.workflows import one_at_a_time, sleeper, waiter
from django_workflow import notify
from django_workflow.models import Run
from django_workflow.store.claims import now

EVENT = "go"
#: How many sleepers are laid down first, to learn how long the others take.
FIRST = 300
BATCH = 1_000


def sleepers(count: int) -> tuple[str, float]:
    """Let so many sleepers wake within one second; return what was measured, and runs per second from the first due moment."""
    first_due = now() + timedelta(seconds=_seconds_to_lie_down(count))
    dues = [first_due + timedelta(seconds=place / count) for place in range(count)]
    ids = _trigger(sleeper, [{"due": due.isoformat()} for due in dues])
    _wait_for_steps(ids, "sleeping")
    spare = (first_due - now()).total_seconds()
    _wait_for_end(sleeper.name)
    ends = _ends(ids)
    late = sorted(
        (ends[run_id] - due).total_seconds() for run_id, due in zip(ids, dues, strict=True)
    )
    took = (max(ends.values()) - first_due).total_seconds()
    early = sum(one < 0 for one in late)
    measured = (
        f"{count:,} due in one second: {early} early; late by p50 {statistics.median(late):.2f} s, "
        f"p99 {late[int(count * 0.99)]:.2f} s, at most {late[-1]:.2f} s; all done {took:.2f} s after the first was due"
    )
    if spare < 0:
        measured += f"; NOT VALID: the last lay down {-spare:.1f} s too late"
    return measured, count / took


def waiters(count: int) -> tuple[str, float]:
    """Notify so many waiters by one event; return what was measured, and runs per second."""
    ids = _trigger(waiter, [{"event": EVENT}] * count)
    _wait_for_steps(ids, "waiting")
    time.sleep(1)
    began = now()
    reached = notify(EVENT).reached
    told = (now() - began).total_seconds()
    _wait_for_end(waiter.name)
    took = sorted((end - began).total_seconds() for end in _ends(ids).values())
    measured = (
        f"{reached or 0:,} reached, notify() returned after {told:.2f} s; notify to end p50 {statistics.median(took):.2f} s, "
        f"p95 {took[int(count * 0.95)]:.2f} s, at most {took[-1]:.2f} s"
    )
    return measured, count / took[-1]


def flow(count: int) -> tuple[str, float]:
    """Let so many runs pass a key one at a time; return what was measured, and runs per second."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        ids = _trigger(one_at_a_time, [{"door": str(Path(folder) / "door")}] * count)
        _wait_for_end(one_at_a_time.name)
        took = time.perf_counter() - began
    texts = Run.objects.filter(workflow=one_at_a_time.name).values_list("result_text", flat=True)
    together = sum(text != "true" for text in texts)
    held = "never two at once" if not together else f"EXCEEDED {together} times"
    return (
        f"{len(ids):,} runs under parallelism 1 in {took:.1f} s: {count / took:,.0f} runs/s; {held}",
        count / took,
    )


def _seconds_to_lie_down(count: int) -> float:
    """Return how long so many sleepers will need, with some to spare: none may be due before it sleeps."""
    began = time.perf_counter()
    soon = now() + timedelta(hours=1)
    ids = _trigger(sleeper, [{"due": soon.isoformat()}] * FIRST)
    _wait_for_steps(ids, "sleeping")
    took = time.perf_counter() - began
    Run.objects.filter(id__in=ids).delete()
    return took / FIRST * count * 1.5 + 3


def _trigger(workflow: Any, payloads: Sequence[Any]) -> list[str]:
    batches = [payloads[start : start + BATCH] for start in range(0, len(payloads), BATCH)]
    return [run.id for batch in batches for run in workflow.trigger_many(batch)]


def _wait_for_steps(ids: Sequence[str], status: str, timeout: float = 300) -> None:
    """Wait until each of these runs has a step in this state."""
    ends = time.perf_counter() + timeout
    name = Run.objects.get(id=ids[0]).workflow
    while Run.objects.unfinished().filter(workflow=name).exclude(steps__status=status).exists():
        if time.perf_counter() > ends:
            raise TimeoutError(f"Not all {len(ids)} runs of {name} are {status} after {timeout} s.")
        time.sleep(0.1)


def _wait_for_end(name: str, timeout: float = 300) -> None:
    """Wait until no run of a workflow is unfinished, and all have completed."""
    ends = time.perf_counter() + timeout
    left = Run.objects.filter(workflow=name).exclude(status="completed")
    while left.exists():
        if time.perf_counter() > ends:
            found = left.first()
            raise TimeoutError(
                f"Not done in {timeout} s: {left.count()}, as {found} {found and found.reason}"
            )
        time.sleep(0.05)


def _ends(ids: Sequence[str]) -> dict[str, datetime]:
    """Return when each of these runs ended."""
    wanted = set(ids)
    name = Run.objects.get(id=ids[0]).workflow
    rows = Run.objects.filter(workflow=name).values_list("id", "finished_at")
    return {run_id: end for run_id, end in rows if run_id in wanted}
