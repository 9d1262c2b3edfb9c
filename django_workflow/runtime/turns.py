"""Turns of several runs that a worker has claimed together: what they have in common is read and written at once.

When thousands of sleepers wake, or waiters are told, each turn is a load, a record and an end, and a transaction for
each would be most of the work. The holder of a batch loads its journals in one statement, records the sleeps that are
over in one before the first pass, and keeps the ends of runs back (`kept_back`) whose pass has written nothing else.
Each is written under its own token. Whatever is not that plain is left to the pass itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from django_workflow.core.journal import Journal, Record
from django_workflow.core.types import RunStatus, StepKind
from django_workflow.runtime.endings import Ending
from django_workflow.runtime.journals import journals
from django_workflow.runtime.kept_back import KeptBack
from django_workflow.runtime.singleton_lines import stored_line
from django_workflow.runtime.sleeping import slept
from django_workflow.runtime.step_rows import elapsed_row
from django_workflow.runtime.timers import over
from django_workflow.store import completions, records
from django_workflow.store.rows import Claim
from django_workflow.store.sql import connection

SLEEPS: Final = frozenset({StepKind.SLEEP, StepKind.SLEEP_UNTIL})


class _End(NamedTuple):
    ending: Ending
    text: str | None


class Turns:
    """The turns of one batch, in one thread's hands."""

    def __init__(self, went_wrong: Callable[[Claim, Exception], None]) -> None:
        """``went_wrong`` puts a turn off whose end could not be written."""
        self._went_wrong = went_wrong
        self._ends: KeptBack[_End, bool] = KeptBack(_complete, went_wrong)
        #: The wake counter of each turn as its pass begins.
        self._wakes: dict[int, int] = {}

    def prepare(self, claims: Sequence[Claim]) -> None:
        """Load what the passes will need, and record the sleeps that are over.

        Raises:
            django.db.Error: the database did not answer; each pass finds out for itself what is left to do.
            AtRestError: something that is kept of one of the runs cannot be read; as above.
        """
        turns = [claim for claim in claims if claim.is_turn]
        loaded = journals.load_ahead(turns)
        _record_sleeps(loaded)
        if len(turns) > 1:
            self._wakes = {claim.delivery_id: claim.wakes for claim in turns}

    def has(self, claim: Claim) -> bool:
        """Tell whether this is one of several turns."""
        return claim.delivery_id in self._wakes

    def ending(self, claim: Claim, *facts: Any, **options: Any) -> Ending:
        """Make what ends the run of one of the turns."""
        ending = _Ending(claim, *facts, **options)
        ending.turns = self
        return ending

    def keep_back(self, ending: Ending, text: str | None) -> bool:
        """Keep the end of a run back, and write it with others soon; False if it has to be written by itself."""
        claim = ending.claim
        if (
            claim.wakes != self._wakes.get(claim.delivery_id)
            or claim.run.parent_waits
            or stored_line(claim.run) is not None
            # What the run says is written with its end.
            or connection().in_atomic_block
        ):
            return False
        if self._ends.add(claim, _End(ending, text)):
            self.flush()
        return True

    def flush(self) -> None:
        """Write what is kept back, and say what has ended."""
        for claim, end, done in self._ends.flush():
            try:
                end.ending.was_completed(done)
            except Exception as error:  # broad: it concerns this run alone
                self._went_wrong(claim, error)


class _Ending(Ending):
    """Ends a run together with others."""

    turns: Turns

    def complete(self, text: str | None, *, leaves_open: bool) -> None:
        """See `Ending.complete()`."""
        if leaves_open or not self.turns.keep_back(self, text):
            super().complete(text, leaves_open=leaves_open)


def _complete(kept: Sequence[tuple[Claim, _End]]) -> list[bool]:
    return completions.complete_together([(claim, end.text) for claim, end in kept])


def _record_sleeps(loaded: Sequence[tuple[Claim, Journal]]) -> None:
    """Record the sleeps that are over, and keep the journals, for the passes to find."""
    ended = [
        (claim, journal, sleep)
        for claim, journal in loaded
        if (sleep := _only_sleep(claim, journal)) is not None
    ]
    found = (
        records.record_of_turns([(claim, elapsed_row(sleep)) for claim, _, sleep in ended])
        if ended
        else []
    )
    outdated: set[str] = set()
    for (claim, journal, sleep), done in zip(ended, found, strict=True):
        if done is None or done.sequence != claim.wakes:
            # Somebody else has the turn, or has recorded something meanwhile: the pass loads what there is.
            outdated.add(claim.run_id)
            continue
        journal.add(slept(sleep, done))
    for claim, journal in loaded:
        if claim.run_id not in outdated:
            journals.keep(journal, claim)


def _only_sleep(claim: Claim, journal: Journal) -> Record | None:
    """Return the sleep that is over, if it is all that the turn has to make good before it is passed."""
    run = claim.run
    is_plain = run.status == RunStatus.RUNNING and claim.tries == 1 and not claim.begun
    if not is_plain or (run.deadline is not None and run.deadline <= claim.now):
        return None
    timers = over(journal.open_records(), claim.now)
    return timers[0] if len(timers) == 1 and timers[0].kind in SLEEPS else None
