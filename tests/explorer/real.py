"""The real store, made to follow a schedule of the model, and its rows seen as a state of the model."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from django_workflow.core.exceptions import DeliveryFencedError
from django_workflow.core.journal import Record
from django_workflow.models import Delivery, Run, Step
from django_workflow.store import claims, completions, records, runs, triggers, waits
from django_workflow.store.rows import Claim, StepRow
from tests.explorer.model import FANNED_OUT, STEPS, Label, State
from tests.store.made import PAST, completed, new_run, pending, sleeping

KINDS = {"a": "run", "b": "run", "s": "sleep", "j": "run", "e": "wait_for_event"}
OPEN = {"pending", "sleeping", "waiting"}


class Clock:
    """Time that stands until it is moved."""

    def __init__(self) -> None:
        self.moment = PAST + timedelta(days=1000)

    def now(self):  # type: ignore[no-untyped-def]
        return self.moment


class Known(NamedTuple):
    """What a worker of the real store holds and has read."""

    claim: Claim
    journal: dict[str, Record]


class Rows(NamedTuple):
    """What the model and the database have in common."""

    run: str
    turn: str
    steps: tuple[str, ...]
    subs: tuple[str, ...]
    moved: tuple[bool | None, ...]


class Store:
    """Does with real rows what each action of the model means."""

    def __init__(self, run_id: str, clock: Clock) -> None:
        self.run_id = run_id
        self.clock = clock
        self.workers: dict[str, Known] = {}
        triggers.insert([new_run(run_id)])

    def act(self, label: Label) -> None:
        """Make one commit, or let something befall a worker."""
        name, *arguments = label
        getattr(self, name.replace(" ", "_"))(*arguments)

    # What happens around the workers

    def tick(self) -> None:
        self.clock.moment += timedelta(hours=2)

    def notify(self) -> None:
        runs.wake(self.run_id)

    def cancel(self) -> None:
        assert runs.cancel(self.run_id) is None

    def pause(self) -> None:
        assert runs.pause(self.run_id) is None

    def unpause(self) -> None:
        assert runs.unpause(self.run_id)

    def crash(self, worker: str) -> None:
        self.lease_ends(worker)
        del self.workers[worker]

    def lease_ends(self, worker: str) -> None:
        claim = self.workers[worker].claim
        Delivery.objects.filter(pk=claim.delivery_id, token=claim.token).update(due_at=PAST)

    # A worker's commits

    def claim(self, worker: str, key: str) -> None:
        # Of what is due, the one that the schedule means.
        due = Delivery.objects.filter(
            run_id=self.run_id, step_key=key, due_at__lte=self.clock.moment
        )
        assert due.update(due_at=PAST - timedelta(days=1)) == 1
        [found] = claims.claim(f"worker {worker}", 1, only=[self.run_id])
        assert found.step_key == key
        self.workers[worker] = Known(found, {})

    def load(self, worker: str) -> None:
        journal = {record.key: record for record in records.load(self.run_id)}
        self.workers[worker] = Known(self.workers[worker].claim, journal)

    def body(self, worker: str, key: str) -> None:
        """Leave nothing in the database."""

    def record(self, worker: str, key: str) -> None:
        claim, journal = self.workers[worker]
        row = completed(
            key, kind=KINDS[key], registered=key in journal, delivered=key in FANNED_OUT
        )
        try:
            records.record(claim, row)
        except DeliveryFencedError:
            del self.workers[worker]
            return
        if not claim.is_turn:
            del self.workers[worker]

    def wait(self, worker: str, *keys: str) -> None:
        claim, journal = self.workers.pop(worker)
        new = [key for key in keys if key not in journal]
        fan_out = [key for key in new if key in FANNED_OUT]
        try:
            waits.wait(claim, [opened(key) for key in new], fan_out=fan_out)
        except DeliveryFencedError:
            return

    def again(self, worker: str) -> None:
        claims.give_back(self.workers.pop(worker).claim, due_in=timedelta(0))

    def hold(self, worker: str) -> None:
        claim, journal = self.workers.pop(worker)
        timer = journal.get("s")
        is_open = timer is not None and timer.sequence is None and claim.is_turn
        claims.give_back(claim, due_at=timer.wake_at if timer and is_open else None)

    def complete(self, worker: str) -> None:
        claim, _ = self.workers.pop(worker)
        if not completions.complete(claim, None, leaves_open=False):
            claims.give_back(claim, due_in=timedelta(0))

    # The rows as the model sees them

    def rows(self) -> Rows:
        """Return what is in the database, in the model's words."""
        deliveries = {row.step_key: row for row in Delivery.objects.filter(run_id=self.run_id)}
        steps = {row.key: row.status for row in Step.objects.filter(run_id=self.run_id)}
        status = Run.objects.get(pk=self.run_id).status
        return Rows(
            run="running" if status == "pending" else status,
            turn=self._due(deliveries.get("")),
            steps=tuple(self._stands(steps.get(key, "-")) for key in STEPS),
            subs=tuple(self._due(deliveries.get(key)) for key in FANNED_OUT),
            moved=tuple(self._moved(str(number), deliveries) for number in range(2)),
        )

    def _due(self, row: Delivery | None) -> str:
        if row is None:
            return "none"
        if row.due_at is None:
            return "parked"
        if row.due_at <= self.clock.moment:
            return "due"
        return "held" if row.leased_by else "timer"

    def _stands(self, status: str) -> str:
        return {"completed": "done"}.get(status, "open" if status in OPEN else status)

    def _moved(self, worker: str, deliveries: dict[str, Delivery]) -> bool | None:
        known = self.workers.get(worker)
        row = deliveries.get(known.claim.step_key) if known else None
        if known is None or row is None or row.token != known.claim.token:
            return None
        return row.wakes != known.claim.wakes


def opened(key: str) -> StepRow:
    """Return the row with which a step of the model's run is registered."""
    if key == "s":
        return sleeping(key, 3600)
    return pending(key, kind=KINDS[key], status="waiting" if key == "e" else "pending")


def rows_of(state: State) -> Rows:
    """Return what a state of the model says of the database."""
    return Rows(
        run=state.run,
        turn=state.turn,
        steps=state.steps,
        subs=state.subs,
        moved=tuple(
            worker.moved if worker is not None and worker.valid else None
            for worker in state.workers
        ),
    )
