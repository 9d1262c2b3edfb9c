"""Rows as the store's tests need them, and the questions they ask of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django_workflow.core.types import Failure
from django_workflow.models import Attempt, Delivery, Run, Step
from django_workflow.runtime.failure import text_of
from django_workflow.store import claims, triggers, waits
from django_workflow.store.records import AttemptRow
from django_workflow.store.rows import Awaited, Claim, StepRow
from django_workflow.store.sql import Portable, Postgres
from django_workflow.store.triggers import NewRun

PAST = datetime(2020, 1, 1, tzinfo=UTC)
FUTURE = datetime(2100, 1, 1, tzinfo=UTC)

FAILED_TRY = AttemptRow("a", 1, Attempt.Outcome.FAILED)
FAILURE = text_of(Failure(message="boom", error_class="E", traceback="", step=None, attempts=1))


class PortableOnPostgres(Portable):
    """The statements for every database, in PostgreSQL's spelling."""

    quote = Postgres.quote
    ignore = Postgres.ignore
    ignore_tail = Postgres.ignore_tail
    database_now = Postgres.database_now


def new_run(run_id: str = "run-1", **fields: Any) -> NewRun:
    """Describe a run that is due at once."""
    defaults: dict[str, Any] = {
        "workflow": "store_test",
        "version": "1",
        "payload_text": None,
        "headers_text": "{}",
        "options_text": "{}",
        "labels": (),
        "delay": timedelta(0),
        "not_before": None,
        "timeout": None,
    }
    return NewRun(id=run_id, **(defaults | fields))


def insert(*run_ids: str) -> None:
    """Insert runs that are due at once."""
    triggers.insert([new_run(run_id) for run_id in run_ids or ("run-1",)])


def claimed(run_id: str = "run-1") -> Claim:
    """Insert a run and claim its turn."""
    insert(run_id)
    [claim] = claims.claim("worker", 1)
    return claim


def completed(key: str, **fields: Any) -> StepRow:
    """Describe the result of a step."""
    base: dict[str, Any] = {"name": key, "branch": "", "kind": "run", "status": "completed"}
    return StepRow(key=key, **(base | {"result_text": "1", "attempts": 1} | fields))


def pending(key: str, **fields: Any) -> StepRow:
    """Describe a step that is met, and not begun."""
    return completed(key, **({"status": "pending", "result_text": None, "attempts": 0} | fields))


def retrying(key: str, wakes_in: timedelta, **fields: Any) -> StepRow:
    """Describe a step whose attempt failed."""
    return pending(
        key,
        **(
            {"status": "retrying", "attempts": 1, "wakes_in": wakes_in, "registered": True} | fields
        ),
    )


def sleeping(key: str, seconds: float) -> StepRow:
    """Describe a step that sleeps for so long."""
    return pending(key, status="sleeping", kind="sleep", wakes_in=timedelta(seconds=seconds))


def awaiting(key: str, *event_ids: str, needed: int = 1, **fields: Any) -> StepRow:
    """Describe a step that waits for an hour."""
    awaited = Awaited(event_ids or ("go",), needed, fields.pop("lookback", None))
    return pending(
        key,
        status="waiting",
        kind="wait_for_event",
        wakes_in=timedelta(hours=1),
        awaits=awaited,
        **fields,
    )


def fan_out(*keys: str, run_id: str = "run-1") -> list[Claim]:
    """Insert a run that waits for a fan-out, and claim its step deliveries, in the order of their keys."""
    claim = claimed(run_id)
    waits.wait(claim, [pending(key) for key in keys], fan_out=keys)
    return sorted(claims.claim("worker", len(keys)), key=lambda found: found.step_key)


def the_turn(run_id: str = "run-1") -> Delivery:
    """Return the turn's row."""
    return Delivery.objects.get(run_id=run_id, step_key="")


def delivery_of(key: str, run_id: str = "run-1") -> Delivery:
    """Return the row of a step delivery."""
    return Delivery.objects.get(run_id=run_id, step_key=key)


def the_step(key: str, run_id: str = "run-1") -> Step:
    """Return the row of a step."""
    return Step.objects.get(run_id=run_id, key=key)


def the_run(run_id: str = "run-1") -> Run:
    """Return the row of a run."""
    return Run.objects.get(pk=run_id)


def expire(*found: Claim) -> None:
    """Let the leases of these claims be over."""
    Delivery.objects.filter(pk__in=[claim.delivery_id for claim in found]).update(due_at=PAST)


def is_due(delivery: Delivery) -> bool:
    """Whether the delivery may be claimed at this moment."""
    return delivery.due_at is not None and delivery.due_at <= claims.now()


def everything() -> list[Any]:
    """Return all rows that a write could have changed, as values that compare."""
    return [list(model.objects.order_by("pk").values()) for model in (Run, Step, Delivery, Attempt)]
