"""Deaths at every write: what a test plays is played again and again, and each time the process dies at another write.

Counted are the statements that are sent while the box drives runs, those of step bodies among them, and the commit of
each outermost transaction. A death by exception must look to the database like a real one, so from then on the dead
sends no statement, whatever ``finally`` and ``with`` blocks the exception passes on its way up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any, Literal

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from django_workflow.conf import settings
from django_workflow.core.exceptions import InvalidOptionError
from django_workflow.models import Run
from django_workflow.runtime import forking, triggering
from django_workflow.store.sql import connection
from django_workflow.testing.hooks import swapped
from django_workflow.testing.sandbox import WorkflowSandbox

When = Literal["before", "after"]

WRITES = ("INSERT", "UPDATE", "DELETE", "WITH", "REPLACE")
UNWINDING = ("ROLLBACK", "RELEASE")
#: What nobody can guess, and so differs from one performance to the next.
UNGUESSABLE = re.compile(r"[0-9a-f]{32,}|whk_\w+|(?<=/webhooks/)[\w-]{43}(?=/)")


class SimulatedCrash(BaseException):
    """The process is dead."""


class CrashDifferenceError(AssertionError):
    """Raised when runs do not end the same after a death; tells at which write the process died."""

    def __init__(self, message: str, *, write: int, when: str, statement: str) -> None:
        super().__init__(message)
        self.write = write
        self.when = when
        self.statement = statement


def die_by_exception() -> None:
    """Die as far as an exception can."""
    raise SimulatedCrash


class CrashPoint:
    """Counts writes, and dies at one of them."""

    def __init__(
        self, at: int = 0, when: When = "before", die: Callable[[], None] = die_by_exception
    ) -> None:
        self.at = at
        self.when = when
        self.die = die
        self.writes = 0
        self.is_dead = False
        #: The write at which it has died, without its values.
        self.statement = ""

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Count what is written within; who has died comes to life again afterwards."""
        of: Any = connection()
        commit = of.commit
        of.commit = lambda: self._commit(of, commit)
        try:
            with of.execute_wrapper(self):
                yield
        finally:
            del of.commit
            self.is_dead = False

    def refuse_the_dead(self) -> None:
        """Raise if the process is dead: for what is not written to this database."""
        if self.is_dead:
            raise SimulatedCrash

    def __call__(self, execute: Any, sql: Any, params: Any, many: Any, context: Any) -> Any:
        """Let a statement pass, or die."""
        text = str(sql).lstrip(" (\n").upper()
        if self.is_dead and not text.startswith(UNWINDING):
            raise SimulatedCrash
        if not text.startswith(WRITES) and not self._ends_a_transaction(context, text):
            return execute(sql, params, many, context)
        # Dying before a RELEASE would leave what it ends in the test's transaction, as if committed.
        may_be_before = not text.startswith(UNWINDING)
        return self._step(
            lambda: execute(sql, params, many, context), str(sql), before=may_be_before
        )

    def _step(self, write: Callable[[], Any], what: str, *, before: bool = True) -> Any:
        self.writes += 1
        is_here = self.writes == self.at
        if is_here:
            self.statement = what
        if is_here and self.when == "before" and before:
            self._crash()
        result = write()
        if is_here and not self.is_dead:
            self._crash()
        return result

    def _commit(self, of: BaseDatabaseWrapper, commit: Callable[[], Any]) -> Any:
        try:
            return self._step(commit, "COMMIT")
        except SimulatedCrash:
            # What the database does when the connection of a dead process breaks. Django rolls back for exceptions of
            # the database alone, and an open transaction would hold its locks.
            of.rollback()
            raise

    def _ends_a_transaction(self, context: Any, text: str) -> bool:
        of: BaseDatabaseWrapper = context["connection"]
        outermost = not any(not getattr(b, "_from_testcase", False) for b in of.atomic_blocks)
        return not self.is_dead and outermost and text.startswith("RELEASE")

    def _crash(self) -> None:
        self.is_dead = True
        self.die()


class CrashingSandbox(WorkflowSandbox):
    """Dies at its crash point while it drives, and recovers at once, like a worker that is started again."""

    def __init__(self, point: CrashPoint, **options: Any) -> None:
        super().__init__(**options)
        self.point = point
        self.crashes = 0
        self._known: set[str] = set()

    def __enter__(self) -> CrashingSandbox:
        self._known = set(_runs().values_list("pk", flat=True))
        return super().__enter__()

    def _drive(self) -> None:
        while True:
            try:
                with self.point.watching():
                    super()._drive()
                return
            except SimulatedCrash:
                self.crashes += 1
                # A run may have been committed by who did not live to tell the box.
                self.run_ids.update(set(_runs().values_list("pk", flat=True)) - self._known)
            stuck = _runs().filter(pk__in=self.run_ids).stuck().first()
            if stuck is not None:
                raise AssertionError(f"Run {stuck.pk} of {stuck.workflow} has no wake-up any more.")
            self._bury()


def _runs() -> Any:
    return Run.objects.using(settings().DATABASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class CrashReport:
    """What `crash_everywhere()` has tried."""

    #: The writes of one undisturbed performance.
    writes: int
    #: How often the process died in all.
    deaths: int


def crash_everywhere(
    play: Callable[[WorkflowSandbox], Any],
    *,
    state: Callable[[], Any] | None = None,
    now: datetime | None = None,
    steps_per_pass: int | None = None,
) -> CrashReport:
    """Play once undisturbed, then twice for each write: the process dies before it, then after it. All must end the same.

    Compared are the runs (state, result, failure, and each step with its result), what ``play`` returns, and what ``state``
    returns. Every performance is taken back, in the journal's database; what bodies do elsewhere is for ``play`` to
    clear away when it begins. A body runs again after a death (an atomic one has left nothing), so what is
    compared must not count its calls.

    Args:
        play: What is done, with the sandbox: triggers runs, moves the clock, sends events. It is called many times.
        state: Returns what else has to be the same in the end, as rows of your own.
        now: When each performance begins; default: the present moment.
        steps_per_pass: As of `WorkflowSandbox`; here each pass executes what is ready, as a worker does.

    Raises:
        CrashDifferenceError: something ended differently, or ``play`` raised, after a death.
        InvalidOptionError: nothing is written while runs are driven.
    """
    begins = now or datetime.now(UTC)

    def perform(point: CrashPoint) -> tuple[Any, int]:
        box = CrashingSandbox(point, now=begins, steps_per_pass=steps_per_pass)
        with _taken_back(), _known_ids(), box:
            returned = play(box)
            return (_runs_of(box), returned, state() if state is not None else None), box.crashes

    counting = CrashPoint()
    undisturbed, deaths = perform(counting)
    if not counting.writes:
        raise InvalidOptionError(
            "Played without a death, nothing was written while the box drove runs, so there is no write to die at. "
            "Trigger a run in the play."
        )
    for at in range(1, counting.writes + 1):
        for when in ("before", "after"):
            point = CrashPoint(at, when)
            try:
                found, crashes = perform(point)
            except Exception as error:  # broad: whatever the test's own code makes of a difference
                raise _difference(point, f"it raised {type(error).__name__}: {error}") from error
            if found != undisturbed:
                raise _difference(point, _first_difference(undisturbed, found))
            deaths += crashes
    return CrashReport(writes=counting.writes, deaths=deaths)


@contextmanager
def _taken_back() -> Iterator[None]:
    """Play in a transaction that is rolled back and, like that of a TestCase, does not count."""
    block: Any = transaction.atomic(using=settings().DATABASE)
    block._from_testcase = True
    with block:
        yield
        transaction.set_rollback(True, using=settings().DATABASE)


@contextmanager
def _known_ids() -> Iterator[None]:
    """Give the runs of each performance the same ids, as other ids, ``ctx.uuid()`` and ``ctx.random()`` follow from them."""
    numbers = count(1)

    def new_run_id() -> str:
        return f"wfr_everywhere{next(numbers)}"

    with ExitStack() as stack:
        for module in (forking, triggering):
            stack.enter_context(swapped(module, "new_run_id", new_run_id))
        yield


def _runs_of(box: WorkflowSandbox) -> dict[str, dict[str, Any]]:
    found = _runs().filter(pk__in=box.run_ids).order_by("pk").prefetch_related("steps")
    return {
        f"run {run.pk} of {run.workflow}": {
            "its version": run.version,
            "its state": str(run.status),
            "its result": _guessable(run.result_text),
            "its failure": run.failure
            and (run.failure.error_class, run.failure.message, run.failure.step),
            "its failure handler": run.handler_status,
            "its undo": run.undo_status,
            "its open deliveries": sorted(run.deliveries.values_list("step_key", flat=True)),
            **{
                f'step "{step.key}"': (step.kind, step.status, _guessable(step.result_text))
                for step in sorted(run.steps.all(), key=lambda step: str(step.key))
            },
        }
        for run in found
    }


def _guessable(text: str | None) -> str | None:
    return text and UNGUESSABLE.sub("…", text)


def _first_difference(undisturbed: Any, found: Any) -> str:
    (runs, returned, state), (other_runs, other_returned, other_state) = undisturbed, found
    for name in sorted({*runs, *other_runs}):
        one, other = runs.get(name), other_runs.get(name)
        if one is None or other is None:
            return f"there is {'one more' if one is None else 'no'} {name}"
        for what in [*one, *(key for key in other if key not in one)]:
            if one.get(what) != other.get(what):
                return f"{name}, {what}: {other.get(what)!r} instead of {one.get(what)!r}"
    if returned != other_returned:
        return f"the play returned {other_returned!r} instead of {returned!r}"
    return f"state() returned {other_state!r} instead of {state!r}"


def _difference(point: CrashPoint, what: str) -> CrashDifferenceError:
    statement = " ".join(point.statement.split())[:100]
    return CrashDifferenceError(
        f"When the process died {point.when} write {point.at} ({statement}), {what}.",
        write=point.at,
        when=point.when,
        statement=statement,
    )
