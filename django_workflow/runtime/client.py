"""What workflow objects, run handles and every window ask for: one verb each, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic, sleep
from typing import Any

from asgiref.sync import sync_to_async
from django.db import transaction

from django_workflow.conf import settings
from django_workflow.core.durations import parse_duration
from django_workflow.core.events import EventWaiter
from django_workflow.core.exceptions import (
    InvalidOptionError,
    RunNotFinishedError,
    RunNotFoundError,
    RunStateError,
)
from django_workflow.core.flow import FlowState
from django_workflow.core.types import RunStatus
from django_workflow.core.webhooks import WebhookRequest
from django_workflow.models import Approval, Event, Run, Webhook
from django_workflow.runtime.amending import AmendVerbs
from django_workflow.runtime.announcing import run_cancelled
from django_workflow.runtime.approvals import decide
from django_workflow.runtime.audit import audited
from django_workflow.runtime.flow_control import (
    after_commit,
    keys_of,
    state_of,
    steer,
)
from django_workflow.runtime.forking import ForkVerbs
from django_workflow.runtime.handler_again import rerun_handler
from django_workflow.runtime.keys import redaction_key
from django_workflow.runtime.schedules import ScheduleVerbs
from django_workflow.runtime.trouble import refuse_open_transaction
from django_workflow.runtime.waiting import send, waiters_for
from django_workflow.runtime.webhooks import keep_call
from django_workflow.runtime.worker import hint
from django_workflow.store import runs as store
from django_workflow.store.sql import connection

POLL_SECONDS = (0.002, 0.25)


class DjangoRuntime(ForkVerbs, AmendVerbs, ScheduleVerbs):
    """The runtime behind `core.ports.get_runtime()`."""

    @property
    def alias(self) -> str:
        """The database alias of the journal."""
        return settings().DATABASE

    @property
    def redaction_key(self) -> bytes:
        """The key of the marks that stand for redacted values."""
        return redaction_key()

    async def in_thread(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a sync verb from async code, on the thread that holds its transaction."""
        return await sync_to_async(function, thread_sensitive=True)(*args, **kwargs)

    # Flow control

    def flow_state(self, key: str) -> FlowState:
        """See `FlowKeyHandle.state()`."""
        return state_of(key)

    def steer_flow(self, key: str, verb: str, **options: Any) -> None:
        """See the verbs of `FlowKeyHandle`."""
        steer(key, verb, **options)

    def notify(
        self, event_id: str, data_text: str, workflow_run_id: str | None, keep: bool
    ) -> Event:
        """See `core.workflow.notify()`."""
        self._refuse_other_alias("notify()", "event")
        return send(event_id, data_text, workflow_run_id, keep)

    def get_waiters(self, event_id: str) -> list[EventWaiter]:
        """See `core.anywhere.get_waiters()`."""
        return waiters_for(event_id)

    def call_webhook(self, webhook: Webhook, request: WebhookRequest) -> str:
        """Keep a call of a webhook; see `runtime.webhooks.keep_call()`."""
        return keep_call(webhook, request)

    def decide_approval(self, approval: Approval | int, **decision: Any) -> Approval:
        """See `core.anywhere.decide_approval()`."""
        self._refuse_other_alias("decide_approval()", "decision")
        return decide(approval, **decision)

    # Look up and wait

    def get_run(self, run_id: str) -> Run:
        """See `core.workflow.get_run()`."""
        try:
            return Run.objects.using(self.alias).get(pk=run_id)
        except Run.DoesNotExist:
            raise RunNotFoundError(f'There is no run "{run_id}".', run_id=run_id) from None

    def wait(self, run: Run, timeout: Any) -> Run:
        """See `Run.wait()`."""
        refuse_open_transaction(f"run.wait() was called for run {run.id}")
        limit = None if timeout is None else parse_duration(timeout).total_seconds()
        begun, pause = monotonic(), POLL_SECONDS[0]
        while not run.refresh().is_finished:
            if limit is not None and monotonic() - begun >= limit:
                raise RunNotFinishedError(
                    f'Run "{run.id}" had not ended after {limit:g} s: it is {run.status}. {run.reason}'.strip(),
                    run_id=run.id,
                    state=run.status,
                )
            sleep(pause)
            pause = min(pause * 1.5, POLL_SECONDS[1])
        return run

    async def await_run(self, run: Run, timeout: Any) -> Run:
        """See `Run.wait_async()`; waits on a thread of its own, so that others go on."""
        await sync_to_async(refuse_open_transaction)(
            f"run.wait_async() was called for run {run.id}"
        )
        waiting = sync_to_async(self._wait_and_close, thread_sensitive=False)
        return await waiting(run, timeout)

    def _wait_and_close(self, run: Run, timeout: Any) -> Run:
        try:
            return self.wait(run, timeout)
        finally:
            connection().close()

    # Change state

    def cancel(self, run_id: str, *, actor: Any = None, why: str = "") -> None:
        """See `Run.cancel()`."""
        if not self._cancel(run_id, actor, why):
            self._refuse(
                run_id, "cancel", store.state_of(run_id), "It can be cancelled until it has ended."
            )

    def _cancel(self, run_id: str, actor: Any, why: str) -> bool:
        def do() -> bool:
            return store.cancel(run_id, why=why) is None

        keys = keys_of(run_id)
        done = audited("cancel", run_id, do, actor=actor, why=why)
        after_commit(keys)
        if done:
            run_cancelled(run_id)
            transaction.on_commit(hint, using=self.alias, robust=True)
        return done

    def cancel_runs(
        self,
        ids: Sequence[str],
        *,
        label: str | None,
        workflow: Any,
        everything: bool,
        actor: Any = None,
        why: str = "",
    ) -> int:
        """See `core.workflow.cancel_runs()`."""
        if not ids and label is None and workflow is None and not everything:
            raise InvalidOptionError("cancel_runs() needs ids, label=, workflow= or all=True.")
        found = Run.objects.using(self.alias).unfinished_or_paused()
        if ids:
            found = found.filter(pk__in=ids)
        if label is not None:
            found = found.labelled(label)
        if workflow is not None:
            found = found.filter(workflow=getattr(workflow, "name", workflow))
        return sum(
            self._cancel(run_id, actor, why) for run_id in list(found.values_list("pk", flat=True))
        )

    def pause(self, run_id: str, *, actor: Any = None, why: str = "") -> None:
        """See `Run.pause()`."""
        keys = keys_of(run_id)
        if not audited("pause", run_id, lambda: store.pause(run_id) is None, actor=actor, why=why):
            self._refuse(
                run_id,
                "pause",
                store.state_of(run_id),
                "Only a pending or running one can be paused.",
            )
        after_commit(keys)

    def resume(self, run_id: str, *, force: bool = False, actor: Any = None, why: str = "") -> None:
        """See `Run.resume()`."""
        run = self.get_run(run_id)
        if run.status == RunStatus.PAUSED:
            done = audited("resume", run_id, lambda: store.unpause(run_id), actor=actor, why=why)
        elif run.status in (RunStatus.FAILED, RunStatus.BLOCKED):
            self._resume_child(run, force=force, actor=actor)
            if run.undo_status and not force:
                self._refuse(
                    run_id, "resume", RunStatus(run.status),
                    f"The undo of its steps is {run.undo_status}: what they did is taken back, yet they count as done. Pass force=True to go on all the same.",
                )  # fmt: skip
            if run.handler_status and not force:
                self._refuse(
                    run_id, "resume", RunStatus(run.status),
                    f"Its failure handler is {run.handler_status}: what it did may contradict going on. Pass force=True to go on all the same.",
                )  # fmt: skip
            done = audited(
                "resume",
                run_id,
                lambda: store.resume(run_id, force=force),
                actor=actor,
                why=why,
            )
        else:
            done = False
        if not done:
            self._refuse(
                run_id,
                "resume",
                store.state_of(run_id),
                "Only a paused, failed or blocked one can be resumed.",
            )
        after_commit(keys_of(run_id))
        transaction.on_commit(hint, using=self.alias, robust=True)

    def rerun_handler(self, run_id: str, *, actor: Any = None, why: str = "") -> None:
        """See `Run.rerun_handler()`."""
        rerun_handler(run_id, actor=actor, why=why)

    def _resume_child(self, run: Run, *, force: bool, actor: Any) -> None:
        """Go on with the failed child whose error ended this run, before the run itself does."""
        failure = run.failure
        if (
            failure is None
            or failure.run_id is None
            or ((run.handler_status or run.undo_status) and not force)
        ):
            return
        child = run.children.filter(parent_step=run.failed_step, pk=failure.run_id).first()
        if child is not None and child.status == RunStatus.FAILED:
            self.resume(child.id, force=force, actor=actor, why=f"run {run.id} was resumed")

    def _refuse(self, run_id: str, verb: str, state: RunStatus | None, advice: str) -> None:
        if state is None:
            raise RunNotFoundError(f'There is no run "{run_id}".', run_id=run_id)
        raise RunStateError(
            f'Run "{run_id}" is {state}; it cannot be {_PAST[verb]}. {advice}',
            run_id=run_id,
            state=state,
        )


_PAST = {"cancel": "cancelled", "pause": "paused", "resume": "resumed"}
