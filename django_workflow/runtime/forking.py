"""New runs made of old ones, and journals put right by hand: restart, fork, and an edited result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import transaction

from django_workflow.conf import settings
from django_workflow.core.actors import Actor
from django_workflow.core.codec import codec
from django_workflow.core.exceptions import InvalidOptionError, RunStateError
from django_workflow.core.types import StepKind
from django_workflow.core.workflow import Workflow, registry
from django_workflow.models import Run, Step
from django_workflow.runtime.amending import key_of, refuse
from django_workflow.runtime.audit import audited
from django_workflow.runtime.failure import stored_options
from django_workflow.runtime.flow_control import after_commit, flow_of, keys_of
from django_workflow.runtime.payloads import check_payload
from django_workflow.runtime.singleton_lines import in_its_line
from django_workflow.runtime.triggering import TriggerVerbs, carried_anew, new_run_id
from django_workflow.runtime.worker import hint
from django_workflow.store import forks, triggers
from django_workflow.store import runs as store
from django_workflow.store.triggers import NewRun

#: Steps of the failure handler and of the undo: nothing is forked or edited there.
BESIDE = forks.BESIDE
#: Of other kinds, what is stored is made by the engine, and read by it.
EDITABLE = (StepKind.RUN, StepKind.ATOMIC, StepKind.INVOKE, StepKind.MAP)


@dataclass(frozen=True, slots=True)
class Stored:
    """A value in its stored form, as a page has shown it: types are told by their registered names."""

    text: str


def stored_text(value: Any, *, what: str, most: int) -> str:
    """Return the stored form of a value, or of one that is in it already, once it is known to be readable.

    Raises:
        NotSerializableError: it cannot be stored.
        UndecodableValueError: it is no stored form.
    """
    if isinstance(value, Stored):
        value = codec.loads(value.text, what=what)
    return codec.dumps(value, what=what, max_bytes=most)


def made_again(run: Run, workflow: Workflow[Any, Any], by: Actor, **changes: Any) -> NewRun:
    """Return a new run with the payload and options of another one, linked to it."""
    control = flow_of(run, workflow)
    ttl = stored_options(run.options_text).get("ttl")
    new_id, version = new_run_id(), workflow.latest_version
    row = NewRun(
        id=new_id,
        workflow=run.workflow,
        version=version,
        payload_text=run.payload_text,
        headers_text=run.headers_text,
        options_text=carried_anew(run.options_text, run.workflow, version, new_id),
        labels=tuple(run.labels),
        delay=timedelta(0),
        not_before=None,
        timeout=None if run.deadline is None else run.deadline - run.created_at,
        restarted_from=run.id,
        about=(run.about_type, run.about_id),
        by=by if by.name else Actor(run.triggered_by, run.triggered_by_id),
        flow_key=None if control is None else control.text_key,
        priority=stored_options(run.options_text).get("priority", 0),
        ttl=None if ttl is None else timedelta(seconds=ttl),
    )
    return in_its_line(row._replace(**changes), workflow)


class ForkVerbs(TriggerVerbs):
    """The verbs of the runtime that make new runs of old ones, or put a journal right."""

    def restart(self, run_id: str, *, actor: Any = None, why: str = "") -> Run:
        """See `Run.restart()`."""
        run, by = self._found(run_id), Actor.of(actor)
        workflow = registry.get(run.workflow)
        return self._make("restart", run, made_again(run, workflow, by), by, why)

    def fork(
        self,
        run_id: str,
        step: str,
        *,
        changes: Mapping[str, Any],
        results: Mapping[str, Any],
        actor: Any = None,
        why: str = "",
    ) -> Run:
        """See `Run.fork()`; ``changes`` holds the new payload, where there is one."""
        by = Actor.of(actor)
        run, before, texts, fields = self._forkable(run_id, step, changes, results)
        workflow = registry.get(run.workflow)
        row = made_again(run, workflow, by, **fields)

        def fill() -> None:
            forks.copy_journal(run_id, row.id, before=before, results=texts)
            Run.objects.using(self.alias).filter(pk=row.id).update(forked_at=step)

        made = self._make("fork", run, row, by, why, fill=fill, step=step, changed=sorted(texts))
        made.forked_at = step
        return made

    def check_fork(
        self,
        run_id: str,
        step: str,
        *,
        changes: Mapping[str, Any],
        results: Mapping[str, Any],
    ) -> Run:
        """Raise what a fork would raise that is asked for like this, and write nothing; return the run."""
        return self._forkable(run_id, step, changes, results)[0]

    def _forkable(
        self, run_id: str, step: str, changes: Mapping[str, Any], results: Mapping[str, Any]
    ) -> tuple[Run, int | None, dict[str, str], dict[str, Any]]:
        """Return the run, where its journal is cut, the texts of other results, and what else is to be different."""
        run = self._found(run_id)
        workflow = registry.get(run.workflow)
        if run.version not in workflow.versions:
            raise InvalidOptionError(
                f'Run "{run_id}" is of version "{run.version}" of workflow "{run.workflow}", which this process does not '
                f"know. It knows: {', '.join(workflow.versions)}. A restart takes the latest."
            )
        before = self._cut(run_id, step)
        if name := forks.has_webhook(run_id, before):
            raise InvalidOptionError(
                f'Step "{name}" made a URL that belongs to run "{run_id}": a fork after it would wait in vain for its '
                "calls. Fork from that step, or from an earlier one."
            )
        texts = self._results(run_id, before, results)
        fields: dict[str, Any] = {"version": run.version}
        if "payload" in changes:
            fields["payload_text"] = self._payload_of(workflow, changes["payload"])
        return run, before, texts, fields

    def _cut(self, run_id: str, step: str) -> int | None:
        """Return the sequence number of the step from which a fork begins; None where it is still open."""
        found = Step.objects.using(self.alias).exclude(forks.BESIDE)
        key = key_of(run_id, step)
        row = found.filter(run_id=run_id, key=key).values_list("sequence", flat=True)[:1]
        if not row:
            raise InvalidOptionError(
                f'Step "{step}" of run "{run_id}" belongs to its failure handler or its undo; a fork begins at a step of the workflow.'
            )
        return row[0]

    def _results(
        self, run_id: str, before: int | None, results: Mapping[str, Any]
    ) -> dict[str, str]:
        texts: dict[str, str] = {}
        steps = Step.objects.using(self.alias).exclude(forks.BESIDE).filter(run_id=run_id)
        for step, value in results.items():
            key = key_of(run_id, step, recorded=True)
            row = steps.get(key=key)
            if before is not None and (row.sequence or 0) >= before:
                raise InvalidOptionError(
                    f'The result of step "{step}" cannot be given to the fork: it stands after the step from which that begins.'
                )
            texts[key] = self._result_text(row, value)
        return texts

    def _result_text(self, step: Step, value: Any) -> str:
        if step.kind not in EDITABLE:
            kinds = ", ".join(EDITABLE)
            raise InvalidOptionError(
                f'Step "{step.key}" is a {step.kind}; results that can be given by hand are those of {kinds}.'
            )
        return stored_text(value, what="result", most=settings().MAX_RESULT_BYTES)

    def _payload_of(self, workflow: Workflow[Any, Any], payload: Any) -> str | None:
        if isinstance(payload, Stored):
            payload = codec.loads(payload.text, what="payload")
        return self._payload_text(check_payload(workflow, payload))

    def edit_result(
        self, run_id: str, step: str, value: Any, *, actor: Any = None, why: str = ""
    ) -> list[str]:
        """See `Run.edit_result()`; return the keys of the steps that were put aside."""
        key = key_of(run_id, step, recorded=True)
        row = Step.objects.using(self.alias).get(run_id=run_id, key=key)
        text = self._result_text(row, value)
        details: dict[str, Any] = {"step": key, "name": row.name}

        def do() -> bool:
            try:
                done = forks.replace_result(run_id, key, text)
            except forks.NotNowError as error:
                raise RunStateError(
                    f'Run "{run_id}" cannot be edited now. {error}',
                    run_id=run_id,
                    state=str(store.state_of(run_id)),
                ) from error
            if done is None:
                return False
            details.update(
                before=done.result_text, failure=done.failure_text, after=text, put_aside=done.put_aside,
            )  # fmt: skip
            return True

        keys = keys_of(run_id)
        if not audited("edit", run_id, do, actor=actor, why=why, details=details):
            refuse(
                run_id,
                "A result can be edited while the run is paused, failed or blocked, and its failure handler and undo are not at work.",
            )
        after_commit(keys)
        found: list[str] = details["put_aside"]
        return found

    def _found(self, run_id: str) -> Run:
        found = Run.objects.using(self.alias).filter(pk=run_id).first()
        if found is None:
            refuse(run_id, "")
        assert found is not None  # noqa: S101  refuse() has raised
        return found

    def _make(
        self,
        verb: str,
        run: Run,
        row: NewRun,
        by: Actor,
        why: str,
        *,
        fill: Any = None,
        **details: Any,
    ) -> Run:
        workflow = registry.get(run.workflow)
        created: dict[str, Any] = {}
        told: dict[str, Any] = {**details, "new_run": row.id} if details else {}

        def do() -> bool:
            created.update(triggers.insert([row]))
            if fill is not None:
                fill()
            return True

        if not audited(verb, run.id, do, actor=by, why=why, details=told):
            refuse(run.id, "")
        self._announce(workflow, [row], flow_of(run, workflow))
        transaction.on_commit(hint, using=self.alias, robust=True)
        return self._handle(row, created[row.id])
