"""Runs that end with a result: one by itself, or those of a batch of turns in one transaction."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import transaction

from django_workflow.at_rest import vault
from django_workflow.conf import settings
from django_workflow.core.types import StepStatus
from django_workflow.store.repeating import repeated
from django_workflow.store.rows import DELIVERY, RUN, Claim
from django_workflow.store.runs import close_steps, lock
from django_workflow.store.sql import Postgres, connection, dialect


@repeated
def complete(claim: Claim, result_text: str | None, *, leaves_open: bool) -> bool:
    """End a running run with its result; its deliveries go. Returns False if the claim is stale or the run moved on."""
    result_text = vault.kept(result_text)
    speak = dialect()
    if isinstance(speak, Postgres) and not leaves_open and not claim.run.parent_waits:
        return bool(_complete_in_one(speak, [(claim, result_text)]))
    with transaction.atomic(using=settings().DATABASE):
        return _complete(claim, result_text, leaves_open=leaves_open)


@repeated
def complete_together(ended: Sequence[tuple[Claim, str | None]]) -> list[bool]:
    """End several runs with their results in one transaction, each under its own token; see `complete()`.

    None of them leaves a step open, or has a parent to tell.
    """
    kept = [(claim, vault.kept(result_text)) for claim, result_text in ended]
    speak = dialect()
    if isinstance(speak, Postgres):
        done = _complete_in_one(speak, kept)
        return [claim.run_id in done for claim, _ in ended]
    # One turn after the other, in everybody's order.
    kept.sort(key=lambda one: one[0].delivery_id)
    with transaction.atomic(using=settings().DATABASE):
        done = {claim.run_id for claim, text in kept if _complete(claim, text, leaves_open=False)}
    return [claim.run_id in done for claim, _ in ended]


def _complete_in_one(speak: Postgres, kept: Sequence[tuple[Claim, str | None]]) -> set[str]:
    """End runs in one statement; return those that it has ended."""
    now, times = speak.now()
    listed = ", ".join(["(%s, %s, %s)"] * len(kept))
    values = [value for claim, text in kept for value in (claim.delivery_id, claim.token, text)]
    with connection().cursor() as cursor:
        # The turns are locked before the runs, and in their order, as everybody does.
        cursor.execute(
            f"WITH v (id, token, result_text) AS (VALUES {listed}), "
            f"t AS MATERIALIZED (SELECT x.run_id, v.result_text FROM {DELIVERY} x JOIN v ON x.id = v.id AND x.token = v.token "
            "WHERE x.id = ANY(ARRAY(SELECT id FROM v)) ORDER BY x.id FOR UPDATE OF x), "
            f"r AS (UPDATE {RUN} u SET status = 'completed', result_text = t.result_text, failure_text = NULL, "
            f"finished_at = {now} FROM t WHERE u.id = ANY(ARRAY(SELECT run_id FROM t)) AND u.id = t.run_id "
            "AND (u.status = 'running') IS TRUE RETURNING u.id) "
            f"DELETE FROM {DELIVERY} d WHERE d.run_id = ANY(ARRAY(SELECT id FROM r)) RETURNING d.run_id",
            (*values, *times),
        )
        return {run_id for (run_id,) in cursor.fetchall()}


def _complete(claim: Claim, result_text: str | None, *, leaves_open: bool) -> bool:
    """End a run, in the caller's transaction."""
    speak = dialect()
    now, times = speak.now()
    lock(claim.run_id)
    with connection().cursor() as cursor:
        cursor.execute(
            f"UPDATE {RUN} SET status = 'completed', result_text = %s, failure_text = NULL, finished_at = {now} "
            f"WHERE id = %s AND status = 'running' AND EXISTS (SELECT 1 FROM {DELIVERY} WHERE id = %s AND token = %s)",
            (result_text, *times, claim.run_id, claim.delivery_id, claim.token),
        )
        if not cursor.rowcount:
            return False
        # Who has a parent to tell keeps the turn, and its lease, until that is done.
        speak.end_deliveries(cursor, claim.run_id, keeps_turn=claim.run.parent_waits)
    if leaves_open:
        close_steps(claim.run_id, StepStatus.ABANDONED)
    return True
