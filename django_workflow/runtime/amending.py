"""Verbs of people on a run that goes on: no waiting for a retry or a sleep, more time, another priority."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from django_workflow.conf import settings
from django_workflow.core.durations import parse_duration
from django_workflow.core.exceptions import InvalidOptionError, RunNotFoundError, RunStateError
from django_workflow.core.flow import checked_priority
from django_workflow.models import Step
from django_workflow.runtime.audit import audited
from django_workflow.runtime.bell import bell
from django_workflow.runtime.flow_control import after_commit, keys_of
from django_workflow.runtime.worker import hint
from django_workflow.store import amending
from django_workflow.store import runs as store
from django_workflow.store.repeating import repeated


def key_of(run_id: str, step: str, *, recorded: bool | None = None) -> str:
    """Return the key of the step that is meant by a key, or by a name that only one step has.

    Raises:
        InvalidOptionError: there is no such step, or there are several.
        RunNotFoundError: there is no such run.
    """
    steps = Step.objects.using(settings().DATABASE).filter(run_id=run_id)
    if recorded is not None:
        steps = steps.filter(sequence__isnull=not recorded)
    if steps.filter(key=step).exists():
        return step
    keys = list(steps.filter(name=step).order_by("id").values_list("key", flat=True)[:6])
    if len(keys) == 1:
        return keys[0]
    if store.state_of(run_id) is None:
        raise RunNotFoundError(f'There is no run "{run_id}".', run_id=run_id)
    if not keys:
        kind = {None: "", True: "recorded ", False: "open "}[recorded]
        raise InvalidOptionError(f'Run "{run_id}" has no {kind}step "{step}".')
    raise InvalidOptionError(
        f'Run "{run_id}" has several steps named "{step}": name one by its key, as in {", ".join(map(repr, keys))}.'
    )


def refuse(run_id: str, why: str) -> None:
    """Raise the error for a verb that a run's state does not allow.

    Raises:
        RunNotFoundError: there is no such run.
        RunStateError: always, otherwise.
    """
    state = store.state_of(run_id)
    if state is None:
        raise RunNotFoundError(f'There is no run "{run_id}".', run_id=run_id)
    raise RunStateError(f'Run "{run_id}" is {state}. {why}', run_id=run_id, state=state)


def refuse_open_step(step: str | None) -> str:
    """Return the end of a refusal."""
    return "" if step is None else f' in step "{step}"'


class AmendVerbs:
    """The verbs of the runtime that change when a run goes on."""

    def retry_now(
        self, run_id: str, step: str | None = None, *, actor: Any = None, why: str = ""
    ) -> list[str]:
        """See `Run.retry_now()`; return the keys of the steps that are tried at once."""
        key = None if step is None else key_of(run_id, step, recorded=False)
        details: dict[str, Any] = {}

        def do() -> bool:
            details["steps"] = amending.retry_now(run_id, key)
            return bool(details["steps"])

        if not audited("retry", run_id, do, actor=actor, why=why, details=details):
            refuse(run_id, f"Nothing{refuse_open_step(step)} waits for a retry that is to come.")
        self._tell_workers()
        found: list[str] = details["steps"]
        return found

    def skip_sleep(
        self, run_id: str, step: str | None = None, *, actor: Any = None, why: str = ""
    ) -> list[str]:
        """See `Run.skip_sleep()`; return the keys of the sleeps that are over."""
        key = None if step is None else key_of(run_id, step, recorded=False)
        details: dict[str, Any] = {}

        def do() -> bool:
            details["steps"] = amending.skip_sleep(run_id, key)
            return bool(details["steps"])

        if not audited("skip", run_id, do, actor=actor, why=why, details=details):
            refuse(run_id, f"Nothing{refuse_open_step(step)} sleeps until a time that is to come.")
        self._tell_workers()
        found: list[str] = details["steps"]
        return found

    def extend_timeout(
        self, run_id: str, by: Any, step: str | None = None, *, actor: Any = None, why: str = ""
    ) -> datetime:
        """See `Run.extend_timeout()`; return the new end."""
        more = parse_duration(by)
        if more <= timedelta(0):
            raise InvalidOptionError(f"A timeout is extended by a time, not by {by!r}.")
        key = None if step is None else key_of(run_id, step, recorded=False)
        details: dict[str, Any] = {} if key is None else {"step": key}
        found: list[datetime] = []

        def do() -> bool:
            moved = (
                amending.extend_run(run_id, more)
                if key is None
                else amending.extend_wait(run_id, key, more)
            )
            if moved is None:
                return False
            details.update(before=moved[0].isoformat(), after=moved[1].isoformat())
            found.append(moved[1])
            return True

        @repeated
        def extend() -> bool:
            with transaction.atomic(using=settings().DATABASE):
                if key is not None:
                    amending.lock_approval(run_id, key)
                return audited("extend", run_id, do, actor=actor, why=why, details=details)

        if not extend():
            refuse(
                run_id,
                "It has no timeout of its own that is to come."
                if step is None
                else f'Step "{step}" does not wait with a timeout that is to come.',
            )
        self._tell_workers()
        return found[-1]

    def set_priority(self, run_id: str, priority: int, *, actor: Any = None, why: str = "") -> None:
        """See `Run.set_priority()`."""
        checked_priority(priority)
        details: dict[str, Any] = {}

        def do() -> bool:
            before = amending.prioritise(run_id, priority)
            details.update(before=before, after=priority)
            return before is not None

        keys = keys_of(run_id)
        if not audited("prioritise", run_id, do, actor=actor, why=why, details=details):
            refuse(run_id, "It stands in no line any more.")
        after_commit(keys)

    def _tell_workers(self) -> None:
        def tell() -> None:
            hint()
            # A call that is tried again is claimed by who makes calls.
            bell.ring()

        transaction.on_commit(tell, using=settings().DATABASE, robust=True)
