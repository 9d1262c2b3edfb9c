"""One pass: the workflow function from its top, held against the journal.

What it keeps: (1) a step is known by branch, name and occurrence, whatever ran before it in other branches;
(2) a recorded step returns its record and nothing is executed for it; (3) in each branch the recorded order is
met again, and a pass that ends with recorded steps unmet has diverged; (4) an unrecorded step is executed only
through the host, which records before the value is handed out; (5) after an interrupt or a divergence nothing
of the pass is recorded, whatever the function does with it. No I/O here: the host does it.

Sync branches are called one after the other, without threads; each runs to its first open step and the pass is
left once. ``replay_async`` drives tasks over the same branches, records and checks.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from random import Random
from threading import get_ident
from typing import Any, NoReturn, Protocol
from uuid import UUID, uuid5
from warnings import warn

from django_workflow.core.codec import codec
from django_workflow.core.context import RunFacts, check_branches, executing
from django_workflow.core.exceptions import (
    ArgumentDrift,
    ArgumentDriftError,
    CancelInterrupt,
    InvalidOptionError,
    MisplacedStepError,
    NonDeterminismError,
    StepError,
    StepTimeoutError,
    SuspendInterrupt,
    SwallowedInterruptError,
    WorkflowError,
)
from django_workflow.core.journal import Journal, Record
from django_workflow.core.steps import KEY_LENGTH, NAME_LENGTH, PatchStep, Step, StepOptions
from django_workflow.core.types import Failure, StepKind, StepStatus

NAMESPACE = UUID("8d3f4f9e-6f0b-5b1a-9c56-7a3f8f1f2b11")


@dataclass(frozen=True, slots=True)
class Completed:
    """The function returned."""

    value: Any


@dataclass(frozen=True, slots=True)
class Raised:
    """The function, or an exhausted step that it did not catch, raised."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class Suspended:
    """The function waits for these open steps; each with its record where it is registered."""

    steps: tuple[tuple[Step, Record | None], ...]


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The function called ``ctx.cancel()``."""


@dataclass(frozen=True, slots=True)
class Diverged:
    """The engine's own verdict: the function and the journal do not fit, or an interrupt was swallowed."""

    error: WorkflowError


Outcome = Completed | Raised | Suspended | Cancelled | Diverged


class Host(Protocol):
    """What a pass asks of the runtime."""

    def execute(self, step: Step, record: Record | None, markers: tuple[PatchStep, ...]) -> Record | None:
        """Execute and record the only open step of the run, or the target of a step delivery.

        Returns its record, or None where it has to wait; ``markers`` are written together with it.
        """


class Branch:
    """One line of steps: what it has met so far, in this pass."""

    __slots__ = ("children", "clock", "counts", "index", "interrupt", "order", "path", "sequence", "tasks", "values")

    def __init__(self, path: str, order: list[str], clock: datetime) -> None:
        self.path = path
        self.order = order
        self.clock = clock
        self.counts: dict[str, int] = {}
        self.index = 0
        self.children = 0
        self.tasks = 0
        self.values = 0
        self.sequence = 0
        self.interrupt: BaseException | None = None

    def key_of(self, name: str) -> str:
        """Return the key of the next step of this name.

        A name with a slash or a hash is escaped, so that it cannot read as a branch or an occurrence.
        """
        count = self.counts.get(name, 0) + 1
        self.counts[name] = count
        if "/" in name or "#" in name:
            return f"{self.path}{name.replace('/', '//')}#{count}"
        return f"{self.path}{name}" if count == 1 else f"{self.path}{name}#{count}"


class Replay:
    """What sync and async passes share."""

    def __init__(
        self,
        journal: Journal,
        host: Host,
        facts: RunFacts,
        *,
        target: str | None = None,
        prefix: str = "",
        retried: int = 0,
        strict_arguments: bool = False,
    ) -> None:
        self.journal = journal
        self.host = host
        self.facts = facts
        self.target = target
        self.prefix = prefix
        self.retried = retried
        self.strict_arguments = strict_arguments
        self.root = Branch(prefix, journal.order.setdefault(prefix, []), journal.started_at)
        self.branches = {prefix: self.root}
        self.open: dict[str, tuple[Step, Record | None]] = {}
        self.markers: list[PatchStep] = []
        self.fault: WorkflowError | None = None
        #: The target of a step delivery was executed, or the pass has ended: nothing more is begun.
        self.closed = False

    @property
    def branch(self) -> Branch:
        """The branch that is running at this moment."""
        raise NotImplementedError

    def child(self, path: str, parent: Branch) -> Branch:
        """Return a new branch under this path; it begins at its parent's time."""
        branch = Branch(path, self.journal.order.setdefault(path, []), parent.clock)
        self.branches[path] = branch
        return branch

    def found(self, branch: Branch, kind: type[Step], name: str, key: str) -> Record | None:
        """Return the record that belongs here, or None where the branch is beyond its records."""
        index = branch.index
        if index >= len(branch.order):
            return None
        expected = branch.order[index]
        record = self.journal.records[expected]
        if record.kind == StepKind.PATCH:
            # A marker whose patched() was taken out of the code: nothing asks for it any more.
            branch.index = index + 1
            return self.found(branch, kind, name, key)
        if expected != key or record.kind != kind.kind:
            self.diverge(record, f'{kind.kind} "{name}"', name)
        branch.index = index + 1
        return record

    def value(self, branch: Branch, record: Record) -> Any:
        """Return what a recorded step gives to the function, or raise what it raises."""
        if record.finished_at is not None:
            branch.clock = record.finished_at
        branch.sequence = record.sequence or 0
        if record.status == StepStatus.COMPLETED:
            text = record.result_text
            return None if text is None or text == "null" else codec.loads(text)
        raise error_of(record)

    def build(
        self, branch: Branch, kind: type[Step], name: str, key: str, options: StepOptions, fields: tuple[Any, ...]
    ) -> Step:
        """Build the step where it has no result yet."""
        if len(name) > NAME_LENGTH or len(key) > KEY_LENGTH:
            raise InvalidOptionError(
                f"A step's name may have {NAME_LENGTH} characters and {KEY_LENGTH} with its branches; "
                f'"{name[:60]}…" has {len(name)} and {len(key)} (run {self.facts.workflow_run_id}).'
            )
        return kind(key, name, branch.path, options, *fields)

    def ask_host(self, step: Step, record: Record | None) -> Record | None:
        """Have the step executed, and count as met what the host has added to the journal: markers, the step."""
        markers, self.markers = tuple(self.markers), []
        done = self.host.execute(step, record, markers)
        branch = self.branches[step.branch]
        branch.index = len(branch.order)
        for marker in markers:
            if marker.key in self.journal.records:
                of = self.branches[marker.branch]
                of.index = len(of.order)
            else:
                self.markers.append(marker)
        self.closed = self.target is not None
        return done

    def check_name(self, name: Any, verb: str) -> None:
        """Refuse what cannot be a step's name."""
        if not isinstance(name, str) or not name:
            raise InvalidOptionError(
                f"The first argument of ctx.{verb} is the step's name, a text that is not empty; "
                f"found {name!r} (run {self.facts.workflow_run_id})."
            )

    def check_arguments(self, step: Step, record: Record) -> None:
        """Warn when a recorded step is asked for with other arguments: the recorded ones win."""
        asked = codec.dumps(step.arguments(), what="arguments")
        if asked == record.arguments_text:
            return
        message = (
            f'Step "{step.name}" was recorded with {record.arguments_text}, but is now asked for with {asked} '
            f"(run {self.facts.workflow_run_id}). The recorded arguments win."
        )
        if self.strict_arguments:
            self.fault = ArgumentDriftError(message, step=step.name)
            raise self.fault
        warn(ArgumentDrift(message), stacklevel=2)

    def diverge(self, record: Record, found: str, name: str) -> NoReturn:
        """End the pass: the code asks for something else than what is recorded."""
        state = "was recorded" if record.sequence is not None else "is pending"
        expected = f'{record.kind} "{record.name}"'
        self.fault = NonDeterminismError(
            f"Step {expected} {state} at this place ({record.key}), but the workflow now asks for {found} "
            f"(run {self.facts.workflow_run_id}). Mend the code and resume the run, guard the change with "
            "ctx.patched(), or register a new workflow version.",
            step=name,
            expected=expected,
            found=found,
        )
        raise self.fault

    def refuse_nested(self, name: str) -> NoReturn:
        """Refuse a verb inside a step's body."""
        outer = executing.get()
        raise MisplacedStepError(
            f'Step "{name}" was asked for inside the body of step "{outer.name if outer else ""}" '
            f"(run {self.facts.workflow_run_id}). Steps do not nest: return from the body, then ask.",
            step=name,
        )

    def refuse_outside(self, name: str) -> NoReturn:
        """Refuse a verb when its pass has ended, or in another thread."""
        raise MisplacedStepError(
            f'Step "{name}" was asked for outside the pass its context belongs to '
            f"(run {self.facts.workflow_run_id}). Call verbs in the workflow function, in its own thread.",
            step=name,
        )

    def after_interrupt(self, branch: Branch, name: str) -> NoReturn:
        """Raise the interrupt again while it is being unwound; otherwise it was swallowed."""
        interrupt = branch.interrupt
        if interrupt is not None and unwinding(interrupt):
            raise interrupt
        self.swallowed(branch, f'asked for step "{name}"')

    def swallowed(self, branch: Branch, did: str) -> NoReturn:
        """End the pass: an interrupt was caught, and the function went on."""
        step = getattr(branch.interrupt, "step", None) or ""
        self.fault = self.fault or SwallowedInterruptError(
            f'The interrupt that leaves the function at step "{step}" was caught, and the workflow then {did} '
            f"(run {self.facts.workflow_run_id}). Write `except Exception:`, which lets interrupts through.",
            step=step,
        )
        raise self.fault

    def unmet(self) -> Record | None:
        """Return a recorded or pending step that this pass did not come to, if there is one."""
        for path, order in self.journal.order.items():
            if not path.startswith(self.prefix) or (not self.prefix and path.startswith("failure.")):
                continue
            branch = self.branches.get(path)
            for key in order[branch.index if branch is not None else 0 :]:
                if self.journal.records[key].kind != StepKind.PATCH:
                    return self.journal.records[key]
        return None

    def verdict(self, outcome: Outcome) -> Outcome:
        """Hold the end of the function against the journal."""
        if self.fault is not None:
            return Diverged(self.fault)
        if self.closed or isinstance(outcome, Cancelled):
            return outcome
        record = None if self.target is not None else self.unmet()
        if record is None:
            return outcome
        did = {Completed: "returned", Raised: "raised", Suspended: "waits elsewhere"}[type(outcome)]
        try:
            self.diverge(record, f"nothing: it {did}", record.name)
        except NonDeterminismError as error:
            if isinstance(outcome, Raised):
                error.__cause__ = outcome.error
            return Diverged(error)

    # Values that need no record, as they follow from the run and the place.

    def patched(self, patch_id: str) -> bool:
        """See `BaseContext.patched()`."""
        branch = self.branch
        self.check_name(patch_id, "patched")
        name = f"patch:{patch_id}"
        if branch.interrupt is not None:
            self.after_interrupt(branch, name)
        for index in range(branch.index, len(branch.order)):
            record = self.journal.records[branch.order[index]]
            if record.kind != StepKind.PATCH:
                return False
            if record.name == name:
                branch.key_of(name)
                branch.index = index + 1
                return True
        marker = PatchStep(branch.key_of(name), name, branch.path, StepOptions())
        if not any(found.key == marker.key for found in self.markers):
            self.markers.append(marker)
        return True

    def now(self) -> datetime:
        """See `WorkflowContext.now()`."""
        return self.branch.clock

    def _seed(self, what: str) -> UUID:
        branch = self.branch
        branch.values += 1
        return uuid5(NAMESPACE, f"{self.facts.workflow_run_id}\n{branch.path}\n{what}\n{branch.values}")

    def uuid(self) -> UUID:
        """See `WorkflowContext.uuid()`."""
        return self._seed("uuid")

    def random(self) -> Random:
        """Return a generator seeded by the run and the place."""
        return Random(self._seed("random").int)  # noqa: S311  replayable, not secret

    def cancel(self) -> NoReturn:
        """See `WorkflowContext.cancel()`."""
        branch = self.branch
        if branch.interrupt is not None:
            self.after_interrupt(branch, "cancel")
        branch.interrupt = CancelInterrupt()
        raise branch.interrupt


class SyncReplay(Replay):
    """A pass over a plain function."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._branch = self.root
        self._thread = get_ident()

    @property
    def branch(self) -> Branch:
        """The branch that is running at this moment."""
        return self._branch

    def run(self, function: Callable[[], Any]) -> Outcome:
        """Call the function and tell how the pass ended."""
        outcome: Outcome
        try:
            outcome = Completed(function())
        except SuspendInterrupt:
            outcome = Suspended(tuple(self.open.values()))
        except CancelInterrupt:
            outcome = Cancelled()
        except (Exception, SystemExit) as error:  # the door of user code: whatever it raises is its outcome
            outcome = Raised(error)
        interrupt = self.root.interrupt
        if interrupt is not None and isinstance(outcome, Completed | Raised) and self.fault is None:
            did = "returned" if isinstance(outcome, Completed) else f"raised {outcome.error!r}"
            try:
                self.swallowed(self.root, did)
            except SwallowedInterruptError as error:
                outcome = Diverged(error)
        outcome = self.verdict(outcome)
        self._thread = -1
        return outcome

    def meet(self, kind: type[Step], name: str, options: StepOptions, fields: tuple[Any, ...]) -> Any:
        """Return the recorded value of the step, or have it executed, or leave the function."""
        branch = self._branch
        if executing.get() is not None:
            self.refuse_nested(name)
        if self._thread != get_ident():
            self.refuse_outside(name)
        if branch.interrupt is not None:
            self.after_interrupt(branch, name)
        if name.__class__ is not str or not name:
            self.check_name(name, kind.kind)
        key = branch.key_of(name)
        record = self.found(branch, kind, name, key)
        if record is not None and record.sequence is not None:
            if kind.compares:
                self.check_arguments(kind(key, name, branch.path, options, *fields), record)
            return self.value(branch, record)
        return self._perform(branch, self.build(branch, kind, name, key, options, fields), record)

    def _perform(self, branch: Branch, step: Step, record: Record | None) -> Any:
        alone = branch is self.root if self.target is None else step.key == self.target
        if alone:
            done = self.ask_host(step, record)
            if done is not None and self.target is None:
                return self.value(branch, done)
        self.open[step.key] = (step, record)
        branch.interrupt = SuspendInterrupt(step=step.name)
        raise branch.interrupt

    def parallel(self, branches: tuple[Callable[[], Any], ...], return_errors: bool) -> tuple[Any, ...]:
        """See `WorkflowContext.parallel()`."""
        parent = self._branch
        if executing.get() is not None:
            self.refuse_nested("parallel")
        if parent.interrupt is not None:
            self.after_interrupt(parent, "parallel")
        check_branches(branches)
        parent.children += 1
        results: list[Any] = []
        errors: list[tuple[int, Exception]] = []
        suspended: str | None = None
        for index, function in enumerate(branches):
            branch = self.child(f"{parent.path}p{parent.children}.{index}/", parent)
            self._branch = branch
            try:
                results.append(self._call(branch, function))
            except SuspendInterrupt as interrupt:
                suspended = suspended or interrupt.step
            except Exception as error:  # broad: a branch of user code ends as it ends
                if self.fault is not None:
                    raise
                errors.append((branch.sequence, error))
                results.append(error)
            finally:
                self._branch = parent
            if self.closed:
                break
            parent.clock = max(parent.clock, branch.clock)
            parent.sequence = max(parent.sequence, branch.sequence)
        if suspended is not None:
            parent.interrupt = SuspendInterrupt(step=suspended)
            raise parent.interrupt
        if errors and not return_errors:
            raise first_of(errors)
        return tuple(results)

    def _call(self, branch: Branch, function: Callable[[], Any]) -> Any:
        try:
            value = function()
        except Exception as error:
            if branch.interrupt is not None and self.fault is None:
                self.swallowed(branch, f"raised {error!r}")
            raise
        if branch.interrupt is not None:
            self.swallowed(branch, "ended its branch")
        return value


def first_of(errors: list[tuple[int, Exception]]) -> Exception:
    """Return the error that was recorded first, with the others on it."""
    errors.sort(key=lambda pair: pair[0])
    first = errors[0][1]
    first.others = [error for _, error in errors[1:]]  # type: ignore[attr-defined]
    return first


def unwinding(interrupt: BaseException) -> bool:
    """Tell whether this interrupt is on its way up the stack at this moment."""
    error = sys.exc_info()[1]
    seen = 0
    while error is not None and seen < 100:
        if error is interrupt:
            return True
        error = error.__context__
        seen += 1
    return False


def error_of(record: Record) -> StepError:
    """Build the error of a failed step from its record, as it is raised at every pass."""
    failure = Failure.from_json(codec.loads(record.failure_text or "{}"))
    cls = StepTimeoutError if failure.error_class.endswith(".StepTimeoutError") else StepError
    times = "1 attempt" if failure.attempts == 1 else f"{failure.attempts} attempts"
    return cls(
        f'Step "{record.name}" gave up after {times}: {failure.error_class}: {failure.message}',
        step=record.name,
        attempts=failure.attempts,
        failure=failure,
    )
