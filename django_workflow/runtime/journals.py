"""The journals that this process keeps between passes.

Records never change once they have a sequence number, so only what is newer, and the open steps, are loaded
again. A journal is taken out while it is used; a resume, or another run under an old id, makes it worthless.
Never consulted for fencing: that is the database's.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterable
from datetime import datetime
from threading import Lock

from django_workflow.conf import settings
from django_workflow.core.journal import Journal
from django_workflow.store import records
from django_workflow.store.rows import Claim, RunRow

logger = logging.getLogger(__name__)

KEPT_RECORDS = 50_000
#: Journals of runs that were woken more often are loaded one by one.
LOADED_AHEAD = 100


class JournalCache:
    """Journals by run, the most recently used last."""

    def __init__(self, limit: int = KEPT_RECORDS) -> None:
        self._limit = limit
        self._size = 0
        self._lock = Lock()
        self._journals: OrderedDict[str, tuple[Journal, tuple[int, int, int], RunRow]] = (
            OrderedDict()
        )

    def take(self, claim: Claim, *targets: str) -> Journal:
        """Return the journal of the claimed run, up to date as of a moment after the claim.

        Of the open steps it holds the ``targets`` of step deliveries alone, if any are given.
        """
        run = claim.run
        with self._lock:
            journal, left_by, _ = self._journals.pop(run.id, (None, None, None))
            if journal is not None:
                self._size -= len(journal.records)
        if journal is not None and left_by == _standing(claim):
            return journal
        if (
            journal is None
            or journal.revision != run.revision
            or journal.started_at != _started(claim)
        ):
            journal = _empty(claim)
        else:
            journal.forget_open()
        if claim.wakes or not claim.is_turn or not _is_first(claim):
            journal.extend(records.load(run.id, journal.watermark, targets=targets))
        return journal

    def load_ahead(self, claims: Iterable[Claim]) -> list[tuple[Claim, Journal]]:
        """Load the journals of turns that are about to be passed, all in one statement, unless what is kept is up to date.

        They are the caller's to keep. What is recorded from then on raises the wake counter, as it does during a pass.
        """
        with self._lock:
            wanted = {claim.run_id: claim for claim in claims if self._is_wanted(claim)}
        if len(wanted) <= 1:
            return []  # by itself, and no more of it than is new
        loaded: list[tuple[Claim, Journal]] = []
        for run_id, found in records.load_all(list(wanted)).items():
            journal = _empty(wanted[run_id])
            journal.extend(found)
            loaded.append((wanted[run_id], journal))
        return loaded

    def _is_wanted(self, claim: Claim) -> bool:
        _, left_by, _ = self._journals.get(claim.run_id, (None, None, None))
        begun = claim.is_turn and claim.run.started_at is not None
        return begun and claim.wakes <= LOADED_AHEAD and left_by != _standing(claim)

    def keep(self, journal: Journal, claim: Claim) -> None:
        """Keep a journal for the next pass, and drop the oldest ones beyond the limit."""
        with self._lock:
            previous, _, _ = self._journals.pop(journal.run_id, (None, None, None))
            if previous is not None:
                self._size -= len(previous.records)
            self._journals[journal.run_id] = (journal, _standing(claim), claim.run)
            self._size += len(journal.records)
            while self._size > self._limit and len(self._journals) > 1:
                _, (oldest, _, _) = self._journals.popitem(last=False)
                self._size -= len(oldest.records)

    def lend(self, journal: Journal, claim: Claim) -> None:
        """Have the next entry, which is this claim's, find the kept journal as its own.

        Not if somebody has taken it meanwhile, nor if it was loaded without the open step that the claim is for.
        """
        with self._lock:
            kept, _, run = self._journals.get(journal.run_id, (None, None, None))
            if kept is journal and run is not None and claim.step_key in journal.records:
                self._journals[journal.run_id] = (journal, _standing(claim), run)

    def left(self, run_id: str, delivery_id: int, token: int) -> tuple[int, RunRow] | None:
        """Return the run as a pass under this claim has left it, and the wake counter of that moment."""
        with self._lock:
            _, left_by, run = self._journals.get(run_id, (None, None, None))
        if left_by is None or run is None or left_by[:2] != (delivery_id, token):
            return None
        return left_by[2], run

    def clear(self) -> None:
        """Forget everything, as the sandbox does between tests."""
        with self._lock:
            self._journals.clear()
            self._size = 0


def _started(claim: Claim) -> datetime:
    return claim.run.continued_at or claim.run.started_at or claim.now


def _is_first(claim: Claim) -> bool:
    """Whether nobody can have registered a step yet: the run begins, or this is its first holder's first request."""
    return claim.run.started_at is None or (claim.token == 1 and claim.entry <= 1)


def _empty(claim: Claim) -> Journal:
    return Journal(claim.run_id, revision=claim.run.revision, started_at=_started(claim))


def _standing(claim: Claim) -> tuple[int, int, int]:
    """What must be the same for a kept journal to be the whole truth: held without a break, and no wake since.

    A token that has not changed means that nobody else held the turn and registered steps; a counter that has not
    moved, that nobody recorded.
    """
    return claim.delivery_id, claim.token, claim.wakes


journals = JournalCache()


def warn_of_growth(journal: Journal, before: int) -> None:
    """Say so in the log when a journal has come to the number of steps that the settings warn of."""
    limit, size = settings().STEPS_WARNING, len(journal.records)
    if limit is not None and before < limit <= size:
        logger.warning(
            "Run %s has %d steps, and each pass goes through all of them: let it end a generation with "
            "ctx.continue_as_new()",
            journal.run_id,
            size,
            extra={"run_id": journal.run_id},
        )
