"""Triggers of which not each one makes a run: singleton, debounce, throttle.

All is decided in the trigger's own transaction, under the lock of one row per key: rolled back, nothing has happened,
and of two triggers at one moment the second waits until the first has committed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django_workflow.core.flow import key_for
from django_workflow.core.options import TriggerOptions
from django_workflow.core.workflow import Workflow
from django_workflow.models import Run, TriggerKey
from django_workflow.store import runs as store
from django_workflow.store import singleton_lines, trigger_keys
from django_workflow.store.triggers import NewRun

Kind = TriggerKey.Kind


def is_gated(workflow: Workflow[Any, Any], options: TriggerOptions) -> bool:
    """Tell whether a trigger may find that it makes no run."""
    return (
        workflow.options.singleton is not None
        or options.debounce is not None
        or options.throttle is not None
    )


class Gate:
    """One trigger on its way through the keys that it is held against."""

    def __init__(self, workflow: Workflow[Any, Any], options: TriggerOptions, payload: Any) -> None:
        self.workflow = workflow
        self.options = options
        self.payload = payload
        self._rows: list[TriggerKey] = []
        #: Runs that were cancelled for the new one.
        self.replaced: list[str] = []

    def pass_through(self, new: NewRun, insert: Callable[[NewRun], Run]) -> Run | None:
        """Return the run that the trigger makes, or the one that stands for it; None where it is skipped."""
        for ask in (self._throttle, self._singleton, self._debounce):
            found, is_decided = ask(new)
            if is_decided:
                return found
        run = insert(new)
        moment = trigger_keys.now()
        for row in self._rows:
            trigger_keys.assign(row, run.id, moment)
        return run

    def _row(self, kind: Kind, key: str) -> TriggerKey:
        row = trigger_keys.locked(kind, self.workflow.name, key)
        self._rows.append(row)
        return row

    def _throttle(self, new: NewRun) -> tuple[Run | None, bool]:
        throttle = self.options.throttle
        if throttle is None:
            return None, False
        row = self._row(Kind.THROTTLE, throttle.key)
        if row.opened_at is None or row.opened_at + throttle.period <= trigger_keys.now():
            return None, False
        run = trigger_keys.run_of(row)
        return _existing(run), run is not None

    def _singleton(self, new: NewRun) -> tuple[Run | None, bool]:
        singleton = self.workflow.options.singleton
        if singleton is None:
            return None, False
        row = self._row(Kind.SINGLETON, key_for(singleton.key, self.payload, "a singleton"))
        run = trigger_keys.unfinished_run_of(row)
        if new.singleton_line is not None:
            if run is not None and run.id != new.id:
                singleton_lines.adopt(run.id, new.singleton_line, trigger_keys.now())
            return None, False
        if run is None or run.id == new.id or self._is_debounced(run):
            return None, False
        if singleton.on_conflict == "skip":
            return None, True
        if singleton.on_conflict == "return":
            return _existing(run), True
        if store.cancel(run.id, why="replaced") is None:
            self.replaced.append(run.id)
        return None, False

    def _is_debounced(self, run: Run) -> bool:
        # The run that this very trigger puts off is in nobody's way.
        return self.options.debounce is not None and run.status == "pending"

    def _debounce(self, new: NewRun) -> tuple[Run | None, bool]:
        debounce = self.options.debounce
        if debounce is None:
            return None, False
        row = self._row(Kind.DEBOUNCE, debounce.key)
        if row.opened_at is None:
            return None, False
        until = trigger_keys.quiet_until(row.opened_at, debounce.quiet, debounce.max_wait)
        if not row.run_id or not trigger_keys.postpone(row.run_id, new, until):
            return None, False
        return _existing(trigger_keys.run_of(row)), True


def _existing(run: Run | None) -> Run | None:
    if run is not None:
        run.created = False
    return run
