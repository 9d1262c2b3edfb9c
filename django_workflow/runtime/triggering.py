"""Triggers: runs made in the caller's transaction, past the gates of their workflow, and their handles."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from contextvars import copy_context
from dataclasses import replace
from typing import Any

from django.db import connections, transaction

from django_workflow.conf import settings
from django_workflow.core.actors import CODE, Actor
from django_workflow.core.at_rest import opened
from django_workflow.core.codec import codec
from django_workflow.core.context import executing
from django_workflow.core.exceptions import (
    InvalidOptionError,
    RunExistsError,
)
from django_workflow.core.flow import FlowControl
from django_workflow.core.middleware import RunInfo
from django_workflow.core.options import TriggerOptions
from django_workflow.core.retry import RetryPolicy, stored_delay
from django_workflow.core.types import RunStatus
from django_workflow.core.workflow import Workflow, registry
from django_workflow.models import Run
from django_workflow.models.about import reference
from django_workflow.runtime.announcing import carried, middlewares, run_cancelled
from django_workflow.runtime.failure import stored_options
from django_workflow.runtime.flow_control import after_commit, announce
from django_workflow.runtime.gates import Gate, is_gated
from django_workflow.runtime.invoking import ALPHABET, FIRST_LETTERS, ID_LENGTH, derived_run_id
from django_workflow.runtime.payloads import check_payload
from django_workflow.runtime.singleton_lines import LINE, line_for, refuse_debounce
from django_workflow.runtime.worker import hint
from django_workflow.store import actions, triggers
from django_workflow.store.actions import Change
from django_workflow.store.repeating import repeated
from django_workflow.store.sql import connection
from django_workflow.store.triggers import NewRun


def new_run_id() -> str:
    """Return a fresh run id that nobody can guess."""
    others = (secrets.choice(ALPHABET) for _ in range(ID_LENGTH - 1))
    return f"wfr_{secrets.choice(FIRST_LETTERS)}{''.join(others)}"


class TriggerVerbs:
    """The verbs of the runtime that make runs."""

    @property
    def alias(self) -> str:
        """The database alias of the journal."""
        return settings().DATABASE

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
        if is_gated(workflow, options):
            return self._through_gates(workflow, payloads, options, ids)
        new = self._new_runs(workflow, payloads, options, ids)
        return self._insert(workflow, new, options, any_payload=is_repeatable)

    @repeated
    def _through_gates(
        self,
        workflow: Workflow[Any, Any],
        payloads: Sequence[Any],
        options: TriggerOptions,
        ids: Sequence[str],
    ) -> list[Run]:
        with transaction.atomic(using=self.alias):
            return [
                self._through_gate(workflow, payload, options, run_id)
                for payload, run_id in zip(payloads, ids, strict=True)
            ]

    def _insert(
        self,
        workflow: Workflow[Any, Any],
        new: Sequence[NewRun],
        options: TriggerOptions,
        *,
        any_payload: bool = False,
    ) -> list[Run]:
        created = self._write(new, options.by)
        transaction.on_commit(
            lambda: hint(-(-len(created) // settings().CLAIM_BATCH)), using=self.alias, robust=True
        )
        self._announce(workflow, [run for run in new if run.id in created], options.flow_control)
        return self._handles(workflow, new, created, any_payload=any_payload)

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
        for name in ("detached", "debounce", "throttle"):
            if name in options:
                raise InvalidOptionError(f"ctx.invoke has no option {name!r}.")
        if found.options.singleton is not None:
            raise InvalidOptionError(
                f'Workflow "{found.name}" is a singleton, and ctx.invoke always starts a run of its own. Trigger it in a '
                "step, or limit it with flow_control=FlowControl(…, parallelism=1) instead."
            )
        checked = TriggerOptions.checked(**options)
        # In the context of the pass that asks for it: what is carried belongs to the parent's.
        asked_in = copy_context()
        return lambda run_id: asked_in.copy().run(
            self._new_runs, found, [payload], checked, [run_id]
        )[0]

    @repeated
    def _write(self, new: Sequence[NewRun], by: Actor) -> dict[str, Any]:
        if by.door == CODE or not by.name:
            return triggers.insert(new)
        with transaction.atomic(using=self.alias):
            created = triggers.insert(new)
            changes = [Change(run_id, "", RunStatus.PENDING) for run_id in created]
            actions.keep("trigger", changes, by=by)
        return created

    def _announce(
        self, workflow: Workflow[Any, Any], new: Sequence[NewRun], given: FlowControl | None
    ) -> None:
        limits = given or workflow.options.flow_control
        keys = list(dict.fromkeys(run.flow_key for run in new if run.lines_up and run.flow_key))
        if limits is not None and keys:
            controls = [replace(limits, key=key) for key in keys]
            transaction.on_commit(lambda: announce(controls), using=self.alias, robust=True)
        after_commit(run.singleton_line for run in new if run.singleton_line is not None)

    def _through_gate(
        self, workflow: Workflow[Any, Any], payload: Any, options: TriggerOptions, run_id: str
    ) -> Any:
        refuse_debounce(workflow, options)
        checked = check_payload(workflow, payload)
        if options.debounce is not None:
            options = replace(options, delay=options.debounce.quiet)
        [new] = self._new_runs(workflow, [payload], options, [run_id])
        gate = Gate(workflow, options, checked)
        run = gate.pass_through(new, lambda new: self._insert(workflow, [new], options)[0])
        for replaced in gate.replaced:
            change = Change(replaced, "", RunStatus.CANCELLED)
            actions.keep("cancel", [change], by=options.by, why="replaced by a newer run")
            run_cancelled(replaced)
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
        stored = _stored(options) | _redacted(workflow, options)
        about = (None, None) if options.about is None else reference(options.about)
        headers = codec.dumps(dict(options.headers), what="headers")
        control = options.flow_control or workflow.options.flow_control
        checked = [check_payload(workflow, payload) for payload in payloads]
        keys = [self._keys(workflow, control, payload) for payload in checked]
        told_by_payload = control is not None and not isinstance(control.key, str)
        return [
            NewRun(
                id=run_id,
                workflow=workflow.name,
                version=version,
                payload_text=self._payload_text(payload),
                headers_text=headers,
                options_text=codec.dumps(
                    stored
                    | ({"flow_key": key} if told_by_payload else {})
                    | ({LINE: line} if line is not None else {})
                    | _carried(workflow.name, version, run_id),
                    what="options",
                ),
                labels=options.labels,
                delay=options.delay,
                not_before=options.not_before,
                timeout=options.timeout or workflow.options.timeout,
                about=about,
                by=options.by,
                flow_key=key,
                priority=options.priority,
                ttl=options.ttl,
                singleton_line=line,
            )
            for run_id, payload, (key, line) in zip(ids, checked, keys, strict=True)
        ]

    def _keys(
        self, workflow: Workflow[Any, Any], control: FlowControl | None, payload: Any
    ) -> tuple[str | None, str | None]:
        """Return the key of flow control, and the line of a singleton, in which a run with this payload waits."""
        key = None if control is None else control.for_payload(payload).text_key
        return key, line_for(workflow, payload)

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
                or not (any_payload or _is_same(found.payload_text, row.payload_text))
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


def _is_same(text: str | None, asked: str | None) -> bool:
    """Tell whether two payloads are the same, whatever they are kept as."""
    if text is None or asked is None or text == asked:
        return text == asked
    return opened(text) == opened(asked)


def _redacted(workflow: Workflow[Any, Any], options: TriggerOptions) -> dict[str, Any]:
    redact = dict.fromkeys((*workflow.options.redact, *options.redact))
    return {"redact": list(redact)} if redact else {}


def _carried(workflow: str, version: str, run_id: str) -> dict[str, Any]:
    """Return what the middleware has kept with a run, as an option; nothing where there is no middleware.

    Nor for the template of a schedule's runs, which has no id: it must not change from one writing to the next.
    """
    if not run_id or not middlewares():
        return {}
    kept = carried(RunInfo(workflow_run_id=run_id, workflow=workflow, version=version))
    return {"carried": kept} if kept else {}


def carried_anew(options_text: str, workflow: str, version: str, run_id: str) -> str:
    """Return the options of a run for its restart: what was carried for the old one is not for the new one."""
    stored = dict(stored_options(options_text))
    before, kept = stored.pop("carried", None), _carried(workflow, version, run_id)
    if before is None and not kept:
        return options_text
    return codec.dumps(stored | kept, what="options")


def _stored(options: TriggerOptions) -> dict[str, Any]:
    stored: dict[str, Any] = {"labels": list(options.labels)} if options.labels else {}
    if options.retries is not None:
        is_policy = isinstance(options.retries, RetryPolicy)
        stored["retries"] = options.retries.to_json() if is_policy else options.retries  # type: ignore[union-attr]
    if options.retry_delay is not None:
        stored["retry_delay"] = stored_delay(options.retry_delay)
    if options.priority:
        stored["priority"] = options.priority
    if options.ttl is not None:
        stored["ttl"] = options.ttl.total_seconds()
    if options.flow_control is not None:
        stored["flow_control"] = options.flow_control.to_json()
    return stored
