"""How a process that holds claims ends in good order: what it cannot finish it gives back."""

from __future__ import annotations

from datetime import timedelta
from time import monotonic, sleep

from django.db import connections

from django_workflow.runtime.leases import keeper
from django_workflow.runtime.worker import stopping
from django_workflow.store import claims


def hand_back_all(*, within_seconds: float) -> int:
    """Begin nothing more, wait this long for what has begun, then give it back; return how many were given back.

    Only for a process that ends right after: the bodies are still running, and somebody else may begin them now.
    """
    stopping.set()
    ends = monotonic() + within_seconds
    while keeper.is_holding() and monotonic() < ends:
        sleep(0.005)
    given_back = sum(
        claims.trouble(
            claim.delivery_id,
            claim.token,
            reason="The worker was stopped.",
            due_in=timedelta(0),
            survived=True,
        )
        for claim in keeper.let_all_go()
    )
    connections.close_all()
    return given_back
