"""A run's journal, written for another place: to be replayed against changed code, or to be looked at there."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from typing import Any

from django_workflow.core.actors import Actor
from django_workflow.core.at_rest import opened
from django_workflow.core.codec import TAG
from django_workflow.core.codec import VALUE as TAGGED
from django_workflow.core.plain import plain
from django_workflow.core.redaction import Mask
from django_workflow.models import Attempt, Run, RunLog, Step, Undo
from django_workflow.runtime.journal_files import (
    ATTEMPT,
    FORMAT,
    FORMAT_VERSION,
    LINE,
    MOMENT,
    RUN,
    STEP,
    UNDO,
    VALUE,
    Column,
)
from django_workflow.store import actions
from django_workflow.store.actions import Change

logger = logging.getLogger(__name__)


def export_run(
    run: Run, *, whole: bool = False, actor: Any = None, why: str = ""
) -> dict[str, Any]:
    """Return a run with the journal of its present generation, as values of JSON.

    What windows hide (``redact``, secret headers) is hidden here too, and ``hidden`` of the document names the places.
    With ``whole`` nothing is hidden, and it is kept with the run that somebody took it out.
    """
    alias = run._state.db
    # The run before its steps: of a run that has ended, no step is missing.
    written = _row(run, RUN)
    steps = list(Step.objects.using(alias).filter(run_id=run.id).order_by("id"))
    names = {step.key: step.name for step in steps}
    attempts = Attempt.objects.using(alias).filter(run_id=run.id, generation=None).order_by("id")
    undos = list(Undo.objects.using(alias).filter(run_id=run.id).order_by("id"))
    logs = RunLog.objects.using(alias).filter(run_id=run.id, generation=run.generation)
    cover = _Cover(None if whole else run.mask)
    document: dict[str, Any] = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "hidden": [],
        "run": cover.run(written),
        "labels": run.labels,
        "steps": [cover.step(_row(step, STEP), step.name) for step in steps],
        "attempts": [
            cover.step(_row(one, ATTEMPT), names.get(one.step_key, one.step_key))
            for one in attempts
        ],
        "undos": [_row(undo, UNDO) for undo in undos] if whole else [],
        "logs": [_row(line, LINE) for line in logs],
    }
    if undos and not whole:
        # What the bodies were called with: no window shows it, so no path of redact hides parts of it.
        cover.hidden.append("undos")
    document["hidden"] = list(dict.fromkeys(cover.hidden))
    if whole:
        by = Actor.of(actor)
        actions.keep("export", [Change(run.id, run.status, run.status)], by=by, why=why)
        extra = {"run_id": run.id, "actor": by.name, "door": by.door, "why": why}
        logger.info("Run %s was exported whole", run.id, extra=extra)
    return document


def _row(row: Any, columns: Iterable[Column]) -> dict[str, Any]:
    written: dict[str, Any] = {}
    for column in columns:
        value = getattr(row, column.name)
        if column.kind == VALUE:
            # Where there is none the key is missing: null is a value of its own.
            if value:
                written[column.key] = json.loads(opened(value))
        elif column.kind == MOMENT:
            written[column.key] = None if value is None else value.isoformat()
        else:
            written[column.key] = value
    return written


class _Cover:
    """Puts marks over what windows hide, and remembers where."""

    def __init__(self, mask: Mask | None) -> None:
        self._mask = mask
        self.hidden: list[str] = []

    def run(self, written: dict[str, Any]) -> dict[str, Any]:
        if self._mask is not None:
            self._put(written, "payload", "payload", self._mask.payload)
            self._put(written, "headers", "headers", self._mask.headers)
            self._put(written, "result", "result", self._mask.result)
        return written

    def step(self, written: dict[str, Any], name: str) -> dict[str, Any]:
        mask = self._mask
        if mask is not None:
            self._put(written, "result", f"steps.{name}", lambda value: mask.step(name, value))
        return written

    def _put(
        self, written: dict[str, Any], name: str, place: str, shown: Callable[[Any], Any]
    ) -> None:
        if written.get(name) is None:
            return
        covered = _covered(written[name], shown(plain(json.dumps(written[name]))))
        if covered != written[name]:
            self.hidden.append(place)
            written[name] = covered


def _covered(stored: Any, shown: Any) -> Any:
    """Return a stored value as it is shown, with the tags of the types that still fit."""
    if isinstance(stored, dict) and stored.keys() == {TAG, TAGGED}:
        return _covered_tagged(stored, shown)
    if isinstance(stored, dict) and isinstance(shown, dict):
        return {key: _covered(value, shown.get(key)) for key, value in stored.items()}
    if isinstance(stored, list) and isinstance(shown, list) and len(stored) == len(shown):
        return [_covered(value, seen) for value, seen in zip(stored, shown, strict=True)]
    return shown


def _covered_tagged(stored: dict[str, Any], shown: Any) -> Any:
    inner = stored[TAGGED]
    if stored[TAG] == "dict" and isinstance(shown, dict):
        pairs = [[key, _covered(value, shown.get(key))] for key, value in inner]
        return {TAG: stored[TAG], TAGGED: pairs}
    if isinstance(inner, (dict, list)) and isinstance(shown, type(inner)):
        return {TAG: stored[TAG], TAGGED: _covered(inner, shown)}
    return stored if inner == shown else shown
