"""What workflow objects, run handles and every window ask for: one verb each, in the caller's transaction."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from datetime import timedelta
from time import monotonic, sleep
from typing import Any

from asgiref.sync import sync_to_async
from django.db import connections, transaction

from django_workflow.conf import settings
from django_workflow.core.actors import CODE, Actor
from django_workflow.core.codec import codec
from django_workflow.core.context import executing
from django_workflow.core.durations import parse_duration
from django_workflow.core.events import EventWaiter
from django_workflow.core.exceptions import (
    InvalidOptionError,
    RunExistsError,
    RunNotFinishedError,
    RunNotFoundError,
    RunStateError,
)
from django_workflow.core.options import TriggerOptions
from django_workflow.core.retry import RetryPolicy, stored_delay
from django_workflow.core.types import RunStatus
from django_workflow.core.webhooks import WebhookRequest
from django_workflow.core.workflow import Workflow, registry
from django_workflow.models import Approval, Event, Run, Webhook
from django_workflow.models.about import reference
from django_workflow.runtime.announcing import run_cancelled
from django_workflow.runtime.approvals import decide
from django_workflow.runtime.audit import audited
from django_workflow.runtime.invoking import ALPHABET, ID_LENGTH, derived_run_id
from django_workflow.runtime.keys import redaction_key
from django_workflow.runtime.payloads import check_payload
from django_workflow.runtime.schedules import ScheduleVerbs
from django_workflow.runtime.trouble import refuse_open_transaction
from django_workflow.runtime.waiting import send, waiters_for
from django_workflow.runtime.webhooks import keep_call
from django_workflow.runtime.worker import hint
from django_workflow.store import actions, triggers
from django_workflow.store import runs as store
from django_workflow.store.actions import Change
from django_workflow.store.sql import connection
from django_workflow.store.triggers import NewRun

POLL_SECONDS = (0.002, 0.25)


def new_run_id() -> str:
    """Return a fresh run id that nobody can guess."""
    return "wfr_" + "".join(secrets.choice(ALPHABET) for _ in range(ID_LENGTH))


class DjangoRuntime(ScheduleVerbs):
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

    # Trigger

    def trigger(self, workflow: Workflow[Any, Any], payload: Any, options: TriggerOptions) -> Run:
        """See `Workflow.trigger()`."""
        ids = None if options.workflow_run_id is None else [options.workflow_run_id]
        return self.trigger_many(workflow, [payload], options, ids)[0]

    def trigger_many(
        self,
        workflow: Workflow[Any, Any],
        payloads: Sequence[Any],
        options: TriggerOptions,
        run_ids: Sequence[str] | None,
    ) -> list[Run]:
        """See `Workflow.trigger_many()`."""
        if not payloads:
            return []
        is_repeatable = run_ids is None and executing.get() is not None
        ids = self._fresh_ids(workflow, len(payloads)) if run_ids is None else list(run_ids)
        if len(ids) != len(payloads) or len(set(ids)) != len(ids):
            raise InvalidOptionError(
                f"workflow_run_ids must name each of the {len(payloads)} payloads once; found {len(ids)} ids, "
                f"{len(set(ids))} of them different."
            )
        if not options.detached:
            self._refuse_other_alias(f"{workflow.name}.trigger()", "run", " Or pass detached=True.")
        new = self._new_runs(workflow, payloads, options, ids)
        created = self._insert(new, options.by)
        transaction.on_commit(
            lambda: hint(-(-len(created) // settings().CLAIM_BATCH)), using=self.alias, robust=True
        )
        return self._handles(workflow, new, created, any_payload=is_repeatable)

    def _fresh_ids(self, workflow: Workflow[Any, Any], count: int) -> list[str]:
        """Return new ids; in a step's body those that a repeated body gets again."""
        step = executing.get()
        if step is None:
            return [new_run_id() for _ in range(count)]
        places = [step.triggers.next_of(workflow.name) for _ in range(count)]
        return [derived_run_id(step.triggers.seed, workflow.name, place) for place in places]

    def child(
        self, workflow: Any, payload: Any, options: dict[str, Any]
    ) -> Callable[[str], NewRun]:
        """Return what describes the run that ``ctx.invoke`` is to start, once it is given its id.

        Raises:
            InvalidOptionError: an option cannot work.
            WorkflowNotFoundError: no workflow of this name is registered.
        """
        found = registry.get(workflow) if isinstance(workflow, str) else workflow
        if not isinstance(found, Workflow):
            raise InvalidOptionError(f"ctx.invoke takes a workflow, not {workflow!r}.")
        if "detached" in options:
            raise InvalidOptionError("ctx.invoke has no option 'detached'.")
        checked = TriggerOptions.checked(**options)
        return lambda run_id: self._new_runs(found, [payload], checked, [run_id])[0]

    def _insert(self, new: Sequence[NewRun], by: Actor) -> dict[str, Any]:
        if by.door == CODE or not by.name:
            return triggers.insert(new)
        with transaction.atomic(using=self.alias):
            created = triggers.insert(new)
            changes = [Change(run_id, "", RunStatus.PENDING) for run_id in created]
            actions.keep("trigger", changes, by=by)
        return created

    def _new_runs(
        self,
        workflow: Workflow[Any, Any],
        payloads: Sequence[Any],
        options: TriggerOptions,
        ids: Sequence[str],
    ) -> list[NewRun]:
        if registry.find(workflow.name) is not workflow:
            raise InvalidOptionError(
                f'Workflow "{workflow.name}" is not the one registered under its name.'
            )
        version = options.version or workflow.latest_version
        if version not in workflow.versions:
            raise InvalidOptionError(
                f'Workflow "{workflow.name}" has no version "{version}". It has: {", ".join(workflow.versions)}.'
            )
        stored: dict[str, Any] = {"labels": list(options.labels)} if options.labels else {}
        if options.retries is not None:
            is_policy = isinstance(options.retries, RetryPolicy)
            stored["retries"] = options.retries.to_json() if is_policy else options.retries  # type: ignore[union-attr]
        if options.retry_delay is not None:
            stored["retry_delay"] = stored_delay(options.retry_delay)
        redact = dict.fromkeys((*workflow.options.redact, *options.redact))
        if redact:
            stored["redact"] = list(redact)
        about = (None, None) if options.about is None else reference(options.about)
        headers = codec.dumps(dict(options.headers), what="headers")
        texts = [self._payload_text(workflow, payload) for payload in payloads]
        return [
            NewRun(
                id=run_id,
                workflow=workflow.name,
                version=version,
                payload_text=text,
                headers_text=headers,
                options_text=codec.dumps(stored, what="options"),
                labels=options.labels,
                delay=options.delay,
                not_before=options.not_before,
                timeout=options.timeout or workflow.options.timeout,
                about=about,
                by=options.by,
            )
            for run_id, text in zip(ids, texts, strict=True)
        ]

    def _payload_text(self, workflow: Workflow[Any, Any], payload: Any) -> str | None:
        checked = check_payload(workflow, payload)
        return (
            None
            if checked is None
            else codec.dumps(checked, what="payload", max_bytes=settings().MAX_PAYLOAD_BYTES)
        )

    def _refuse_other_alias(self, verb: str, noun: str, advice: str = "") -> None:
        """Refuse a verb that would not be rolled back with the transaction it seems to belong to."""
        if connection().in_atomic_block:
            return
        for alias in connections:
            blocks = connections[alias].atomic_blocks if alias != self.alias else []
            if any(not getattr(block, "_from_testcase", False) for block in blocks):
                raise InvalidOptionError(
                    f'{verb} was called inside a transaction on "{alias}", but {noun}s are kept on "{self.alias}": a '
                    f'roll-back would leave the {noun}. Open a transaction on "{self.alias}".{advice}'
                )

    def _handles(
        self,
        workflow: Workflow[Any, Any],
        new: Sequence[NewRun],
        created: dict[str, Any],
        *,
        any_payload: bool,
    ) -> list[Run]:
        taken = [run.id for run in new if run.id not in created]
        existing = Run.objects.using(self.alias).in_bulk(taken) if taken else {}
        handles = []
        for row in new:
            found = existing.get(row.id)
            if row.id in created:
                handles.append(self._handle(row, created[row.id]))
            elif (
                found is None
                or found.workflow != workflow.name
                or (found.payload_text != row.payload_text and not any_payload)
            ):
                raise RunExistsError(
                    f'The run ID "{row.id}" is taken by a run of workflow "{found.workflow if found else "?"}" with another '
                    "workflow or payload. An id is usable once: choose another, or trigger with the same payload.",
                    run_id=row.id,
                )
            else:
                found.created = False
                handles.append(found)
        return handles

    def _handle(self, row: NewRun, created_at: Any) -> Run:
        run = Run(
            id=row.id,
            workflow=row.workflow,
            version=row.version,
            payload_text=row.payload_text,
            headers_text=row.headers_text,
            options_text=row.options_text,
            restarted_from_id=row.restarted_from,
            about_type=row.about[0],
            about_id=row.about[1],
            triggered_by=row.by.name,
            triggered_by_id=row.by.user_id,
            created_at=created_at,
            deadline=None if row.timeout is None else created_at + row.timeout,
        )
        run._state.db = self.alias
        run._state.adding = False
        return run

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

        done = audited("cancel", run_id, do, actor=actor, why=why)
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
        if not audited("pause", run_id, lambda: store.pause(run_id) is None, actor=actor, why=why):
            self._refuse(
                run_id,
                "pause",
                store.state_of(run_id),
                "Only a pending or running one can be paused.",
            )

    def resume(self, run_id: str, *, force: bool = False, actor: Any = None, why: str = "") -> None:
        """See `Run.resume()`."""
        run = self.get_run(run_id)
        if run.status == RunStatus.PAUSED:
            done = audited("resume", run_id, lambda: store.unpause(run_id), actor=actor, why=why)
        elif run.status in (RunStatus.FAILED, RunStatus.BLOCKED):
            self._resume_child(run, force=force, actor=actor)
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
        transaction.on_commit(hint, using=self.alias, robust=True)

    def _resume_child(self, run: Run, *, force: bool, actor: Any) -> None:
        """Go on with the failed child whose error ended this run, before the run itself does."""
        failure = run.failure
        if failure is None or failure.run_id is None or (run.handler_status and not force):
            return
        child = run.children.filter(parent_step=run.failed_step, pk=failure.run_id).first()
        if child is not None and child.status == RunStatus.FAILED:
            self.resume(child.id, force=force, actor=actor, why=f"run {run.id} was resumed")

    def restart(self, run_id: str, *, actor: Any = None, why: str = "") -> Run:
        """See `Run.restart()`."""
        run, by = self.get_run(run_id), Actor.of(actor)
        workflow = registry.get(run.workflow)
        row = NewRun(
            id=new_run_id(),
            workflow=run.workflow,
            version=workflow.latest_version,
            payload_text=run.payload_text,
            headers_text=run.headers_text,
            options_text=run.options_text,
            labels=tuple(run.labels),
            delay=timedelta(0),
            not_before=None,
            timeout=None if run.deadline is None else run.deadline - run.created_at,
            restarted_from=run.id,
            about=(run.about_type, run.about_id),
            by=by if by.name else Actor(run.triggered_by, run.triggered_by_id),
        )
        created: dict[str, Any] = {}

        def do() -> bool:
            created.update(triggers.insert([row]))
            return True

        if not audited("restart", run_id, do, actor=by, why=why):
            self._refuse(run_id, "restart", None, "")
        transaction.on_commit(hint, using=self.alias, robust=True)
        return self._handle(row, created[row.id])

    def _refuse(self, run_id: str, verb: str, state: RunStatus | None, advice: str) -> None:
        if state is None:
            raise RunNotFoundError(f'There is no run "{run_id}".', run_id=run_id)
        raise RunStateError(
            f'Run "{run_id}" is {state}; it cannot be {_PAST[verb]}. {advice}',
            run_id=run_id,
            state=state,
        )


_PAST = {"cancel": "cancelled", "pause": "paused", "resume": "resumed"}
