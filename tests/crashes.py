"""Deaths at every write, of the kit's kind and of real processes: the dead runs no body either."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from django_workflow.models import Run
from django_workflow.runtime.flow_control import look_after
from django_workflow.testing import WorkflowSandbox, crashes
from django_workflow.testing.crashes import SimulatedCrash, When
from tests.cases.child import KILLED, Plan, run_child
from tests.cases.ledger import ledger


class CrashPoint(crashes.CrashPoint):
    """Keeps the dead from writing into the ledger too."""

    @contextmanager
    def watching(self) -> Iterator[None]:
        ledger.refuse = self.refuse_the_dead
        with super().watching():
            yield


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
