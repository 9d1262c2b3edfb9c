"""Steps of one fan-out that a worker has claimed together: what ends within a moment is recorded in one transaction.

Each record of a step delivery locks the run's turn until it is on disk, so a fan-out of short bodies would spend its
time there. The holder of several loads the journal once, enters them one after the other, and keeps results back
until the last one has ended, at most for `RECORDED_WITHIN`: the keeper's thread sees to that while a longer body
runs. Each is written under its own token, so being taken over concerns one step alone. A process that dies meanwhile
repeats the bodies whose results it kept back: each of them once, as after any death.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from threading import Lock
from time import monotonic
from typing import NamedTuple

from django.db import Error as DatabaseError

from django_workflow.core.journal import Journal, Record
from django_workflow.core.maps import slice_of
from django_workflow.core.steps import PatchStep, Step, StepOptions
from django_workflow.core.types import RunStatus
from django_workflow.runtime.announcing import step_ended
from django_workflow.runtime.journals import journals
from django_workflow.runtime.leases import Held, keeper
from django_workflow.runtime.performer import Allowance, Performer
from django_workflow.runtime.step_rows import record_of
from django_workflow.runtime.trouble import NOT_READABLE
from django_workflow.store import records
from django_workflow.store.records import AttemptRow
from django_workflow.store.rows import Claim, Recorded, StepRow
from django_workflow.store.sql import connection, kept_row

logger = logging.getLogger(__name__)

#: How many seconds a result is kept back for others.
RECORDED_WITHIN = 0.005


def may_join(claim: Claim) -> bool:
    """Tell whether this is the delivery of a step at its first try, with nothing to make good."""
    return (
        bool(claim.step_key)
        and claim.tries == 1
        and not claim.deaths
        and not claim.begun
        and claim.run.status == RunStatus.RUNNING
        and slice_of(claim.step_key) is None
    )


class _Kept(NamedTuple):
    performer: Performer
    claim: Claim
    row: StepRow


class Together:
    """Step deliveries of one run in one thread's hands."""

    def __init__(
        self, claims: Sequence[Claim], went_wrong: Callable[[Claim, Exception], None]
    ) -> None:
        """Hold these claims; ``went_wrong`` puts one off whose result could not be written."""
        self._went_wrong = went_wrong
        self._journal: Journal | None = None
        self._lock = Lock()
        self._kept: list[_Kept] = []
        self._written: list[tuple[_Kept, Recorded | None]] = []
        self._since = 0.0
        self._watch: Held | None = None
        try:
            self._journal = journals.take(claims[0], *(claim.step_key for claim in claims))
        except (DatabaseError, *NOT_READABLE):
            # Each entry meets it by itself, and is put off.
            return
        journals.keep(self._journal, claims[0])

    def begin(self, claim: Claim) -> None:
        """Have the next entry, which is this claim's, find the journal that was loaded for all."""
        if self._journal is not None:
            journals.lend(self._journal, claim)

    def performer(
        self,
        claim: Claim,
        journal: Journal,
        options: StepOptions,
        allowance: Allowance,
        worker: str,
    ) -> Performer:
        """Make the host of one step's pass."""
        self._journal = journal
        performer = _Performer(claim, journal, options, allowance, worker)
        performer.together = self
        return performer

    def keep_back(self, performer: Performer, row: StepRow) -> None:
        """Keep a result, and write it with others soon."""
        with self._lock:
            if not self._kept:
                self._let_watch_go()
                self._since = monotonic()
                # In a transaction, as in a test's, another thread would not see what this one has written.
                if not connection().in_atomic_block:
                    self._watch = keeper.watch(performer.claim, RECORDED_WITHIN, self._write)
            self._kept.append(_Kept(performer, performer.claim, row))
            is_over = monotonic() - self._since >= RECORDED_WITHIN
        if is_over:
            self.flush()

    def flush(self) -> None:
        """Write what is kept back, and say what has ended."""
        self._let_watch_go()
        self._write()
        written, self._written = self._written, []
        for (performer, claim, row), done in written:
            if done is not None:
                step_ended(claim, record_of(row, done.sequence, done.finished_at))
                continue
            logger.info(
                "A delivery of run %s was taken over", claim.run_id, extra={"run_id": claim.run_id}
            )
            performer.keep_late(row)

    def _let_watch_go(self) -> None:
        if self._watch is not None:
            keeper.let_go(self._watch)
            self._watch = None

    def _write(self) -> None:
        # Under the lock to its end: whoever flushes knows that nothing is on its way any more.
        with self._lock:
            kept, self._kept = self._kept, []
            if not kept:
                return
            try:
                done = records.record_together([(one.claim, one.row) for one in kept])
            except (
                Exception
            ) as error:  # broad: whatever it is, they are repeated, and nobody else is held up
                for one in kept:
                    self._went_wrong(one.claim, error)
            else:
                self._written.extend(zip(kept, done, strict=True))


class _Performer(Performer):
    """Executes one of the steps, and leaves its record to all of them."""

    together: Together

    def write(
        self,
        step: Step,
        row: StepRow,
        markers: tuple[PatchStep, ...],
        attempt: AttemptRow | None = None,
    ) -> Record | None:
        """See `Performer.write()`; None, with the claim ended, where the result is kept back."""
        if attempt is not None or markers or self.slot is not None or self.telling.has_heard:
            return super().write(step, row, markers, attempt)
        # Encrypted and in its file before that: what goes wrong there concerns this step alone.
        self.together.keep_back(self, kept_row(row))
        self.ended = True
        return None
