"""What workflow objects, run handles and every window ask for: one verb each, in the caller's transaction."""

from __future__ import annotations

import logging
import secrets
import string
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from time import monotonic, sleep
from typing import Any

from asgiref.sync import sync_to_async
from django.db import connections, transaction
from django.utils import timezone

from django_workflow.conf import settings
from django_workflow.core.codec import codec
from django_workflow.core.durations import parse_duration
from django_workflow.core.exceptions import (
    InvalidOptionError,
    RunExistsError,
    RunNotFinishedError,
    RunNotFoundError,
    RunStateError,
)
from django_workflow.core.flow import FlowControl, FlowState
from django_workflow.core.options import TriggerOptions
from django_workflow.core.retry import RetryPolicy
from django_workflow.core.types import RunStatus
from django_workflow.core.workflow import Workflow, registry
from django_workflow.models import Event, Run
from django_workflow.runtime.failure import stored_options
from django_workflow.runtime.flow_control import (
    after_commit,
    announce,
    flow_of,
    keys_of,
    state_of,
    steer,
)
from django_workflow.runtime.gates import Gate, is_gated
from django_workflow.runtime.payloads import check_payload
from django_workflow.runtime.trouble import refuse_open_transaction
from django_workflow.runtime.waiting import send
from django_workflow.runtime.worker import hint
from django_workflow.store import runs as store
from django_workflow.store import triggers
from django_workflow.store.sql import connection
from django_workflow.store.triggers import NewRun

logger = logging.getLogger(__name__)

ALPHABET = string.ascii_letters + string.digits
POLL_SECONDS = (0.002, 0.25)


def new_run_id() -> str:
    """Return a fresh run id that nobody can guess."""
    return "wfr_" + "".join(secrets.choice(ALPHABET) for _ in range(21))


class DjangoRuntime:
    """The runtime behind `core.ports.get_runtime()`."""

    @property
    def alias(self) -> str:
        """The database alias of the journal."""
        return settings().DATABASE

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
        ids = [new_run_id() for _ in payloads] if run_ids is None else list(run_ids)
        if len(ids) != len(payloads) or len(set(ids)) != len(ids):
            raise InvalidOptionError(
                f"workflow_run_ids must name each of the {len(payloads)} payloads once; found {len(ids)} ids, "
                f"{len(set(ids))} of them different."
            )
        if not options.detached:
            self._refuse_other_alias(f"{workflow.name}.trigger()", "run", " Or pass detached=True.")
        if is_gated(workflow, options):
            with transaction.atomic(using=self.alias):
                return [
                    self._through_gate(workflow, payload, options, run_id)
                    for payload, run_id in zip(payloads, ids, strict=True)
                ]
        return self._insert(workflow, self._new_runs(workflow, payloads, options, ids), options)

    def _insert(
        self, workflow: Workflow[Any, Any], new: Sequence[NewRun], options: TriggerOptions
    ) -> list[Run]:
        created = triggers.insert(new)
        transaction.on_commit(
            lambda: hint(-(-len(created) // settings().CLAIM_BATCH)), using=self.alias, robust=True
        )
        self._announce(workflow, [run for run in new if run.id in created], options.flow_control)
        return self._handles(workflow, new, created)

    def _announce(
        self, workflow: Workflow[Any, Any], new: Sequence[NewRun], given: FlowControl | None
    ) -> None:
        limits = given or workflow.options.flow_control
        keys = list(dict.fromkeys(run.flow_key for run in new if run.lines_up and run.flow_key))
        if limits is not None and keys:
            controls = [replace(limits, key=key) for key in keys]
            transaction.on_commit(lambda: announce(controls), using=self.alias, robust=True)

    def _through_gate(
        self, workflow: Workflow[Any, Any], payload: Any, options: TriggerOptions, run_id: str
    ) -> Any:
        checked = check_payload(workflow, payload)
        if options.debounce is not None:
            options = replace(options, delay=options.debounce.quiet)
        [new] = self._new_runs(workflow, [payload], options, [run_id])
        gate = Gate(workflow, options, checked)
        run = gate.pass_through(new, lambda new: self._insert(workflow, [new], options)[0])
        for replaced in gate.replaced:
            self._log("cancelled", replaced, None, "replaced by a new run of its singleton")
        return run

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
        stored = _stored(options)
        headers = codec.dumps(dict(options.headers), what="headers")
        control = options.flow_control or workflow.options.flow_control
        checked = [check_payload(workflow, payload) for payload in payloads]
        told_by_payload = control is not None and not isinstance(control.key, str)
        return [
            NewRun(
                id=run_id,
                workflow=workflow.name,
                version=version,
                payload_text=self._payload_text(payload),
                headers_text=headers,
                options_text=codec.dumps(
                    {**stored, "flow_key": key} if told_by_payload else stored, what="options"
                ),
                labels=options.labels,
                delay=options.delay,
                not_before=options.not_before,
                timeout=options.timeout or workflow.options.timeout,
                flow_key=key,
                priority=options.priority,
                ttl=options.ttl,
            )
            for run_id, payload, key in zip(
                ids, checked, (self._flow_key(control, payload) for payload in checked), strict=True
            )
        ]

    def _flow_key(self, control: FlowControl | None, payload: Any) -> str | None:
        return None if control is None else control.for_payload(payload).text_key

    def _payload_text(self, checked: Any) -> str | None:
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
        self, workflow: Workflow[Any, Any], new: Sequence[NewRun], created: dict[str, Any]
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
                or found.payload_text != row.payload_text
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
            created_at=created_at,
            deadline=None if row.timeout is None else created_at + row.timeout,
        )
        run._state.db = self.alias
        run._state.adding = False
        return run

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
        keys = keys_of(run_id)
        found = store.cancel(run_id, why=why)
        after_commit(keys)
        if found is not None or not Run.objects.using(self.alias).filter(pk=run_id).exists():
            self._refuse(run_id, "cancel", found, "It can be cancelled until it has ended.")
        self._log("cancelled", run_id, actor, why)

    def cancel_runs(
        self, ids: Sequence[str], *, label: str | None, workflow: Any, everything: bool
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
            store.cancel(run_id) is None for run_id in list(found.values_list("pk", flat=True))
        )

    def pause(self, run_id: str, *, actor: Any = None, why: str = "") -> None:
        """See `Run.pause()`."""
        keys = keys_of(run_id)
        found = store.pause(run_id)
        after_commit(keys)
        if found is not None or not Run.objects.using(self.alias).filter(pk=run_id).exists():
            self._refuse(run_id, "pause", found, "Only a pending or running one can be paused.")
        self._log("paused", run_id, actor, why)

    def resume(self, run_id: str, *, force: bool = False, actor: Any = None, why: str = "") -> None:
        """See `Run.resume()`."""
        run = self.get_run(run_id)
        if run.status == RunStatus.PAUSED:
            done = store.unpause(run_id)
        elif run.status in (RunStatus.FAILED, RunStatus.BLOCKED):
            if run.handler_status and not force:
                self._refuse(
                    run_id, "resume", RunStatus(run.status),
                    f"Its failure handler is {run.handler_status}: what it did may contradict going on. Pass force=True to go on all the same.",
                )  # fmt: skip
            done = store.resume(run_id, force=force)
        else:
            done = False
        if not done:
            self._refuse(
                run_id,
                "resume",
                store.state_of(run_id),
                "Only a paused, failed or blocked one can be resumed.",
            )
        self._log("resumed", run_id, actor, why)
        after_commit(keys_of(run_id))
        transaction.on_commit(hint, using=self.alias, robust=True)

    def restart(self, run_id: str, *, actor: Any = None, why: str = "") -> Run:
        """See `Run.restart()`."""
        run = self.get_run(run_id)
        workflow = registry.get(run.workflow)
        control = flow_of(run, workflow)
        ttl = stored_options(run.options_text).get("ttl")
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
            flow_key=None if control is None else control.text_key,
            priority=stored_options(run.options_text).get("priority", 0),
            ttl=None if ttl is None else timedelta(seconds=ttl),
        )
        created = triggers.insert([row])
        self._announce(workflow, [row], control)
        transaction.on_commit(hint, using=self.alias, robust=True)
        self._log("restarted", run_id, actor, why)
        return self._handle(row, created[row.id])

    def _refuse(self, run_id: str, verb: str, state: RunStatus | None, advice: str) -> None:
        if state is None:
            raise RunNotFoundError(f'There is no run "{run_id}".', run_id=run_id)
        raise RunStateError(
            f'Run "{run_id}" is {state}; it cannot be {_PAST[verb]}. {advice}',
            run_id=run_id,
            state=state,
        )

    def _log(self, what: str, run_id: str, actor: Any, why: str) -> None:
        extra = {
            "run_id": run_id,
            "actor": str(actor or ""),
            "why": why,
            "at": timezone.now().isoformat(),
        }
        logger.info("Run %s was %s", run_id, what, extra=extra)


def _stored(options: TriggerOptions) -> dict[str, Any]:
    stored: dict[str, Any] = {"labels": list(options.labels)} if options.labels else {}
    if options.retries is not None:
        is_policy = isinstance(options.retries, RetryPolicy)
        stored["retries"] = options.retries.to_json() if is_policy else options.retries  # type: ignore[union-attr]
    if options.retry_delay is not None:
        stored["retry_delay"] = options.retry_delay.total_seconds()
    if options.priority:
        stored["priority"] = options.priority
    if options.ttl is not None:
        stored["ttl"] = options.ttl.total_seconds()
    if options.flow_control is not None:
        stored["flow_control"] = options.flow_control.to_json()
    return stored


_PAST = {"cancel": "cancelled", "pause": "paused", "resume": "resumed"}
