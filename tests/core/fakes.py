"""The runtime in small: a run whose records are kept in memory, driven pass by pass."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from django_workflow.core.codec import codec
from django_workflow.core.context import CurrentStep, RunFacts, executing
from django_workflow.core.context_async import AsyncWorkflowContext
from django_workflow.core.context_sync import WorkflowContext
from django_workflow.core.journal import Journal, Record
from django_workflow.core.races import lost_branches
from django_workflow.core.replay import Outcome, Replay, Suspended
from django_workflow.core.replay_async import AsyncReplay
from django_workflow.core.replay_sync import SyncReplay
from django_workflow.core.steps import PatchStep, RaceStep, RunStep, Step
from django_workflow.core.types import Failure, StepKind, StepStatus

STARTED_AT = datetime(2030, 1, 1, tzinfo=UTC)
FACTS = RunFacts(workflow_run_id="run-1", workflow_run_created_at=STARTED_AT, request_payload=None)


class Crash(BaseException):
    """The process died between a body and its record."""


def record_of(step: Step, status: StepStatus, **fields: Any) -> Record:
    """Return the record of a step, as the store writes it."""
    empty: dict[str, Any] = {
        "sequence": None,
        "arguments_text": codec.dumps(step.arguments(), what="arguments") if step.compares else "",
        "result_text": None,
        "failure_text": None,
        "attempts": 0,
        "delivered": False,
        "wake_at": None,
        "finished_at": None,
    }
    place = {"key": step.key, "name": step.name, "branch": step.branch, "kind": step.kind}
    return Record(**{**empty, **place, "status": status, **fields})


class MemoryRun:
    """A run of one function: what the database, the executor and the clock do for a real one.

    Args:
        function: The workflow, sync or async, called with its context.
        prefix: Where its steps stand: empty, or ``failure.1/`` for a handler.
        retries: How often a failed body is tried again.
        steps_per_pass: How many bodies one pass may execute; None for any number.
        crashes: Which executions of a body end in a crash before the record, counted from 1.
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        *,
        prefix: str = "",
        retries: int = 0,
        steps_per_pass: int | None = None,
        crashes: Iterable[int] = (),
        strict_arguments: bool = False,
    ) -> None:
        self.function = function
        self.prefix = prefix
        self.retries = retries
        self.steps_per_pass = steps_per_pass
        self.crashes = set(crashes)
        self.strict_arguments = strict_arguments
        self.stored: dict[str, Record] = {}
        self.sequence = 0
        #: The steps that were open once, in the order they were met, and since which sequence number.
        self.opened: dict[str, Record] = {}
        self.opened_at: dict[str, int] = {}
        #: The steps that a race has closed, and at which sequence number.
        self.abandoned: dict[str, int] = {}
        #: The steps whose bodies were called, in order.
        self.called: list[str] = []
        self.passes = 0
        self.replay: Replay | None = None
        self._journal: Journal | None = None
        self._left = 0

    # What the database holds.

    @property
    def keys(self) -> set[str]:
        """The keys of all steps stored; markers aside, of which the last may have found no write to go with."""
        return {record.key for record in self.stored.values() if record.kind != StepKind.PATCH}

    @property
    def order(self) -> list[str]:
        """The keys of what is recorded, in sequence."""
        recorded = [r for r in self.stored.values() if r.sequence is not None]
        return [record.key for record in sorted(recorded, key=lambda r: r.sequence or 0)]

    @property
    def waiting(self) -> list[str]:
        """The keys of the open steps."""
        return [
            record.key
            for record in self.stored.values()
            if record.sequence is None and record.key not in self.abandoned
        ]

    @property
    def calls(self) -> Counter[str]:
        """How often the body of each step was called."""
        return Counter(self.called)

    def load(self, *, until: int | None = None) -> Journal:
        """Return a fresh journal; with ``until``, as it stood after that sequence number."""
        journal = Journal("run-1", started_at=STARTED_AT)
        journal.extend(self.stored[key] for key in self.order if self._stood(key, until))
        journal.extend(
            self.opened[key] if until is not None else self.stored[key]
            for key, since in self.opened_at.items()
            if key not in journal.records
            and (until is None or since <= until < self.abandoned.get(key, until + 1))
        )
        return journal

    def _stood(self, key: str, until: int | None) -> bool:
        return until is None or (self.stored[key].sequence or 0) <= until

    def go_back(self, until: int) -> None:
        """Make the run what it was after this sequence number."""
        journal = self.load(until=until)
        self.stored = dict(journal.records)
        self.sequence = journal.watermark
        self.opened = {key: record for key, record in self.opened.items() if key in self.stored}
        self.opened_at = {key: n for key, n in self.opened_at.items() if key in self.stored}

    def write(
        self, record: Record, markers: Iterable[PatchStep] = (), *, to: Journal | None = None
    ) -> Record:
        """Store a result under the next sequence number, behind the markers met before it."""
        for marker in markers:
            assert marker.key not in self.stored, "a marker is written once"
            self._store(record_of(marker, StepStatus.COMPLETED), to)
        return self._store(record, to)

    def _store(self, record: Record, to: Journal | None) -> Record:
        known = self.stored.get(record.key)
        assert known is None or known.sequence is None, "a result is recorded at most once"
        self.sequence += 1
        moment = STARTED_AT + timedelta(seconds=self.sequence)
        done = record._replace(sequence=self.sequence, finished_at=moment)
        self.stored[record.key] = done
        if to is not None:
            to.add(done)
        return done

    def register(self, outcome: Suspended) -> None:
        """Store what a turn found open, as the executor does when it gives the turn back."""
        bodies = [step for step, _ in outcome.steps if step.has_body]
        fan_out = len(outcome.steps) > 1
        for marker in self.replay.markers if self.replay is not None else ():
            self._store(record_of(marker, StepStatus.COMPLETED), None)
        for step, record in outcome.steps:
            if record is None and step.key not in self.stored:
                delivered = fan_out and step in bodies
                self._open(record_of(step, StepStatus.PENDING, delivered=delivered))

    def _open(self, record: Record) -> None:
        self.stored[record.key] = self.opened[record.key] = record
        self.opened_at.setdefault(record.key, self.sequence)

    def end_wait(self, key: str) -> None:
        """Let a waiting step end, as its time does."""
        self._store(self.stored[key]._replace(status=StepStatus.COMPLETED), None)

    # The host of a pass.

    def execute(
        self, step: Step, record: Record | None, markers: tuple[PatchStep, ...]
    ) -> Record | None:
        """See `core.replay.Host.execute()`."""
        if isinstance(step, RaceStep) and self.steps_per_pass != 0:
            return self.decide(step, markers)
        if not isinstance(step, RunStep) or self._left == 0:
            return None
        if (
            record is not None
            and record.delivered
            and (self.replay is None or self.replay.target is None)
        ):
            return None
        self._left -= 1
        return self.perform(step, record, markers)

    def decide(self, step: RaceStep, markers: tuple[PatchStep, ...]) -> Record:
        """Store the winner of a race, and close what the losers have open."""
        result = {"index": step.winner, "stem": step.stem, "count": step.count}
        text = codec.dumps(result, what="race")
        done = self.write(
            record_of(step, StepStatus.COMPLETED, result_text=text), markers, to=self._journal
        )
        lost = lost_branches(step.stem, step.count, step.winner)
        for key in self.waiting:
            record = self.stored[key]
            if record.branch.startswith(lost) and not (step.leaves and record.delivered):
                self.abandoned[key] = self.sequence
                self.stored[key] = record._replace(status=StepStatus.ABANDONED)
                if self._journal is not None:
                    self._journal.add(self.stored[key])
        return done

    def perform(
        self, step: RunStep, record: Record | None, markers: tuple[PatchStep, ...] = ()
    ) -> Record | None:
        """Call the body and store what came of it."""
        attempt = 1 if record is None else record.attempts + 1
        self.called.append(step.key)
        current = CurrentStep(
            name=step.name, attempt=attempt, idempotency_key=step.key, workflow_run_id="run-1"
        )
        token = executing.set(current)
        try:
            value = step.fn(*step.args, **step.kwargs)
            done = record_of(
                step,
                StepStatus.COMPLETED,
                result_text=codec.dumps(value, what="result"),
                attempts=attempt,
            )
        except (Exception, SystemExit) as error:
            failure = Failure.from_exception(error, step=step.name, attempts=attempt)
            text = codec.dumps(failure.to_json(), what="failure")
            status = StepStatus.FAILED if attempt > self.retries else StepStatus.RETRYING
            done = record_of(step, status, failure_text=text, attempts=attempt)
        finally:
            executing.reset(token)
        if len(self.called) in self.crashes:
            raise Crash
        if done.status == StepStatus.RETRYING:
            self._put_off(done, record, markers)
            return None
        return self.write(done, markers, to=self._journal)

    def _put_off(
        self, record: Record, before: Record | None, markers: tuple[PatchStep, ...]
    ) -> None:
        for marker in markers:
            self._store(record_of(marker, StepStatus.COMPLETED), self._journal)
        later = record._replace(delivered=before is not None and before.delivered)
        self._open(later)
        if self._journal is not None:
            self._journal.add(later)

    # Passes.

    def run_pass(
        self,
        *,
        target: str | None = None,
        journal: Journal | None = None,
        function: Callable[[Any], Any] | None = None,
    ) -> Outcome:
        """Make one pass over a fresh journal; ``function`` is other code than the run's own."""
        code = function or self.function
        self.passes += 1
        self._journal = journal or self.load()
        self._left = 1_000_000 if self.steps_per_pass is None else self.steps_per_pass
        is_async = inspect.iscoroutinefunction(code)
        replay: Any = (AsyncReplay if is_async else SyncReplay)(
            self._journal,
            self,
            FACTS,
            target=target,
            prefix=self.prefix,
            strict_arguments=self.strict_arguments,
        )
        context: Any = (AsyncWorkflowContext if is_async else WorkflowContext)(replay)
        self.replay = replay
        outcome: Outcome = replay.run(lambda: code(context))
        return outcome

    def deliver(self, key: str, *, until: int | None = None) -> Outcome:
        """Execute one step of a fan-out by its own delivery, whose journal may be older than what is stored."""
        return self.run_pass(target=key, journal=self.load(until=until))

    def turn(self) -> Outcome:
        """Make the pass of the turn, and register what it found open."""
        outcome = self.run_pass()
        if isinstance(outcome, Suspended):
            self.register(outcome)
        return outcome

    def drive(self, random: Random | None = None, *, limit: int = 10_000) -> Outcome:
        """Pass until the function has ended; open steps end in any order, and several between two turns."""
        rng = random or Random(0)
        for _ in range(limit):
            try:
                outcome = self.turn()
                if not isinstance(outcome, Suspended):
                    return outcome
                self._go_on(outcome, rng)
            except Crash:
                continue
        raise AssertionError(f"The run has not ended after {limit} passes.")

    def _go_on(self, outcome: Suspended, rng: Random) -> None:
        if outcome.again:
            return
        steps = {step.key: step for step, _ in outcome.steps}
        for key in rng.sample(sorted(steps), k=rng.randint(1, len(steps))):
            step, record = steps[key], self.stored[key]
            if not isinstance(step, RunStep):
                self.end_wait(key)
            elif record.delivered:
                self._deliver_late(key, rng)
            else:
                self._journal = None
                self.perform(step, record)
        # What the workflow has given up may still be under way somewhere.
        for key in [key for key in self.waiting if key not in steps]:
            if rng.random() < 0.5:
                self._deliver_late(key, rng)

    def _deliver_late(self, key: str, rng: Random) -> None:
        # The pass may have begun before the steps that ended first.
        self.deliver(key, until=rng.randint(self.opened_at[key], self.sequence))
