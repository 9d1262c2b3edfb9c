"""Runs as they go: a table that lives on a terminal, a line for each that ends in a pipe."""

from __future__ import annotations

import atexit
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Event
from time import monotonic

from django.db.models import Count, Q
from rich.console import RenderableType
from rich.live import Live
from rich.text import Text

from django_workflow.management.output import Screen, clean, table, took
from django_workflow.models import Run

LOOK_SECONDS = 0.15
COLUMNS = ("run", "status", "steps", "took", "why")
#: The day is today.
DATE = re.compile(r"(?<=until )\d{4}-\d\d-\d\d ")
#: A pipe is told of a long map each time that so much more of it is done.
TOLD_PERCENT = 25

Look = Callable[[], list[str]]
Show = Callable[[list[Run], list[str]], None]


def watch(
    screen: Screen,
    run_ids: Sequence[str],
    *,
    seconds: float | None = None,
    meanwhile: Look = list,
    is_enough: Callable[[list[Run]], bool] = lambda runs: False,
) -> list[Run]:
    """Show these runs until all have ended, or it is enough, or for so long; return them.

    Args:
        screen: Where.
        run_ids: Which.
        seconds: How long at most.
        meanwhile: Called at each look; what it returns is told, a line each.
        is_enough: Asked at each look whether to stop though some have not ended.
    """
    ends = None if seconds is None else monotonic() + seconds
    pause = Event()
    with _shown(screen) as show:
        while True:
            lines = meanwhile()
            runs = _runs(run_ids)
            show(runs, lines)
            is_late = ends is not None and monotonic() >= ends
            if is_late or all(run.is_finished for run in runs) or is_enough(runs):
                return runs
            pause.wait(LOOK_SECONDS)


def _runs(run_ids: Sequence[str]) -> list[Run]:
    is_done = Q(steps__status="completed")
    # The losers of a race are not to be done.
    is_wanted = ~Q(steps__status="abandoned")
    found = Run.objects.with_reason().annotate(
        known=Count("steps", filter=is_wanted), done=Count("steps", filter=is_done)
    )
    by_id = found.in_bulk(run_ids)
    return [by_id[run_id] for run_id in run_ids]


@contextmanager
def _shown(screen: Screen) -> Iterator[Show]:
    if not screen.is_terminal:
        told: set[str] = set()
        yield lambda runs, lines: _tell(screen, runs, lines, told)
        return
    # Ctrl-C ends the process from another thread; the cursor is to be back then.
    atexit.register(screen.console.show_cursor, True)
    with Live(console=screen.console, auto_refresh=False) as live:

        def show(runs: list[Run], lines: list[str]) -> None:
            for line in lines:
                # Above the table; not wrapped, so that a link can be clicked.
                live.console.print(Text(clean(line)), soft_wrap=True)
            live.update(_table(runs), refresh=True)

        yield show


def _tell(screen: Screen, runs: list[Run], lines: list[str], told: set[str]) -> None:
    screen.lines(lines)
    for run in runs:
        line = _ended(run) if run.is_finished else _under_way(run)
        mark = run.id if run.is_finished else line
        if line and mark not in told:
            told.add(mark)
            screen.lines([line])
    screen.stream.flush()


def _ended(run: Run) -> str:
    why = f": {run.reason}" if run.reason else ""
    return f"{run.id} {run.status} after {took(run.duration) or '0s'}, {_steps(run)} step{'' if _steps(run) == '1' else 's'}{why}"


def _under_way(run: Run) -> str:
    """Return a line where a map has come to its next quarter."""
    items = _items(run)
    if items is None:
        return ""
    done, of = items
    percent = done * 100 // of // TOLD_PERCENT * TOLD_PERCENT
    return f"{run.id} {percent} % done" if percent else ""


def _table(runs: list[Run]) -> RenderableType:
    shown = table(
        COLUMNS,
        [(_name(run), str(run.status), _steps(run), took(run.duration), _why(run)) for run in runs],
    )
    # A line for each run, so that all of them are to be seen: where it is narrow, the reasons are cut off.
    *narrow, reasons = shown.columns
    for column in narrow:
        column.no_wrap = True
    for cell in reasons.cells:
        if isinstance(cell, Text):
            cell.no_wrap, cell.overflow = True, "ellipsis"
    return shown


def _name(run: Run) -> str:
    return run.id if run.version == "1" else f"{run.id} ({run.version})"


def _why(run: Run) -> str:
    items = _items(run)
    if items is not None:
        return f"{items[0]:,} of {items[1]:,} items done"
    return DATE.sub("", run.reason)


def _items(run: Run) -> tuple[int, int] | None:
    """Return how many items of an open map are done, of how many."""
    if run.is_finished:
        return None
    return next((step.progress for step in run.waiting_for if step.progress), None)


def _steps(run: Run) -> str:
    done, known = getattr(run, "done", 0), getattr(run, "known", 0)
    return f"{done} of {known}" if done != known else str(done)
