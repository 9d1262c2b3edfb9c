"""Calls: their requests, written with the step and masked with its record, and claimed for those who make them.

A call is a step delivery in a lane of its own, so that no other worker takes it; it is renewed, put off, fenced and
recorded as any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from django.db import transaction

from django_workflow.conf import settings
from django_workflow.store import records, requests
from django_workflow.store.records import AttemptRow
from django_workflow.store.repeating import repeated
from django_workflow.store.requests import CALL
from django_workflow.store.rows import DELIVERY, STEP, Claim, Recorded, StepRow
from django_workflow.store.sql import connection, dialect


class CallRow(NamedTuple):
    """A claimed call's step, and its request; None where the step or the request is no more."""

    delivery_id: int
    name: str | None
    branch: str | None
    kind: str | None
    sequence: int | None
    attempts: int | None
    arguments_text: str | None
    request_text: str | None


def load(claims: Sequence[Claim]) -> dict[int, CallRow]:
    """Return the steps and requests of these claims, by the id of the delivery."""
    if not claims:
        return {}
    speak = dialect()
    step_of = f"s.run_id = d.run_id AND s.{speak.name('key')} = d.step_key"
    call_of = "c.run_id = d.run_id AND c.step_key = d.step_key"
    marks = ", ".join(["%s"] * len(claims))
    with connection().cursor() as cursor:
        cursor.execute(
            f"SELECT d.id, s.name, s.branch, s.kind, s.sequence, s.attempts, s.arguments_text, c.request_text FROM {DELIVERY} d "
            f"{speak.look_up(STEP, 's', step_of, is_outer=True)} "
            f"{speak.look_up(CALL, 'c', call_of, is_outer=True)} WHERE d.id IN ({marks})",
            [claim.delivery_id for claim in claims],
        )
        return {row[0]: CallRow._make(row) for row in cursor.fetchall()}


def still_held(held: Iterable[tuple[int, int]]) -> set[int]:
    """Return the ids of those deliveries, given with their tokens, whose claims still hold."""
    tokens = dict(held)
    marks = ", ".join(["%s"] * len(tokens))
    with connection().cursor() as cursor:
        cursor.execute(f"SELECT id, token FROM {DELIVERY} WHERE id IN ({marks})", list(tokens))
        return {found for found, token in cursor.fetchall() if tokens[found] == token}


@repeated
def record(
    claim: Claim, row: StepRow, masked_text: str, attempt: AttemptRow | None = None
) -> Recorded:
    """Record how a call ended, and keep its request without its secrets; see `records.record()`.

    Raises:
        DeliveryFencedError: the claim is stale; nothing was written.
    """
    with transaction.atomic(using=settings().DATABASE):
        done = records.record(claim, row, attempt=attempt)
        with connection().cursor() as cursor:
            requests.mask(cursor, claim.run_id, claim.step_key, masked_text)
    return done
