"""A worker at work: claims what is due in batches, has each delivery carried out, and goes on while there is more.

One wake-up may find anything: hints are per worker, not per run. A full batch tells that there is more, and wakes
one more worker; what is not begun when the process is told to stop is given back.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection
from datetime import timedelta
from functools import partial
from threading import Event
from time import monotonic

from django.db import Error as DatabaseError
from django.db import connections

from django_workflow.conf import settings
from django_workflow.core.ports import get_dispatcher, get_transport
from django_workflow.core.workflow import registry
from django_workflow.runtime.announcing import run_started
from django_workflow.runtime.couriers import couriers
from django_workflow.runtime.endings import Ending
from django_workflow.runtime.executor import End, enter
from django_workflow.runtime.failure import trouble_delay
from django_workflow.runtime.leases import Held, keeper
from django_workflow.runtime.performer import Allowance, Performer
from django_workflow.runtime.together import Together, may_join
from django_workflow.runtime.trouble import (
    NOT_READABLE,
    DeliveryTroubleError,
    refuse_open_transaction,
)
from django_workflow.runtime.turns import Turns
from django_workflow.runtime.workers import worker_name
from django_workflow.store import claims
from django_workflow.store.rows import Claim

logger = logging.getLogger(__name__)

BATCH_SECONDS = 0.1
#: How many deliveries are claimed before it is known how long they take.
FIRST_BATCH = 8
#: How seldom a busy worker tells others.
HINT_SECONDS = 0.03

#: Set when this process has been told to stop: nothing more is claimed or begun.
stopping = Event()


def hint(count: int = 1) -> None:
    """Tell up to ``count`` workers to look for due deliveries, where there is somebody to tell."""
    dispatcher = get_dispatcher()
    if dispatcher is not None:
        dispatcher.hint(count)


def drain(*, seconds: float | None = None, only: Collection[str] | None = None) -> int:
    """Carry out due deliveries until none is left, or for about this long; return how many were claimed.

    Raises:
        TransactionOpenError: called inside a transaction.
    """
    refuse_open_transaction("Due deliveries were asked for")
    worker = worker_name()
    ends = None if seconds is None else monotonic() + seconds
    carried = 0
    while not stopping.is_set():
        heal_connections()
        batch = _pace.batch()
        found = claims.claim(worker, batch, only=only)
        if not found:
            return carried
        if len(found) == batch and only is None and _pace.may_hint():
            hint()
        carried += len(found)
        begun = monotonic()
        _carry_all(found, worker)
        _pace.carried(len(found), monotonic() - begun)
        if ends is not None and monotonic() >= ends:
            hint()
            return carried
    return carried


class _Pace:
    """How many deliveries to claim at once, and how often to tell others.

    What took long so far is taken in small batches, for others to share; what is short in large ones, whose turns are
    read and written together.
    """

    def __init__(self) -> None:
        self._average = 0.0
        self._hinted_at = 0.0

    def may_hint(self) -> bool:
        """Tell whether others are to be told of more, now: who is woken tells the next one, so seldom is enough."""
        now = monotonic()
        if now - self._hinted_at < HINT_SECONDS:
            return False
        self._hinted_at = now
        return True

    def batch(self) -> int:
        """Return a batch that takes about a tenth of a second, as far as can be told."""
        most = settings().CLAIM_BATCH
        if self._average <= 0:
            return min(most, FIRST_BATCH)
        return max(1, min(most, int(BATCH_SECONDS / self._average)))

    def carried(self, count: int, seconds: float) -> None:
        """Learn from a batch that was carried out."""
        self._average += 0.3 * (seconds / count - self._average)


_pace = _Pace()


def _carry_all(found: list[Claim], worker: str) -> None:
    """Carry a batch out: passes one after the other in this thread, requests side by side, as they only wait."""
    held = keeper.hold(found)
    requests = deque(one for one in held if transport_name(one.claim) == "http")
    passes = deque(one for one in held if one not in requests)
    try:
        with couriers(len(requests) - (not passes), partial(_carry_each, requests, worker)):
            _carry_passes(passes, worker)
            _carry_each(requests, worker)
    finally:
        requests.clear()
        _release(held)


def _carry_passes(passes: deque[Held], worker: str) -> None:
    turns = Turns(_went_wrong)
    try:
        turns.prepare([one.claim for one in passes])
    except (DatabaseError, *NOT_READABLE):
        # Each of them will find out for itself, and be put off if it has to.
        heal_connections()
    try:
        _carry_each(passes, worker, turns)
    finally:
        turns.flush()


def _carry_each(waiting: deque[Held], worker: str, turns: Turns | None = None) -> None:
    while not stopping.is_set():
        try:
            one = waiting.popleft()
        except IndexError:
            return
        others = _join(one, waiting)
        if others:
            _carry_together([one, *others])
            continue
        if keeper.begin(one):
            carry(one.claim, worker, turns)
        keeper.let_go(one)


def _join(one: Held, waiting: deque[Held]) -> list[Held]:
    """Take the claims out that can be carried out together with this one."""
    others: list[Held] = []
    if may_join(one.claim) and transport_name(one.claim) == "inline":
        while (
            waiting and waiting[0].claim.run_id == one.claim.run_id and may_join(waiting[0].claim)
        ):
            others.append(waiting.popleft())
    return others


def _carry_together(held: list[Held]) -> None:
    together = Together([one.claim for one in held], _went_wrong)
    try:
        for one in held:
            if not stopping.is_set() and keeper.begin(one):
                together.begin(one.claim)
                _deliver(one.claim, partial(carry_inline, performer=together.performer))
    finally:
        together.flush()
    for one in held:
        if one.begun is not None:
            keeper.let_go(one)


def _release(held: list[Held]) -> None:
    left = [one for one in held if one.begun is None and not one.released]
    for one in held:
        keeper.let_go(one)
    if any(one.released for one in held):
        # Who looks for more is not to miss it.
        keeper.await_hand_on()
    if left:
        claims.release((one.claim.delivery_id, one.claim.token) for one in left)


def heal_connections() -> None:
    """Close this thread's connections that a database error has left unusable, so that the next use connects anew.

    Requests have Django's signals for this; a worker that keeps its connection has nobody else.
    """
    for connection in connections.all(initialized_only=True):
        if connection.errors_occurred and not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()


def transport_name(claim: Claim) -> str:
    """Return the transport of the claimed run: its workflow's, else the settings'."""
    workflow = registry.find(claim.run.workflow)
    chosen = workflow.options.transport if workflow is not None else "inline"
    return chosen or settings().default_transport


def carry(claim: Claim, worker: str, turns: Turns | None = None) -> None:
    """Have one claimed delivery carried out; whatever goes wrong on the way is put off, never lost."""
    run_started(claim)
    name = transport_name(claim)
    if turns is not None and turns.has(claim) and name == "inline":
        _deliver(claim, partial(carry_inline, ending=turns.ending))
    else:
        _deliver(claim, lambda claim: get_transport(name).deliver(claim))


def _deliver(claim: Claim, deliver: Callable[[Claim], None]) -> None:
    try:
        deliver(claim)
    except (
        Exception
    ) as error:  # broad: the door of the worker; the delivery is repeated, and the reason shown
        _went_wrong(claim, error)


def _went_wrong(claim: Claim, error: Exception) -> None:
    if isinstance(error, DeliveryTroubleError):
        put_off(claim, str(error), survived=error.survived)
    elif isinstance(error, DatabaseError):
        put_off(claim, f"The database did not answer: {error}")
    else:
        logger.error(
            "A delivery of run %s went wrong",
            claim.run_id,
            exc_info=error,
            extra={"run_id": claim.run_id},
        )
        put_off(claim, f"The delivery went wrong: {type(error).__name__}: {error}")


def put_off(claim: Claim, reason: str, *, survived: bool = False) -> None:
    """Repeat a delivery later: after 1 s, doubling to 60 s, without end."""
    heal_connections()
    delay = trouble_delay(claim.tries)
    logger.warning(
        "A delivery of run %s is repeated in %s: %s",
        claim.run_id,
        delay,
        reason,
        extra={"run_id": claim.run_id},
    )
    try:
        claims.trouble(
            claim.delivery_id, claim.token, reason=reason, due_in=delay, survived=survived
        )
    except DatabaseError:
        logger.warning(
            "The delivery could not be put off; its lease ends by itself.",
            extra={"run_id": claim.run_id},
        )


def carry_inline(
    claim: Claim,
    performer: Callable[..., Performer] = Performer,
    ending: Callable[..., Ending] = Ending,
) -> None:
    """Pass a run in this process, for as long as the pass budget lasts; then it takes its turn behind the others."""
    workflow = registry.find(claim.run.workflow)
    steps = workflow.options.steps_per_pass if workflow is not None else None
    allowance = Allowance(budget=settings().PASS_BUDGET, steps=steps or settings().STEPS_PER_PASS)
    entered = enter(
        claim, worker=worker_name(), allowance=allowance, performer=performer, ending=ending
    )
    if entered is End.AGAIN:
        claims.give_back(claim, due_in=timedelta(0))
