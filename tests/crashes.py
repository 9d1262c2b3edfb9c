"""Deaths at every write: a sandbox whose process dies before or after the n-th statement that writes.

Counted are the statements sent while deliveries are carried out, those of step bodies among them, and the commit of
each outermost transaction. A death by exception must look to the database like a real one, so from then on the dead
sends no statement and runs no body, whatever ``finally`` and ``with`` blocks the exception passes on its way up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from django.db.backends.base.base import BaseDatabaseWrapper

from django_workflow.models import Run
from django_workflow.runtime.flow_control import look_after
from django_workflow.store.sql import connection
from django_workflow.testing import WorkflowSandbox
from tests.cases.child import KILLED, Plan, run_child
from tests.cases.ledger import ledger

When = Literal["before", "after"]

WRITES = ("INSERT", "UPDATE", "DELETE", "WITH", "REPLACE")
UNWINDING = ("ROLLBACK", "RELEASE")


class SimulatedCrash(BaseException):
    """The process is dead."""


def die_by_exception() -> None:
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

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Count what is written within; who has died comes to life again afterwards."""
        ledger.refuse = self.refuse_the_dead
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
        if self.is_dead:
            raise SimulatedCrash

    def __call__(self, execute: Any, sql: Any, params: Any, many: Any, context: Any) -> Any:
        text = str(sql).lstrip(" (\n").upper()
        if self.is_dead and not text.startswith(UNWINDING):
            raise SimulatedCrash
        if not text.startswith(WRITES) and not self._ends_a_transaction(context, text):
            return execute(sql, params, many, context)
        # Dying before a RELEASE would leave what it ends in the test's transaction, as if committed.
        may_be_before = not text.startswith(UNWINDING)
        return self._step(lambda: execute(sql, params, many, context), before=may_be_before)

    def _step(self, write: Callable[[], Any], *, before: bool = True) -> Any:
        self.writes += 1
        is_here = self.writes == self.at
        if is_here and self.when == "before" and before:
            self._crash()
        result = write()
        if is_here and not self.is_dead:
            self._crash()
        return result

    def _commit(self, of: BaseDatabaseWrapper, commit: Callable[[], Any]) -> Any:
        try:
            return self._step(commit)
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

    def _drive(self) -> None:
        while True:
            try:
                with self.point.watching():
                    super()._drive()
                return
            except SimulatedCrash:
                self.crashes += 1
                # A run may have been committed by who did not live to tell the box.
                self.run_ids.update(Run.objects.values_list("pk", flat=True))
            # A line in which the dead was to give a slot is the one thing that the sweep has to find.
            look_after()
            assert not Run.objects.stuck().exists()
            self._bury()


class DyingSandbox(CrashingSandbox):
    """Lets child processes drive first, which are killed; what they leave is carried on in this one."""

    def __init__(
        self, case: str, points: Sequence[tuple[int, When]], env: Mapping[str, str], **options: Any
    ) -> None:
        super().__init__(CrashPoint(), **options)
        self._case = case
        self._points = list(points)
        self._env = env

    def _drive(self) -> None:
        while self._points and self._deliveries().due(self.now).exists():
            at, when = self._points.pop(0)
            plan = Plan(
                case=self._case,
                run_ids=sorted(self.run_ids),
                now=self.now.isoformat(),
                worker=self._worker,
                at=at,
                when=when,
            )
            status = run_child(plan, self._env)
            assert status in (0, KILLED)
            self.crashes += status == KILLED
            # What the dead have triggered is the box's too.
            self.run_ids.update(Run.objects.values_list("pk", flat=True))
            self._bury()
        super()._drive()
