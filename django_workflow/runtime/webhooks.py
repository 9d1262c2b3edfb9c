"""Webhooks: a URL of a run's own, and what becomes of its calls."""

from __future__ import annotations

import hashlib
import logging
import secrets
from functools import partial
from typing import Any

from django.conf import settings as django_settings
from django.db import Error as DatabaseError
from django.db import transaction

from django_workflow.conf import settings
from django_workflow.core.codec import codec
from django_workflow.core.exceptions import (
    DeliveryFencedError,
    InvalidOptionError,
    WorkflowError,
)
from django_workflow.core.importable import load
from django_workflow.core.journal import Record
from django_workflow.core.steps import CreateWebhookStep, PatchStep
from django_workflow.core.types import FINISHED, Failure, StepStatus
from django_workflow.core.webhook_verifiers import Signature
from django_workflow.core.webhooks import WebhookRequest
from django_workflow.models import Webhook
from django_workflow.runtime.failure import text_of
from django_workflow.runtime.reserved import OF_WEBHOOK
from django_workflow.runtime.step_rows import row_of
from django_workflow.runtime.urls import WEBHOOK, door_url
from django_workflow.runtime.waiting import match_event
from django_workflow.store import claims
from django_workflow.store import webhooks as store
from django_workflow.store.repeating import repeated
from django_workflow.store.rows import Claim
from django_workflow.store.webhooks import CallRefusedError

logger = logging.getLogger(__name__)

TAKEN = "taken"
GONE = "gone"
TOO_MANY = "too many"


def perform_create_webhook(
    performer: Any, step: CreateWebhookStep, record: Record | None, markers: tuple[PatchStep, ...]
) -> Record | None:
    """Make the step's URL, and write the webhook with the record that holds it."""
    fields: dict[str, Any] = {
        "registered": record is not None,
        "attempts": 1,
        "delivered": record is not None and record.delivered,
        "worker": performer.worker,
    }
    run_id = performer.claim.run_id
    token = secrets.token_urlsafe(32)
    event_id = f"{OF_WEBHOOK}{secrets.token_hex(16)}"
    try:
        made = _columns(step)
        about = {"webhook_url": door_url(WEBHOOK, token), "event_id": event_id}
        text = codec.dumps(about | {"workflow_run_id": run_id}, what="webhook")
    except WorkflowError as error:
        failure = Failure.from_exception(error, step=step.name, attempts=1)
        row = row_of(step, StepStatus.FAILED, failure_text=text_of(failure), **fields)
        failed: Record | None = performer.write(step, row, markers)
        return failed
    row = row_of(step, StepStatus.COMPLETED, result_text=text, **fields)

    @repeated
    def write(_: Claim) -> Record:
        created: Record = store.create(
            partial(performer.recorded, step, row, markers),
            run_id=run_id,
            step_key=step.key,
            event_id=event_id,
            digest=digest_of(token),
            **made,
        )
        return created

    try:
        done = write(performer.claim)
    except DeliveryFencedError:
        performer.fenced = True
        return None
    except DatabaseError as error:
        performer.broken = error
        return None
    performer.add(done, markers)
    return done


def _columns(step: CreateWebhookStep) -> dict[str, Any]:
    """Return what is kept of the options, if what they name is there."""
    wanted = step.wanted
    if isinstance(wanted.verifier, dict):
        secrets_of(Signature.from_json(wanted.verifier))
    return {
        "verifier_text": codec.dumps(wanted.verifier, what="verifier"),
        "answer_text": codec.dumps(wanted.answer, what="response"),
        "single_use": wanted.single_use,
        "expires_in": wanted.expires_in,
        "expires_at": wanted.expires_at,
        "max_bytes": wanted.max_bytes,
    }


def secrets_of(signature: Signature) -> list[str]:
    """Return the secrets of a signature, from its setting.

    Raises:
        InvalidOptionError: the setting is missing or holds none.
    """
    value = getattr(django_settings, signature.secret, None)
    found = [value] if isinstance(value, str) else list(value or ())
    if not found or not all(isinstance(secret, str) and secret for secret in found):
        raise InvalidOptionError(
            f"The setting {signature.secret} must hold the secret of the {signature.scheme} webhook: a text, or a list of "
            "texts while it is being replaced."
        )
    return found


def digest_of(token: str) -> str:
    """Return what is kept of a token."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def find_webhook(token: str) -> Webhook | None:
    """Return the webhook of this token."""
    found = store.find(digest_of(token))
    return None if found is None else found[0]


def is_gone(webhook: Webhook) -> bool:
    """Tell whether it takes no call any more: expired, used up, or its run has ended for good."""
    # As it was found, or as it is now.
    found = store.find(webhook.digest)
    return found is None or found[1] in FINISHED or found[0].is_over(claims.now())


def verifier_of(webhook: Webhook) -> Any:
    """Return the callable ``(request) -> bool`` that decides who may call; None where anybody may.

    Raises:
        InvalidOptionError: it cannot be found in this process, or its secret is missing.
    """
    verifier = webhook.verifier
    if verifier is None:
        return None
    if isinstance(verifier, str):
        return load(verifier, "verifier")
    signature = Signature.from_json(verifier)
    known = secrets_of(signature)

    def is_signed(request: Any) -> bool:
        return signature.is_genuine(request.headers, request.body, known, claims.now())

    return is_signed


def answer_of(webhook: Webhook) -> Any:
    """Return what callers are answered, or the callable ``(request)`` that makes it.

    Raises:
        InvalidOptionError: the callable cannot be found in this process.
    """
    answer = webhook.answer
    return load(answer["call"], "response") if "call" in answer else answer["value"]


def max_bytes_of(webhook: Webhook) -> int:
    """Return the length of the longest body that the webhook takes."""
    return webhook.max_bytes or settings().WEBHOOK_MAX_BYTES


def keep_call(webhook: Webhook, request: WebhookRequest) -> str:
    """Keep a call for the webhook's run and wake it; return `TAKEN`, or why it was not kept."""
    text = codec.dumps(request.to_json(), what="request")
    try:
        event = store.keep_call(webhook, text, settings().WEBHOOK_CALLS_PER_MINUTE)
    except CallRefusedError:
        return GONE if is_gone(webhook) else TOO_MANY
    transaction.on_commit(partial(match_event, event), using=settings().DATABASE, robust=True)
    return TAKEN


__all__ = [
    "GONE",
    "TAKEN",
    "TOO_MANY",
    "answer_of",
    "find_webhook",
    "is_gone",
    "keep_call",
    "max_bytes_of",
    "perform_create_webhook",
    "verifier_of",
]
