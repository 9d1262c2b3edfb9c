"""Tells middleware and signals what has happened, after the commit; nothing that they do reaches the engine.

Where nobody listens, nothing is asked and no object is made.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import lru_cache, partial
from typing import Any

from django.db import transaction
from django.utils.module_loading import import_string

from django_workflow import signals
from django_workflow.conf import settings
from django_workflow.core.codec import codec
from django_workflow.core.journal import Record
from django_workflow.core.middleware import Middleware, OutgoingCall, RunInfo, StepInfo, passing
from django_workflow.core.types import Failure, RunStatus, StepKind, StepStatus
from django_workflow.models import Run, Step
from django_workflow.runtime.failure import stored_options
from django_workflow.store.rows import Claim
from django_workflow.store.sql import connection

logger = logging.getLogger(__name__)

#: Of these nothing is carried out, so there is nothing to tell.
SILENT = frozenset(
    {
        StepKind.SLEEP,
        StepKind.SLEEP_UNTIL,
        StepKind.WAIT_FOR_EVENT,
        StepKind.WAIT_FOR_WEBHOOK,
        StepKind.WAIT_FOR_APPROVAL,
        StepKind.PATCH,
        StepKind.RACE,
    }
)
NOTHING: AbstractContextManager[None] = nullcontext()
_silent: ContextVar[bool] = ContextVar("django_workflow_silent", default=False)


@lru_cache(maxsize=8)
def _made(paths: tuple[str, ...]) -> tuple[Middleware, ...]:
    made = []
    for path in paths:
        try:
            made.append(import_string(path)())
        except Exception:  # broad: user code; the system check says it before
            logger.exception('The middleware "%s" cannot be used, and is left out', path)
    return tuple(made)


def middlewares() -> tuple[Middleware, ...]:
    """Return the project's middleware, in order."""
    paths = settings().MIDDLEWARE
    return _made(paths) if paths and not _silent.get() else ()


@contextmanager
def untold() -> Iterator[None]:
    """Tell the middleware nothing inside: a rehearsal is no pass."""
    token = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(token)


class _Around:
    """The context managers of all middleware around one thing, of which none can stop it or hide what it raises."""

    def __init__(self, hook: str, *about: Any) -> None:
        self._hook = hook
        self._about = about
        self._open: list[AbstractContextManager[Any]] = []

    def __enter__(self) -> None:
        for one in middlewares():
            try:
                manager = getattr(one, self._hook)(*self._about)
                manager.__enter__()
            except Exception:  # broad: user code
                logger.exception("%s.%s raised", type(one).__name__, self._hook)
            else:
                self._open.append(manager)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        for manager in reversed(self._open):
            try:
                manager.__exit__(kind, error, trace)
            except Exception as raised:  # broad: user code
                if raised is not error:
                    logger.exception("%s of a middleware raised", self._hook)


@contextmanager
def around_pass(claim: Claim) -> Iterator[None]:
    """Surround a pass: log lines know its run, and so does the middleware."""
    info = _run_info(claim)
    token = passing.set(info)
    try:
        with _Around("around_pass", info) if middlewares() else NOTHING:
            yield
    finally:
        passing.reset(token)


def around_step(claim: Claim, step: Any, attempt: int) -> AbstractContextManager[None]:
    """Return what surrounds an attempt of a body."""
    if not middlewares():
        return NOTHING
    about = StepInfo(name=step.name, key=step.key, kind=step.kind, attempt=attempt)
    return _Around("around_step", _run_info(claim), about)


def around_call(claim: Claim, about: StepInfo, call: OutgoingCall) -> AbstractContextManager[None]:
    """Return what surrounds a request of a call."""
    return _Around("around_call", _run_info(claim), about, call) if middlewares() else NOTHING


def carried(run: RunInfo) -> dict[str, str]:
    """Return what the middleware wants to be kept with a run that is being triggered."""
    kept: dict[str, str] = {}
    for one in middlewares():
        try:
            kept.update(one.carry(run))
        except Exception:  # broad: user code
            logger.exception("%s.carry raised", type(one).__name__)
    return {str(name): str(text) for name, text in kept.items()}


def _run_info(claim: Claim) -> RunInfo:
    run = claim.run
    return RunInfo(
        workflow_run_id=run.id,
        workflow=run.workflow,
        version=run.version,
        created_at=run.created_at,
        carried=stored_options(run.options_text).get("carried", {}),
    )


def _tell(hook: str, *about: Any) -> None:
    for one in middlewares():
        try:
            getattr(one, hook)(*about)
        except Exception:  # broad: user code
            logger.exception("%s.%s raised", type(one).__name__, hook)


def _send(
    signal: signals.WorkflowSignal, workflow: str, run_id: str, key: str | None = None
) -> None:
    """Send a signal with the rows as they are now; nothing of it reaches the caller."""
    try:
        named: dict[str, Any] = {}
        run = Run.objects.using(settings().DATABASE).filter(pk=run_id).first()
        if key is not None:
            named["step"] = Step.objects.using(settings().DATABASE).get(run_id=run_id, key=key)
        if run is not None:
            signal.send_robust(sender=workflow, run=run, **named)
    except Exception:  # broad: what was committed counts, whoever hears of it
        logger.exception("A signal for run %s could not be sent", run_id)


def _after_commit(call: Callable[[], None]) -> None:
    """Call at once, or when the transaction commits; the one around a test case does not count."""
    blocks = connection().atomic_blocks
    if any(not getattr(block, "_from_testcase", False) for block in blocks):
        transaction.on_commit(call, using=settings().DATABASE, robust=True)
    else:
        call()


# What the runtime says.


def run_started(claim: Claim) -> None:
    """Say that a run has begun, if this is its first claim."""
    if claim.run.status != RunStatus.PENDING:
        return
    if middlewares():
        _tell("run_started", _run_info(claim))
    if signals.run_started.has_listeners(claim.run.workflow):
        _send(signals.run_started, claim.run.workflow, claim.run_id)


def run_completed(claim: Claim) -> None:
    """Say that a run has completed."""
    if middlewares():
        _tell("run_completed", _run_info(claim))
    if signals.run_completed.has_listeners(claim.run.workflow):
        _send(signals.run_completed, claim.run.workflow, claim.run_id)


def run_failed(claim: Claim, failure_text: str) -> None:
    """Say that a run is a dead letter."""
    if middlewares():
        _tell("run_failed", _run_info(claim), Failure.from_json(codec.loads(failure_text)))
    if signals.run_failed.has_listeners(claim.run.workflow):
        _send(signals.run_failed, claim.run.workflow, claim.run_id)


def run_cancelled(run_id: str) -> None:
    """Say that a run was cancelled, when the caller's transaction commits; one that is cancelling is told of later."""
    if middlewares() or signals.run_cancelled.receivers:
        _after_commit(partial(_cancelled, run_id))


def _cancelled(run_id: str) -> None:
    found = Run.objects.using(settings().DATABASE).filter(pk=run_id, status=RunStatus.CANCELLED)
    row = found.values_list("workflow", "version", "created_at", "options_text").first()
    if row is None:
        # Gone, or cancelling: its children are cancelled before it is.
        return
    workflow, version, created_at, options_text = row
    about = RunInfo(
        workflow_run_id=run_id,
        workflow=workflow,
        version=version,
        created_at=created_at,
        carried=stored_options(options_text).get("carried", {}),
    )
    _tell("run_cancelled", about)
    if signals.run_cancelled.has_listeners(workflow):
        _send(signals.run_cancelled, workflow, run_id)


_OF_STEPS = {
    StepStatus.COMPLETED: ("step_completed", signals.step_completed),
    StepStatus.RETRYING: ("step_retried", signals.step_retried),
    StepStatus.FAILED: ("step_failed", signals.step_failed),
}


def hears_of_steps() -> bool:
    """Tell whether anybody is to be told of steps."""
    return bool(middlewares()) or any(signal.receivers for _, signal in _OF_STEPS.values())


def step_ended(claim: Claim, record: Record) -> None:
    """Say how an attempt of a step has ended."""
    if record.kind not in SILENT and hears_of_steps():
        _step_ended(_run_info(claim), record)


def child_step_ended(run_id: str | None, key: str) -> None:
    """Say how a step has ended that was recorded for its run by somebody else: by the end of a child."""
    if not hears_of_steps():
        return
    found = Step.objects.using(settings().DATABASE).filter(run_id=run_id, key=key)
    step = found.filter(status__in=_OF_STEPS).select_related("run").first()
    if step is not None:
        about = step.run
        run = RunInfo(workflow_run_id=about.id, workflow=about.workflow, version=about.version)
        _step_ended(run, step)


def _step_ended(run: RunInfo, record: Record | Step) -> None:
    hook, signal = _OF_STEPS[StepStatus(record.status)]
    if middlewares():
        about = StepInfo(
            name=record.name, key=record.key, kind=record.kind, attempt=record.attempts
        )
        text = record.failure_text
        failure = (
            [Failure.from_json(codec.loads(text))] if text and hook != "step_completed" else []
        )
        _tell(hook, run, about, *failure)
    if signal.has_listeners(run.workflow):
        _send(signal, run.workflow, run.workflow_run_id, record.key)
