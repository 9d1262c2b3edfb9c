"""Steps of one fan-out that a worker has claimed together: what ends within a moment is recorded in one transaction.

Each record of a step delivery locks the run's turn until it is on disk, so a fan-out of short bodies would spend its
time there. The holder of several loads the journal once, enters them one after the other, and keeps results back
(`kept_back`) until the last one has ended. Each is written under its own token, so being taken over concerns one step
alone. A process that dies meanwhile repeats the bodies whose results it kept back: each of them once, as after any
death.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

from django.db import Error as DatabaseError

from django_workflow.core.journal import Journal, Record
from django_workflow.core.maps import slice_of
from django_workflow.core.steps import PatchStep, Step, StepOptions
from django_workflow.core.types import RunStatus
from django_workflow.runtime.announcing import step_ended
from django_workflow.runtime.journals import journals
from django_workflow.runtime.kept_back import KeptBack
from django_workflow.runtime.performer import Allowance, Performer
from django_workflow.runtime.step_rows import record_of
from django_workflow.runtime.trouble import NOT_READABLE
from django_workflow.store import records
from django_workflow.store.records import AttemptRow
from django_workflow.store.rows import Claim, Recorded, StepRow
from django_workflow.store.sql import kept_row

logger = logging.getLogger(__name__)


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
    row: StepRow


class Together:
    """Step deliveries of one run in one thread's hands."""

    def __init__(
        self, claims: Sequence[Claim], went_wrong: Callable[[Claim, Exception], None]
    ) -> None:
        """Hold these claims; ``went_wrong`` puts one off whose result could not be written."""
        self._results: KeptBack[_Kept, Recorded | None] = KeptBack(_record, went_wrong)
        self._journal: Journal | None = None
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
        if self._results.add(performer.claim, _Kept(performer, row)):
            self.flush()

    def flush(self) -> None:
        """Write what is kept back, and say what has ended."""
        for claim, (performer, row), done in self._results.flush():
            if done is not None:
                step_ended(claim, record_of(row, done.sequence, done.finished_at))
                continue
            logger.info(
                "A delivery of run %s was taken over", claim.run_id, extra={"run_id": claim.run_id}
            )
            performer.keep_late(row)


def _record(kept: Sequence[tuple[Claim, _Kept]]) -> list[Recorded | None]:
    return records.record_together([(claim, one.row) for claim, one in kept])


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
