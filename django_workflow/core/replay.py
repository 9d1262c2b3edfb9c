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

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import Any, Final, Protocol
from uuid import UUID, uuid5
from warnings import warn

from django_workflow.core import faults
from django_workflow.core.at_rest import opened
from django_workflow.core.codec import codec
from django_workflow.core.context import RunFacts, executing
from django_workflow.core.exceptions import (
    ArgumentDrift,
    ArgumentDriftError,
    AtRestError,
    ContinueInterrupt,
    InvalidOptionError,
    NonDeterminismError,
    TooManyStepsError,
    UndecodableValueError,
    WorkflowError,
)
from django_workflow.core.journal import Branch, Journal, Record
from django_workflow.core.steps import NO_OPTIONS, PatchStep, Step, StepOptions
from django_workflow.core.telling import Saying, Told
from django_workflow.core.types import Failure, StepKind, StepStatus

NAMESPACE: Final = UUID("8d3f4f9e-6f0b-5b1a-9c56-7a3f8f1f2b11")

#: Verdicts of the engine: user code that asks for a step never sees them.
VERDICTS: Final = (
    NonDeterminismError,
    ArgumentDriftError,
    UndecodableValueError,
    TooManyStepsError,
    # No verdict: whoever stops with it ends the pass, and the delivery is repeated.
    AtRestError,
)


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
    #: The pass was left to be made anew at once: what it has recorded changes what is met before it.
    again: bool = False


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The function called ``ctx.cancel()``."""


@dataclass(frozen=True, slots=True)
class Continued:
    """The function called ``ctx.continue_as_new()``."""

    payload_text: str | None


@dataclass(frozen=True, slots=True)
class Diverged:
    """The engine's own verdict: the function and the journal do not fit, or an interrupt was swallowed.

    Where the function raised before it came to what is recorded, that is the verdict's ``__cause__``.
    """

    error: WorkflowError


Outcome = Completed | Raised | Suspended | Cancelled | Continued | Diverged


_DID: Final = {
    Completed: "returned",
    Raised: "raised",
    Suspended: "waits elsewhere",
    Continued: "continued as new",
}


class Host(Protocol):
    """What a pass asks of the runtime."""

    def execute(
        self, step: Step, record: Record | None, markers: tuple[PatchStep, ...]
    ) -> Record | None:
        """Execute and record the only open step of the run, or the target of a step delivery.

        Returns its record, or None where it has to wait. ``markers`` are written with whatever is written
        first; what is written is added to the journal, markers before the step. What it raises leaves the
        pass and is raised by ``run()``: user code does not see it.
        """


def called_with(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Return what a body is called with as it is stored for its undo.

    Raises:
        NotSerializableError: it cannot be stored.
    """
    return codec.dumps({"args": list(args), "kwargs": kwargs}, what="arguments")


class Replay(ABC):
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
        max_steps: int | None = None,
        hear: Callable[[Told], None] | None = None,
        transactions: Callable[[], int] = int,
    ) -> None:
        self.journal = journal
        self.host = host
        self.facts = facts
        self.run_id = facts.workflow_run_id
        self.target = target
        self.prefix = prefix
        self.retried = retried
        self.strict_arguments = strict_arguments
        self.max_steps = max_steps
        self._hear = hear
        #: Tells how many transactions are open around whoever asks.
        self._transactions = transactions
        self._sayings: dict[str, int] = {}
        self.root = Branch(prefix, journal, None)
        self.branches = {prefix: self.root}
        self.open: dict[str, tuple[Step, Record | None]] = {}
        #: Markers of patched() that are to be written with the next write.
        self.markers: list[PatchStep] = []
        self.fault: WorkflowError | None = None
        self.trouble: BaseException | None = None
        #: The target of a step delivery was asked of the host, or the pass has failed: nothing more is begun.
        self.closed = False

    def run(self, function: Callable[[], Any]) -> Outcome:
        """Call the function and tell how the pass ended."""
        # A pass may be entered from a step's body, as when it triggers a run that is driven inline.
        token = executing.set(None)
        try:
            outcome = self._outcome(function)
        finally:
            executing.reset(token)
            # They hold the function's frames, and those this pass: garbage that only the collector would find.
            for branch in self.branches.values():
                branch.interrupt = None
        if self.trouble is not None:
            raise self.trouble
        return self._verdict(outcome)

    @abstractmethod
    def _outcome(self, function: Callable[[], Any]) -> Outcome:
        """Call the function and tell how it ended, whatever the journal says."""

    @abstractmethod
    def here(self, verb: str) -> Branch:
        """Return the branch that is running at this moment.

        Raises:
            MisplacedStepError: called in a step's body, in another thread, or when the pass has ended.
        """

    @abstractmethod
    def enter(self, verb: str) -> Branch:
        """Return the branch that is running, or leave it where an interrupt is being unwound."""

    @abstractmethod
    def now(self) -> datetime:
        """See `WorkflowContext.now()`."""

    def in_scope(self, path: str) -> bool:
        """Tell whether a branch belongs to this pass: the function's, or those of one round of the handler."""
        if self.prefix:
            return path.startswith(self.prefix)
        # As "p1.0/" and "t1/"; the branches of others begin with a word.
        return not path or path[1].isdigit()

    def child(self, path: str, parent: Branch) -> Branch:
        """Return a new branch under this path."""
        branch = self.branches[path] = Branch(path, self.journal, parent)
        return branch

    def stop(self, fault: WorkflowError) -> None:
        """Keep the engine's verdict; the first one counts."""
        if isinstance(fault, AtRestError):
            self.trouble = self.trouble or fault
        else:
            self.fault = self.fault or fault
        self.closed = True

    def swallowed(self, branch: Branch, did: str) -> None:
        """End the pass: an interrupt was caught, and the function went on."""
        self.stop(faults.swallowed(branch.interrupt, did, run_id=self.run_id))

    def value(self, branch: Branch, record: Record) -> Any:
        """Return what a recorded step gives to the function, or raise what it raises."""
        if record.finished_at is not None:
            branch.clock = record.finished_at
        branch.sequence = record.sequence or 0
        try:
            if record.status == StepStatus.COMPLETED:
                text = record.result_text
                return None if text is None or text == "null" else codec.loads(text, what="result")
            failure = Failure.from_json(codec.loads(record.failure_text or "{}", what="failure"))
        except AtRestError as error:
            raise faults.unreadable(error, record, run_id=self.run_id) from error
        raise faults.error_of(record, failure)

    def build(
        self,
        branch: Branch,
        kind: type[Step],
        name: str,
        key: str,
        options: StepOptions,
        fields: tuple[Any, ...],
    ) -> Step:
        """Build the step where it has no result yet."""
        faults.check_storable(name, key, run_id=self.run_id)
        if options.undo is not None:
            self._check_undo(kind, name, fields)
        if self.max_steps is not None and len(self.journal.records) >= self.max_steps:
            raise faults.too_many_steps(self.max_steps, run_id=self.run_id)
        return kind(key, name, branch.path, options, *fields)

    def _check_undo(self, kind: type[Step], name: str, fields: tuple[Any, ...]) -> None:
        """Refuse what nobody would ever undo, and arguments that could not be told."""
        if self.prefix:
            raise InvalidOptionError(
                f'Step "{name}" is one of the failure handler, whose steps are not undone: leave undo out.'
            )
        if kind.kind not in (StepKind.RUN, StepKind.ATOMIC):
            raise InvalidOptionError(
                f'Step "{name}" is a {kind.kind}; undo is for ctx.run and ctx.atomic.'
            )
        called_with(*fields[1:])

    def ask_host(self, step: Step, record: Record | None) -> Record | None:
        """Have the step executed, and count as met what the host has added to the journal: markers, the step."""
        markers: tuple[PatchStep, ...] = ()
        if self.target is None:
            # The markers before a target were written when it was registered; others are the turn's to write.
            markers, self.markers = tuple(self.markers), []
        try:
            done = self.host.execute(step, record, markers)
        except BaseException as error:  # the host's, so kept from a user's `except Exception`
            self.trouble = error
            done = None
        for written in (*markers, step):
            if written.key in self.journal.records:
                self.branches[written.branch].meet(written.key)
            elif isinstance(written, PatchStep):
                self.markers.append(written)
        self.closed = self.target is not None or self.trouble is not None
        return done

    def check_name(self, name: Any, kind: type[Step]) -> str:
        """Return the name as plain text; refuse what cannot be a step's name."""
        if not isinstance(name, str) or not name:
            raise faults.unusable_name(name, kind.kind, run_id=self.run_id)
        return str.__str__(name)

    def check_arguments(self, step: Step, record: Record, *, stacklevel: int) -> None:
        """Warn when a step is asked for with other arguments than the recorded ones, which win."""
        asked = codec.dumps(step.arguments(), what="arguments")
        if asked == record.arguments_text:
            return
        record = record._replace(arguments_text=opened(record.arguments_text))
        if asked == record.arguments_text:
            return
        drift = faults.drift(record, asked, run_id=self.run_id)
        if self.strict_arguments:
            raise drift
        try:
            warn(ArgumentDrift(str(drift)), stacklevel=stacklevel)
        except ArgumentDrift:
            # Warnings are errors here, and the engine's verdicts are none of the user code's business.
            raise drift from None

    def divergence(self, record: Record, found: str, name: str) -> NonDeterminismError:
        """Return the verdict that the code asks for something else than this record."""
        return faults.divergence(record, found, name=name, run_id=self.run_id)

    def unmet(self) -> Record | None:
        """Return a recorded or pending step that this pass did not come to, if there is one."""
        for path, order in self.journal.order.items():
            if not order or not self.in_scope(path) or path.startswith(self.journal.lost):
                continue
            branch = self.branches.get(path) or Branch(path, self.journal, None)
            record = branch.unmet()
            if record is not None:
                return record
        return None

    def _verdict(self, outcome: Outcome) -> Outcome:
        """Hold the end of the function against the journal."""
        if self.fault is not None:
            return Diverged(self.fault)
        if self.closed or self.target is not None or isinstance(outcome, Cancelled):
            return outcome
        record = self.unmet()
        if record is None:
            return outcome
        did = _DID[type(outcome)]
        error = self.divergence(record, f"nothing: it {did}", record.name)
        if isinstance(outcome, Raised):
            error.__cause__ = outcome.error
        return Diverged(error)

    # What is said on the way, and the end of a generation.

    def tell(self, saying: Saying) -> None:
        """Take down what is said between steps, unless it was kept in an earlier pass or the pass is being left."""
        body = executing.get()
        if body is not None and body.hear is not None:
            body.hear(saying)
            return
        branch = self.here(saying.what)
        after = branch.last
        number = self._sayings[after] = self._sayings.get(after, 0) + 1
        if (
            self._hear is None
            or self.target is not None
            or self._is_left(branch)
            or (after, number) in self.journal.told
        ):
            return
        # Beyond it something was registered, by a write that took it along.
        lineage = branch.lineage()
        if any(ancestor.unmet() is not None for ancestor in lineage):
            return
        sequence = max(ancestor.sequence for ancestor in lineage)
        if self.prefix:
            sequence = self.journal.watermark
        self._hear(Told(saying, after, number, 0, sequence))

    def _is_left(self, branch: Branch) -> bool:
        """Tell whether the branch is being left, so that nothing in it counts any more."""
        return self.closed or branch.interrupt is not None

    def continuing(self, branch: Branch, payload: Any) -> ContinueInterrupt:
        """Return what ends a generation at ``ctx.continue_as_new()``.

        Raises:
            MisplacedStepError: something is open that would be left behind, or the failure handler asks.
            NotSerializableError: the payload cannot be stored.
        """
        still_open = [record.name for record in self.journal.open_records()]
        still_open += [step.name for step, record in self.open.values() if record is None]
        if self.prefix or branch is not self.root or still_open:
            place = "the failure handler" if self.prefix else branch.path
            raise faults.cannot_continue(place, still_open, run_id=self.run_id)
        text = None if payload is None else codec.dumps(payload, what="payload")
        return ContinueInterrupt(payload_text=text)

    # Values that need no record of their own, as they follow from the run and the place.

    def patched(self, patch_id: str) -> bool:
        """See `BaseContext.patched()`."""
        branch = self.enter("patched")
        name = f"patch:{self.check_name(patch_id, PatchStep)}"
        key = branch.key_of(name)
        record = self.journal.records.get(key)
        if record is not None and record.kind == StepKind.PATCH:
            branch.meet(key)
            return True
        if self._is_left_behind(branch):
            return False
        faults.check_storable(name, key, run_id=self.run_id)
        self.markers.append(PatchStep(key, name, branch.path, NO_OPTIONS))
        return True

    def _is_left_behind(self, branch: Branch) -> bool:
        """Tell whether the run has gone beyond this point before: here, or where this branch came from.

        Beyond it is what was not met yet, and what was recorded in branches that begin later. A run that went
        there under this code has its marker recorded: with the first write beyond this point.
        """
        lineage = branch.lineage()
        if any(ancestor.unmet() is not None for ancestor in lineage):
            return True
        for path in self.journal.order:
            if path in self.branches or not self.in_scope(path):
                continue
            begun = path
            while begun not in self.branches:
                begun = begun[: begun.rfind("/", 0, -1) + 1]
            of = self.branches[begun]
            if of not in lineage or not of.begins_later(path):
                continue
            if Branch(path, self.journal, None).unmet() is not None:
                return True
        return False

    def _seed(self, what: str) -> UUID:
        branch = self.here(what)
        branch.values += 1
        generation = f"\n{self.facts.generation}" if self.facts.generation else ""
        place = f"{self.run_id}\n{branch.path}\n{what}\n{branch.values}{generation}"
        return uuid5(NAMESPACE, place)

    def uuid(self) -> UUID:
        """See `WorkflowContext.uuid()`."""
        return self._seed("uuid")

    def random(self) -> Random:
        """Return a generator seeded by the run and the place."""
        return Random(self._seed("random").int)  # noqa: S311 - replayable, not secret
