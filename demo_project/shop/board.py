"""Runs as they go: a table that lives on a terminal, a line for each that ends in a pipe."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Event
from time import monotonic

from django.db.models import Count, Q
from rich.console import RenderableType
from rich.live import Live

from django_workflow.management.output import Screen, table, took
from django_workflow.models import Run

LOOK_SECONDS = 0.15
COLUMNS = ("run", "version", "status", "steps", "took", "why")


def watch(screen: Screen, run_ids: Sequence[str], *, seconds: float | None) -> list[Run]:
    """Show these runs until all have ended, or for so long; return them."""
    ends = None if seconds is None else monotonic() + seconds
    pause = Event()
    with _shown(screen) as show:
        while True:
            runs = _runs(run_ids)
            show(runs)
            if all(run.is_finished for run in runs) or (ends is not None and monotonic() >= ends):
                return runs
            pause.wait(LOOK_SECONDS)


def _runs(run_ids: Sequence[str]) -> list[Run]:
    is_done = Q(steps__status="completed")
    found = Run.objects.with_reason().annotate(
        known=Count("steps"), done=Count("steps", filter=is_done)
    )
    by_id = found.in_bulk(run_ids)
    return [by_id[run_id] for run_id in run_ids]


@contextmanager
def _shown(screen: Screen) -> Iterator[Callable[[list[Run]], None]]:
    if not screen.is_terminal:
        told: set[str] = set()
        yield lambda runs: _tell(screen, runs, told)
        return
    # Ctrl-C ends the process from another thread; the cursor is to be back then.
    atexit.register(screen.console.show_cursor, True)
    with Live(console=screen.console, auto_refresh=False) as live:
        yield lambda runs: live.update(_table(runs), refresh=True)


def _tell(screen: Screen, runs: list[Run], told: set[str]) -> None:
    for run in runs:
        if run.is_finished and run.id not in told:
            told.add(run.id)
            why = f": {run.reason}" if run.reason else ""
            screen.lines(
                [
                    f"{run.id} {run.status} after {took(run.duration) or '0s'}, {_steps(run)} steps{why}"
                ]
            )
    screen.stream.flush()


def _table(runs: list[Run]) -> RenderableType:
    return table(
        COLUMNS,
        [
            (run.id, run.version, str(run.status), _steps(run), took(run.duration), run.reason)
            for run in runs
        ],
    )


def _steps(run: Run) -> str:
    done, known = getattr(run, "done", 0), getattr(run, "known", 0)
    return f"{done} of {known}" if done != known else str(done)
