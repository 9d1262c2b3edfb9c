"""What a play has at hand: a sandbox in one of its modes, and the workflow in one of its colours."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, ClassVar

from django.db import transaction

import tests.cases as package
from django_workflow.core.at_rest import opened
from django_workflow.core.ports import get_transport
from django_workflow.core.workflow import Workflow, registry
from django_workflow.models import Run
from django_workflow.runtime import entry
from django_workflow.runtime.trouble import DeliveryTroubleError
from django_workflow.runtime.worker import put_off, transport_name
from django_workflow.store.rows import Claim
from django_workflow.testing import WorkflowSandbox
from django_workflow.testing.faults import SandboxPerformer
from django_workflow.testing.hooks import open_boxes
from tests.cases.ledger import ledger
from tests.crashes import CrashingSandbox, CrashPoint

NOW = datetime(2030, 6, 1, 12, tzinfo=UTC)
FRAME = frozenset({"bodies", "child", "ledger", "outside", "stage"})


def names() -> list[str]:
    """Return the names of all cases."""
    return [found.name for found in iter_modules(package.__path__) if found.name not in FRAME]


def names_for_children() -> list[str]:
    """Return the names of the cases whose runs any process can drive."""
    return [name for name in names() if not getattr(case_of(name), "IN_ONE_PROCESS", False)]


def case_of(name: str) -> ModuleType:
    return import_module(f"tests.cases.{name}")


class HttpSandbox(CrashingSandbox):
    """Carries every delivery out by requests to the workflow's view, which belongs to the box too."""

    usual: ClassVar[Callable[..., Any]] = entry.enter

    def __enter__(self) -> Any:
        make = partial(SandboxPerformer, self._rules, lambda: self.now)
        entry.enter = partial(HttpSandbox.usual, performer=make)
        return super().__enter__()

    def __exit__(self, *exc_info: object) -> None:
        entry.enter = HttpSandbox.usual
        super().__exit__(*exc_info)

    def _carry(self, claim: Claim) -> None:
        try:
            get_transport(transport_name(claim)).deliver(claim)
        except DeliveryTroubleError as error:
            put_off(claim, str(error))


def current_box() -> WorkflowSandbox:
    """Return the box whose clock a slow body moves."""
    box = open_boxes.current
    assert isinstance(box, WorkflowSandbox)
    return box


def outcomes(run: Run) -> set[str]:
    """Return what became of attempts, those that crashes have cost aside."""
    return set(run.attempts.exclude(outcome="died").values_list("outcome", flat=True))


class Stage:
    """One performance of a case."""

    def __init__(self, case: str, colour: str, box: CrashingSandbox) -> None:
        self.box = box
        self.case = case
        self.workflow: Workflow[Any, Any] = getattr(case_of(case), colour)
        self.is_async = colour == "asynchronous"
        self._triggered = 0
        self._undo: list[Callable[[], object]] = []

    def trigger(self, payload: Any = None, **options: Any) -> Run:
        """Trigger the workflow, under an id that is the same in every performance."""
        self._triggered += 1
        options.setdefault("workflow_run_id", f"{self.case}-{self._triggered}")
        run: Run = self.workflow.trigger(payload, **options)
        return run

    def deploy(self, sync: Callable[..., Any], asynchronous: Callable[..., Any]) -> None:
        """Change the code of version 1, as a deploy that forgets about runs under way does."""
        usual = self.workflow.versions["1"]
        self.workflow.versions["1"] = asynchronous if self.is_async else sync
        self._undo.append(lambda: self.workflow.versions.update({"1": usual}))

    def undeploy(self) -> None:
        """Take the workflow out of this process."""
        registry.remove(self.workflow.name)
        self._undo.append(lambda: registry.add(self.workflow))

    def undeploy_version(self) -> None:
        """Let this process know version 1 of the workflow no more."""
        body = self.workflow.versions.pop("1")
        self._undo.append(lambda: self.workflow.versions.update({"1": body}))

    def redeploy(self) -> None:
        """Bring everything back."""
        while self._undo:
            self._undo.pop()()

    def ran(self, body: str, times: int = 1) -> None:
        """Say that a body ran so often: never less, and more only by one for each crash."""
        found = ledger.read().count(body)
        most = times + self.box.crashes if times else 0
        assert times <= found <= most, f"{body} ran {found} times, not {times} to {most}"

    def ran_at_most(self, body: str, times: int) -> None:
        """Say that a body ran at least once, and so often where a death that the play asks for is met."""
        assert 1 <= ledger.read().count(body) <= times + self.box.crashes

    def ran_in_order(self, *bodies: str) -> None:
        """Say in which order bodies ran, each for the first time, and that no others did."""
        assert list(dict.fromkeys(ledger.read())) == list(bodies)


@contextmanager
def rolled_back() -> Iterator[None]:
    """Play in a transaction that is taken back, so that the next performance finds the same."""
    block = transaction.atomic()
    block._from_testcase = True  # type: ignore[attr-defined]
    with block:
        yield
        transaction.set_rollback(True)


def box_for(mode: str, point: CrashPoint) -> CrashingSandbox:
    """Return the sandbox of a mode: inline, replay (one body in each pass), or http."""
    if mode == "http":
        return HttpSandbox(point, now=NOW)
    return CrashingSandbox(point, now=NOW, steps_per_pass=None if mode == "inline" else 1)


def perform(case: str, colour: str, mode: str, point: CrashPoint | None = None) -> list[Any]:
    """Play a case and return what its runs have become."""
    return perform_in(box_for(mode, point or CrashPoint()), case, colour)


def perform_in(box: CrashingSandbox, case: str, colour: str) -> list[Any]:
    """Play a case in this box, and return what its runs have become."""
    ledger.clear()
    stage = Stage(case, colour, box)
    try:
        with box:
            case_of(case).play(stage)
            return snapshot(box)
    finally:
        stage.redeploy()
        ledger.clear()


def _settled(result: str | None) -> str | None:
    """Return a result without the event's id that nobody can guess."""
    return result and re.sub(r'"approval:[0-9a-f]{32}"', '"approval:…"', result)


def snapshot(box: WorkflowSandbox) -> list[Any]:
    """Return all that has to be the same whatever happened on the way."""
    runs = Run.objects.filter(pk__in=box.run_ids).order_by("created_at", "pk")
    return [
        (
            run.workflow,
            run.version,
            run.status,
            run.result_text and opened(run.result_text),
            run.failure and (run.failure.error_class, run.failure.message, run.failure.step),
            run.handler_status,
            run.handler_failure and run.handler_failure.message,
            sorted(run.deliveries.values_list("step_key", "due_at", "leased_by")),
            [
                (
                    step.key,
                    step.kind,
                    step.status,
                    _settled(step.result_text and opened(step.result_text)),
                    step.attempts,
                )
                for step in run.steps.order_by("sequence", "id")
            ],
        )
        for run in runs
    ]
