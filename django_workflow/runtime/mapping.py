"""Maps: each slice of items has a delivery of its own, which executes and records them one after the other.

The slice's pass comes to the map once, for the function that is called; what it is called with are the items as
they were registered. Between two items the entry looks at its time and at the run's state.
"""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

from django.db import Error as DatabaseError

from django_workflow.conf import settings
from django_workflow.core.at_rest import opened
from django_workflow.core.codec import codec
from django_workflow.core.context import CurrentStep, Triggers
from django_workflow.core.exceptions import DeliveryFencedError, PayloadTooLargeError
from django_workflow.core.journal import Record
from django_workflow.core.maps import slice_of
from django_workflow.core.steps import NO_OPTIONS, MapStep, PatchStep, RunStep, Step
from django_workflow.core.types import Failure, StepStatus
from django_workflow.models import Attempt
from django_workflow.runtime.bodies import (
    BodyTimeoutError,
    call_body,
    idempotency_key,
    trigger_seed,
)
from django_workflow.runtime.failure import retry_in, text_of, timeout_failure
from django_workflow.runtime.flow_control import give_slot_back, take_slot
from django_workflow.runtime.step_rows import record_of, row_of
from django_workflow.store import claims, maps
from django_workflow.store.maps import Ended, Item, Tried
from django_workflow.store.records import AttemptRow
from django_workflow.store.rows import Mapped, StepRow

logger = logging.getLogger(__name__)

#: How many errors beside the first one a failed map carries; each item keeps its own.
MOST_OTHERS = 100


def open_map(step: MapStep) -> StepRow:
    """Return the row of a map that has just been met, with its items."""
    items = tuple(json.dumps(item, separators=(",", ":")) for item in json.loads(step.items_text))
    return row_of(
        step,
        StepStatus.EXECUTING,
        attempts=1,
        delivered=True,
        mapped=Mapped(items, step.count, step.slices),
    )


def reopened(step: Step, record: Record | None) -> StepRow | None:
    """Return the row of a map that has to get its deliveries anew; None for everything else."""
    if record is None or record.status != StepStatus.PENDING or not isinstance(step, MapStep):
        return None
    arguments = codec.loads(record.arguments_text)
    mapped = Mapped((), arguments["items"], arguments["slices"])
    return replace(open_map(step), registered=True, attempts=record.attempts, mapped=mapped)


def perform_map(
    performer: Any, step: MapStep, record: Record | None, markers: tuple[PatchStep, ...]
) -> Record | None:
    """Record a map of nothing; under the delivery of a slice, execute its items."""
    if not performer.claim.is_turn:
        found = slice_of(performer.claim.step_key)
        return None if found is None else _Slice(performer, step, found[1]).work()
    if step.count or record is not None:
        return None
    row = row_of(step, StepStatus.COMPLETED, result_text='{"results":[]}')
    done: Record | None = performer.write(step, row, markers)
    return done


class _Slice:
    """One entry of a slice's delivery."""

    def __init__(self, performer: Any, step: MapStep, places: range) -> None:
        self.performer = performer
        self.claim = performer.claim
        self.step = step
        self.places = places
        self.options = step.options.over(performer.options)
        self.body = performer.body_of(step)
        self.later: list[datetime] = []
        self.has_begun = False

    def work(self) -> Record | None:
        """Execute what is due, and end the slice, put it off, or leave the rest for the next entry."""
        performer = self.performer
        try:
            for item in maps.open_items(self.claim.run_id, self.step.key, self.places):
                if item.wake_at is not None and item.wake_at > performer.now:
                    self.later.append(item.wake_at)
                elif not self._may_go_on() or not self._execute(item):
                    performer.exhausted = True
                    return None
            if self.later:
                claims.give_back_step(self.claim, min(self.later))
                performer.ended = True
                return None
            ended = maps.end_slice(self.claim, self.step.key, self._gather)
        except DeliveryFencedError:
            performer.fenced = True
            return None
        except DatabaseError as error:
            performer.broken = error
            return None
        performer.ended = True
        if ended is None:
            return None
        done, row = ended
        written = record_of(row, done.sequence, done.finished_at)
        performer.add(written, ())
        return written

    def _may_go_on(self) -> bool:
        allowed = not self.has_begun or self.performer.allowance.has_time()
        self.has_begun = True
        return allowed

    def _execute(self, item: Item) -> bool:
        """Execute an item under the flow control of bodies; see `_call()`. In line, the slice waits with all that is left."""
        control = self.options.flow_control
        if control is None:
            return self._call(item)
        taken = take_slot(self.claim, self.claim.step_key, control)
        if taken.slot is None:
            self.performer.in_line[self.claim.step_key] = taken.opens_at
            return False
        may_go_on = self._call(item)
        # No `finally`: who dies on the way leaves its slot to its lease.
        give_slot_back(taken.slot)
        return may_go_on

    def _call(self, item: Item) -> bool:
        """Call the function with an item and record what came of it; False where the run is no longer what it was."""
        step, claim, attempt = self.step, self.claim, item.attempts + 1
        place = f"{step.key}//[{item.place}]"
        if claim.tries > 1 and not claims.mark_begun(claim, place):
            raise DeliveryFencedError(place, delivery_id=claim.delivery_id, token=claim.token)
        timeout = self.options.timeout or settings().STEP_TIMEOUT
        performer = self.performer
        current = CurrentStep(
            name=step.name,
            attempt=attempt,
            idempotency_key=idempotency_key(
                claim.run_id, claim.run.generation, performer.round_of(step), place
            ),
            workflow_run_id=claim.run_id,
            deadline=None if timeout is None else performer.now + timeout,
            index=item.place,
            triggers=Triggers(trigger_seed(claim, place)),
        )
        # Not an attempt of the item, if it cannot be read at this moment.
        item_text = opened(item.item_text)
        begun = monotonic()
        error: BaseException | None = None
        text: str | None = None
        try:
            value = codec.loads(item_text, what="item")
            body = RunStep(step.key, step.name, step.branch, NO_OPTIONS, self.body, (value,), {})
            text = codec.dumps(
                call_body(body, current, timeout),
                what="result",
                max_bytes=settings().MAX_RESULT_BYTES,
            )
        except (Exception, SystemExit) as raised:  # the door of user code: it is the item's attempt
            error = raised
        took = timedelta(seconds=monotonic() - begun)
        if error is None and timeout is not None and took > timeout:
            # A plain function cannot be stopped, and is told when it is over.
            error = BodyTimeoutError(f"Item {item.place} took longer than {timeout}.")
        if error is None:
            tried, kept = Tried(attempt, result_text=text), None
        else:
            tried, kept = self._failed(item, attempt, error, timeout, took)
        status = maps.record_item(claim, item, tried, kept)
        return bool(status == claim.run.status)

    def _failed(
        self,
        item: Item,
        attempt: int,
        error: BaseException,
        timeout: timedelta | None,
        took: timedelta,
    ) -> tuple[Tried, AttemptRow]:
        name = f"{self.step.name}[{item.place}]"
        if isinstance(error, BodyTimeoutError) and timeout is not None:
            failure = timeout_failure(name, timeout.total_seconds(), attempt)
            outcome = Attempt.Outcome.TIMED_OUT
        else:
            failure = Failure.from_exception(error, step=name, attempts=attempt)
            outcome = Attempt.Outcome.FAILED
        text = text_of(failure)
        delay = retry_in(error, attempt, self.options)
        if delay is not None:
            self.later.append(self.performer.now + delay)
        logger.warning(
            'Item %d of map "%s" %s: %s',
            item.place,
            self.step.name,
            "gave up" if delay is None else f"is tried again in {delay}",
            failure.message,
            extra={"run_id": self.claim.run_id, "step": self.step.name, "attempt": attempt},
        )
        kept = AttemptRow(self.step.key, attempt, outcome, text, None, took)
        return Tried(attempt, failure_text=text, wakes_in=delay), kept

    def _gather(self, ended: list[Ended]) -> StepRow:
        """Return the row that the whole map becomes."""
        failures = {
            str(item.place): json.loads(opened(item.failure_text))
            for item in ended
            if item.failure_text
        }
        text: str | None = None
        failure: dict[str, Any] | None = None
        if failures and not self.step.return_errors:
            (first, failure), *others = failures.items()
            failure |= {"step": self.step.name, "index": int(first)}
            failure["others"] = [
                {**one, "index": int(place), "traceback": ""} for place, one in others[:MOST_OTHERS]
            ]
        else:
            results = ",".join(opened(item.result_text or "null") for item in ended)
            short = {place: {**one, "traceback": ""} for place, one in failures.items()}
            errors = f',"failures":{json.dumps(short)}' if short else ""
            text = f'{{"results":[{results}]{errors}}}'
            failure = self._too_large(len(text))
        row = row_of(
            self.step,
            StepStatus.COMPLETED if failure is None else StepStatus.FAILED,
            result_text=text if failure is None else None,
            failure_text=None if failure is None else json.dumps(failure),
            attempts=1,
            worker=self.performer.worker,
            delivered=True,
            registered=True,
        )
        known = self.performer.journal.records.get(self.step.key)
        return row if known is None else replace(row, arguments_text=known.arguments_text)

    def _too_large(self, size: int) -> dict[str, Any] | None:
        limit = settings().MAX_RESULT_BYTES
        if size <= limit:
            return None
        error = PayloadTooLargeError(
            f"The results of the {self.step.count:,} items take {size:,} bytes, and at most {limit:,} are stored. "
            'Return ids, or raise WORKFLOW["MAX_RESULT_BYTES"].',
            size=size,
            limit=limit,
        )
        return dict(Failure.from_exception(error, step=self.step.name, attempts=1).to_json())
