"""What a test makes go wrong: attempts that raise, and deaths before or after a body.

A death leaves the pass as a fenced one is left: nothing more of it reaches the database, no verb of the function
does anything, and the claim stays with the dead. That is what the database sees of a killed process.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from django_workflow.core.exceptions import WorkflowError
from django_workflow.core.journal import Record
from django_workflow.core.steps import (
    MapStep,
    PatchStep,
    RunStep,
    SleepStep,
    SleepUntilStep,
    Step,
)
from django_workflow.core.types import StepKind
from django_workflow.runtime.performer import Performer
from django_workflow.store.rows import StepRow

#: Steps that are done and recorded by the engine itself.
AT_ONCE = frozenset({StepKind.NOTIFY, StepKind.CREATE_WEBHOOK})
#: Steps that are registered, and then waited for.
WAITS = frozenset(
    {
        StepKind.SLEEP,
        StepKind.SLEEP_UNTIL,
        StepKind.WAIT_FOR_EVENT,
        StepKind.WAIT_FOR_WEBHOOK,
        StepKind.WAIT_FOR_APPROVAL,
        StepKind.INVOKE,
    }
)


class Fault(Enum):
    """What happens at a step."""

    FAIL = "fail"
    CRASH_BEFORE = "crash before"
    CRASH_AFTER = "crash after"


class UnmetOrderError(WorkflowError):
    """Raised at the end of a sandbox: what a test has ordered never happened, so the test has proved nothing."""


class SimulatedDeath(BaseException):
    """The process is gone. Raised only between a body and the performer, or where a pass has ended, never through a
    workflow function."""


@dataclass(slots=True)
class Rule:
    """One order of a test: at this step, so many times."""

    fault: Fault
    step: str
    occurrence: int | None
    left: int
    error: BaseException | type[BaseException] | None = None
    is_met: bool = False

    def fits(self, name: str, branch: str, key: str) -> bool:
        """Tell whether the next attempt of this step is meant."""
        return (
            self.left > 0
            and self.step == name
            and self.occurrence in (None, occurrence_of(key, branch, name))
        )

    def raised(self) -> BaseException:
        """Return the error of a failing attempt."""
        if self.error is None:
            return RuntimeError(f'The sandbox made step "{self.step}" fail.')
        return self.error() if isinstance(self.error, type) else self.error


def occurrence_of(key: str, branch: str, name: str) -> int:
    """Return for which time in its branch a name is asked for, counted from 1."""
    place = key.removeprefix(branch)
    return 1 if place == name else int(place.rpartition("#")[2])


class Rules:
    """All orders of a box, the oldest first."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []
        #: Names of steps that were met and have no body that could fail.
        self._bodiless: set[str] = set()

    def add(self, rule: Rule) -> None:
        """Keep an order until it is carried out."""
        self._rules.append(rule)

    def take(self, step: Step, *faults: Fault) -> Rule | None:
        """Use up one time of the first order that fits."""
        return self.take_named(step.name, step.branch, step.key, *faults)

    def take_named(self, name: str, branch: str, key: str, *faults: Fault) -> Rule | None:
        """Use up one time of the first order that fits the step of this name and key, and is of these, if any are given."""
        for rule in self._rules:
            if rule.fits(name, branch, key) and (not faults or rule.fault in faults):
                rule.left -= 1
                rule.is_met = True
                return rule
        return None

    def die_at(self, rows: Iterable[StepRow], fault: Fault) -> None:
        """Die where one of these steps, which are being registered, has such an order."""
        for row in rows:
            if row.kind in WAITS:
                self._bodiless.add(row.name)
            if row.kind in WAITS and self.take_named(row.name, row.branch, row.key, fault):
                raise SimulatedDeath

    def has_no_body(self, step: Step) -> None:
        """Remember a step that nothing can make fail."""
        self._bodiless.add(step.name)

    def check_all_met(self) -> None:
        """Raise for the first order that was not carried out even once.

        Raises:
            UnmetOrderError: there is one.
        """
        for rule in self._rules:
            if rule.is_met:
                continue
            if rule.fault is Fault.FAIL and rule.step in self._bodiless:
                raise UnmetOrderError(
                    f'The sandbox was to make step "{rule.step}" fail, but the step has no body that could: '
                    "of sleeps, waits, invoke and notify order crash_before or crash_after."
                )
            which = "" if rule.occurrence is None else f" (occurrence {rule.occurrence})"
            raise UnmetOrderError(
                f'The sandbox was ordered to {rule.fault.value} at step "{rule.step}"{which}, but no run of it came there. '
                "Is the name right, and does the run get so far?"
            )


def with_fault(body: Callable[..., Any], rule: Rule) -> Callable[..., Any]:
    """Return the body as it behaves under the rule; async if it is async."""
    if inspect.iscoroutinefunction(body):

        @functools.wraps(body)
        async def async_attempt(*args: Any, **kwargs: Any) -> None:
            with _fault(rule):
                await body(*args, **kwargs)

        return async_attempt

    @functools.wraps(body)
    def attempt(*args: Any, **kwargs: Any) -> None:
        with _fault(rule):
            body(*args, **kwargs)

    return attempt


@contextmanager
def _fault(rule: Rule) -> Iterator[None]:
    if rule.fault is Fault.FAIL:
        raise rule.raised()
    if rule.fault is Fault.CRASH_BEFORE:
        raise SimulatedDeath
    try:
        yield
    finally:
        # Whatever the body did, nobody will hear of it.
        raise SimulatedDeath


class SandboxPerformer(Performer):
    """A performer on the box's clock that carries the orders of a test out."""

    strict_arguments = True

    def __init__(self, rules: Rules, clock: Callable[[], datetime], *args: Any) -> None:
        super().__init__(*args)
        self._rules = rules
        self._clock = clock

    @property
    def now(self) -> datetime:
        """The box's time."""
        return self._clock()

    def execute(
        self, step: Step, record: Record | None, markers: tuple[PatchStep, ...]
    ) -> Record | None:
        """See `Performer.execute()`."""
        is_at_once = self._is_at_once(step, record)
        if is_at_once:
            self._rules.has_no_body(step)
        if is_at_once and self._rules.take(step, Fault.CRASH_BEFORE):
            self.fenced = True
            return None
        try:
            done = super().execute(step, record, markers)
        except SimulatedDeath:
            # In an item of a map.
            self.fenced = True
            return None
        if done is not None and is_at_once and self._rules.take(step, Fault.CRASH_AFTER):
            self.fenced = True
            return None
        return done

    def _is_at_once(self, step: Step, record: Record | None) -> bool:
        """Whether the engine records the step without registering it: a sleep that is over, too."""
        if record is None and isinstance(step, SleepStep):
            return step.duration <= timedelta(0)
        if record is None and isinstance(step, SleepUntilStep):
            return step.moment <= self.now
        return step.kind in AT_ONCE

    def body_of(self, step: MapStep) -> Callable[[Any], Any]:
        """See `Performer.body_of()`; each item asks for its order."""

        def body(item: Any) -> Any:
            rule = self._rules.take(step)
            return step.fn(item) if rule is None else with_fault(step.fn, rule)(item)

        return body

    def perform(
        self, step: RunStep, record: Record | None, markers: tuple[PatchStep, ...]
    ) -> Record | None:
        """See `Performer.perform()`."""
        rule = self._rules.take(step)
        if rule is not None:
            step = replace(step, fn=with_fault(step.fn, rule))
        try:
            return super().perform(step, record, markers)
        except SimulatedDeath:
            self.fenced = True
            return None
