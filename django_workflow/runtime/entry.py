"""Deliveries as requests: what the worker that holds a claim does, and what the view does that is asked.

The worker keeps its claim, and renews its lease, while the view works through it, one request after the other. Each
request is used up when it is entered, so a copy of it, however it came about, finds nothing to do.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from time import monotonic
from typing import Any

from django.db import Error as DatabaseError

from django_workflow.conf import settings
from django_workflow.core.exceptions import TransactionOpenError
from django_workflow.core.workflow import Workflow
from django_workflow.runtime.executor import enter
from django_workflow.runtime.journals import journals
from django_workflow.runtime.messages import Answer, Outcome, Ticket
from django_workflow.runtime.performer import Allowance
from django_workflow.runtime.trouble import DeliveryTroubleError
from django_workflow.runtime.worker import stopping
from django_workflow.runtime.workers import worker_name
from django_workflow.store import claims
from django_workflow.store.rows import Claim


def carry_by_request(claim: Claim, post: Callable[[Ticket], Answer]) -> None:
    """Have ``post`` carry a claim's requests to the view while there is more to do, up to the pass budget.

    Raises:
        DeliveryTroubleError: a request did not get through.
    """
    ends = monotonic() + settings().PASS_BUDGET.total_seconds()
    while (answer := post(Ticket.of(claim))).outcome is Outcome.AGAIN:
        claim.entry += 1
        if monotonic() >= ends or stopping.is_set():
            claims.give_back(claim, due_in=timedelta(0))
            return
    if answer.outcome is not Outcome.OVER:
        # A stale one says nothing of the process in which the request was made before.
        survived = answer.outcome is Outcome.TROUBLE
        raise DeliveryTroubleError(answer.reason, survived=survived)


def carry_request(workflow: Workflow[Any, Any], ticket: Ticket) -> Answer:
    """Carry out one request of a claim that a worker holds; what is in the way becomes the answer."""
    try:
        known = journals.left(ticket.run_id, ticket.delivery_id, ticket.token)
        claim = claims.enter(ticket.delivery_id, ticket.token, ticket.entry, known)
        if claim is None or (claim.run_id, claim.run.workflow) != (ticket.run_id, workflow.name):
            return Answer(
                outcome=Outcome.STALE,
                reason="The delivery was stale: its lease is over, another worker has taken it over, or it came twice.",
            )
        return Answer(
            outcome=Outcome(
                enter(claim, worker=worker_name(), allowance=_allowance(workflow)).value
            )
        )
    except (DeliveryTroubleError, TransactionOpenError) as error:
        return Answer(outcome=Outcome.TROUBLE, reason=str(error))
    except DatabaseError as error:
        return Answer(
            outcome=Outcome.TROUBLE,
            reason=f"The database did not answer the web process: {error}",
        )


def _allowance(workflow: Workflow[Any, Any]) -> Allowance:
    steps = workflow.options.steps_per_pass or settings().STEPS_PER_PASS or 1
    return Allowance(budget=settings().PASS_BUDGET, steps=steps)
