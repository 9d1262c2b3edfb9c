"""Rows as the API gives them: masked, and without what only ``view_payload`` may see."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django_workflow.core.plain import plain
from django_workflow.core.types import DEAD_LETTER, Failure
from django_workflow.models import Action, Attempt, Run, RunLog, Step, Webhook
from django_workflow.models.shown import shown_line, shown_progress, shown_state
from django_workflow.runtime.veils import Veil


def at(value: datetime | None) -> str | None:
    """Return a time as ISO text."""
    return None if value is None else value.isoformat()


def failed(failure: Failure | None) -> dict[str, Any] | None:
    """Return a failure as its fields."""
    return None if failure is None else dict(failure.to_json())


def run_shown(run: Run, veil: Veil, *, sees: bool, whole: bool = False) -> dict[str, Any]:
    """Return a run; best asked of one that `with_reason()` has fetched. ``whole``: with what is in files, too."""
    veil.row(run)
    progress = shown_progress(run)
    about = None if run.about_type is None else {"type": run.about_type, "id": run.about_id}
    return {
        "workflow_run_id": run.id,
        "workflow": run.workflow,
        "version": run.version,
        "status": str(run.status),
        "reason": reason_of(run, veil, sees=sees),
        "labels": run.labels,
        "about": about,
        "triggered_by": run.triggered_by or None,
        "created_at": at(run.created_at),
        "started_at": at(run.started_at),
        "finished_at": at(run.finished_at),
        "parent": veil.id(run.parent_id),
        "restarted_from": veil.id(run.restarted_from_id),
        "schedule_id": run.schedule_id,
        "generation": run.generation,
        "shows_payload": sees,
        "payload": run.mask.payload(plain(run.payload_text, whole=whole)) if sees else None,
        "headers": run.shown_headers if sees else None,
        "result": run.mask.result(plain(run.result_text, whole=whole)) if sees else None,
        "failure": failed(run.failure) if sees else None,
        "progress": progress.to_json() if sees and progress is not None else None,
        "state": shown_state(run) if sees else None,
    }


def runs_shown(request: Any, found: Sequence[Run], *, sees: bool) -> list[dict[str, Any]]:
    """Return a page of runs to who asks."""
    veil = Veil(request, found)
    return [run_shown(run, veil, sees=sees) for run in found]


def reason_of(run: Run, veil: Veil, *, sees: bool) -> str | None:
    """Return why a run is not going on; None where that would tell an error to one who may not see it."""
    if sees:
        return veil.text(run.reason)
    tells_error = run.status in DEAD_LETTER or any(step.failure_text for step in run.waiting_for)
    return None if tells_error else veil.text(run.reason)


def step_shown(step: Step, run: Run, veil: Veil, *, sees: bool) -> dict[str, Any]:
    """Return a step of this run."""
    veil.row(step)
    step.run = run
    hides = not sees and step.failure_text is not None
    result = run.mask.step(step.name, plain(step.result_text)) if sees else None
    return {
        "key": step.key,
        "name": step.name,
        "kind": step.kind,
        "status": str(step.status),
        "sequence": step.sequence,
        "attempts": step.attempts,
        "reason": veil.text(step.reason) if step.is_open and not hides else None,
        "result": result,
        "failure": failed(step.failure) if sees else None,
        "created_at": at(step.created_at),
        "started_at": at(step.started_at),
        "finished_at": at(step.finished_at),
        "wake_at": at(step.wake_at),
    }


def attempt_shown(
    attempt: Attempt, run: Run, names: dict[str, str], *, sees: bool
) -> dict[str, Any]:
    """Return an attempt; its late result is masked as its step's."""
    name = names.get(attempt.step_key, attempt.step_key)
    return {
        "step": attempt.step_key or None,
        "number": attempt.number,
        "outcome": str(attempt.outcome),
        "failure": failed(attempt.failure) if sees else None,
        "late_result": run.mask.step(name, plain(attempt.result_text)) if sees else None,
        "started_at": at(attempt.started_at),
        "finished_at": at(attempt.finished_at),
        "worker": attempt.worker,
    }


def log_shown(line: RunLog, *, sees: bool) -> dict[str, Any]:
    """Return a log line."""
    message, fields = shown_line(line, line.run.mask)
    return {
        "generation": line.generation,
        "step": line.step,
        "attempt": line.attempt,
        "level": line.level,
        "message": message if sees else None,
        "fields": fields if sees else None,
        "created_at": at(line.created_at),
    }


def action_shown(action: Action) -> dict[str, Any]:
    """Return what was done, and by whom."""
    return {
        "verb": action.verb,
        "actor": action.actor or None,
        "user_id": action.user_id or None,
        "door": action.door,
        "why": action.why,
        "before": action.before,
        "after": action.after,
        "at": at(action.at),
    }


def webhook_shown(webhook: Webhook) -> dict[str, Any]:
    """Return a webhook, without its URL."""
    return {
        "step": webhook.step_key,
        "event_id": webhook.event_id,
        "calls": webhook.calls,
        "called_at": at(webhook.called_at),
        "single_use": webhook.single_use,
        "expires_at": at(webhook.expires_at),
        "created_at": at(webhook.created_at),
    }
