"""Schedules: made by verbs or declared in code, and fired by the sweep."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import astuple
from datetime import UTC, datetime
from secrets import token_hex
from typing import Any

from django.apps import apps
from django.conf import settings as django_settings
from django.db import Error as DatabaseError
from django.db import InterfaceError, OperationalError, transaction

from django_workflow.conf import problems, settings
from django_workflow.core.actors import Actor
from django_workflow.core.at_rest import opened
from django_workflow.core.codec import codec
from django_workflow.core.crons import LATE, MOST_CAUGHT_UP, SCHEDULE_ID_LENGTH, Cron
from django_workflow.core.exceptions import (
    AtRestError,
    InvalidOptionError,
    ScheduleNotFoundError,
    WorkflowError,
)
from django_workflow.core.flow import key_for
from django_workflow.core.options import TriggerOptions
from django_workflow.core.ports import get_runtime
from django_workflow.core.singleton_lines import line_of
from django_workflow.core.workflow import Workflow, registry
from django_workflow.models import Run, Schedule
from django_workflow.runtime import announcing
from django_workflow.runtime.flow_control import after_commit
from django_workflow.runtime.singleton_lines import with_line
from django_workflow.runtime.worker import hint
from django_workflow.store import schedules as store
from django_workflow.store.claims import now
from django_workflow.store.schedules import Fired, Slot
from django_workflow.store.triggers import NewRun

logger = logging.getLogger(__name__)

#: What a trigger may say and a schedule may not: each slot has its own.
OF_THE_SLOT = ("workflow_run_id", "not_before", "detached", "debounce", "throttle")


class ScheduleVerbs:
    """The verbs of schedules; a part of the runtime."""

    alias: Any
    get_run: Any
    _new_runs: Any
    _refuse_other_alias: Any

    # Made and changed

    def schedule(
        self,
        workflow: Workflow[Any, Any],
        plan: Cron,
        schedule_id: str,
        payload: Any,
        options: dict[str, Any],
    ) -> Schedule:
        """See `Workflow.schedule()`."""
        _check_id(schedule_id)
        for name in OF_THE_SLOT:
            if name in options:
                raise InvalidOptionError(
                    f'{name} cannot be given to schedule "{schedule_id}": each slot has its own.'
                )
        self._refuse_other_alias(f"{workflow.name}.schedule()", "schedule")
        plan = plan.in_zone(django_settings.TIME_ZONE)
        template = self._template(workflow, payload, TriggerOptions.checked(**options))
        if not store.insert(schedule_id, workflow.name, plan, template, declared=False):
            while True:
                found = self.get_schedule(schedule_id)
                _refuse_other(found, workflow)
                if store.change(found, plan, template):
                    break
        return self.get_schedule(schedule_id)

    def unschedule(self, workflow: Workflow[Any, Any], schedule_id: str) -> bool:
        """See `Workflow.unschedule()`."""
        found = store.find(schedule_id)
        if found is None:
            return False
        _refuse_other(found, workflow)
        return store.delete(schedule_id)

    def get_schedule(self, schedule_id: str) -> Schedule:
        """See `core.anywhere.get_schedule()`."""
        found = store.find(schedule_id)
        if found is None:
            raise ScheduleNotFoundError(
                f'There is no schedule "{schedule_id}".', schedule_id=schedule_id
            )
        return found

    def pause_schedule(self, schedule_id: str) -> None:
        """See `Schedule.pause()`."""
        self.get_schedule(schedule_id)
        store.pause(schedule_id)
        logger.info("Schedule %s was paused", schedule_id)

    def resume_schedule(self, schedule_id: str) -> None:
        """See `Schedule.resume()`."""
        while (found := self.get_schedule(schedule_id)).is_paused:
            if store.resume(found):
                logger.info("Schedule %s was resumed", schedule_id)
                return

    def delete_schedule(self, schedule_id: str) -> tuple[int, dict[str, int]]:
        """See `Schedule.delete()`."""
        self.get_schedule(schedule_id)
        deleted = int(store.delete(schedule_id))
        logger.info("Schedule %s was deleted", schedule_id)
        return deleted, {Schedule._meta.label: deleted}

    def run_schedule_now(self, schedule_id: str) -> Run:
        """See `Schedule.run_now()`."""
        schedule = self.get_schedule(schedule_id)
        moment = now()
        slot = self._slot(schedule, moment, f"{schedule.id}@now-{token_hex(6)}")
        fired = self._follow_up(store.fire_now(schedule, slot), [slot])
        transaction.on_commit(hint, using=self.alias, robust=True)
        logger.info("Schedule %s was run now: %s", schedule_id, fired.started)
        return self.get_run(fired.standing or slot.run.id)  # type: ignore[no-any-return]

    def _template(self, workflow: Workflow[Any, Any], payload: Any, options: TriggerOptions) -> str:
        """Return the run of every slot as stored: checked and encoded once, when the schedule is made."""
        [row] = self._new_runs(workflow, [payload], options, [""])
        changes = {"labels": list(row.labels), "version": options.version, "by": astuple(row.by)}
        found = {**row._asdict(), **changes}
        # Refused now, rather than at each slot, where the payload has no key.
        _singleton(workflow, row.payload_text)
        return codec.dumps(found, what="schedule")

    # Declared in code

    def sync_schedules(self, *, anew: bool = False) -> list[str]:
        """Bring the rows of schedules that are declared in code to what the code says; return their ids.

        Of a workflow that this process knows and that declares none any more, the row goes; one that it does not
        know is left to the processes that do. ``anew`` lets every one begin from now.
        """
        wanted = {one.name: one for one in registry if one.options.schedule is not None}
        stored = store.declared()
        for schedule_id, schedule in stored.items():
            if schedule_id not in wanted and registry.find(schedule.workflow) is not None:
                store.delete(schedule_id)
                logger.info("Schedule %s is gone from the code, and was deleted", schedule_id)
        for name, workflow in wanted.items():
            try:
                self._sync(workflow, stored.get(name), anew)
            except WorkflowError as error:
                logger.error('The schedule of workflow "%s" cannot be kept: %s', name, error)
        return list(wanted)

    def _sync(self, workflow: Workflow[Any, Any], known: Schedule | None, anew: bool) -> None:
        if workflow.options.schedule is None:
            return
        _check_id(workflow.name)
        plan = workflow.options.schedule.in_zone(django_settings.TIME_ZONE)
        template = self._template(workflow, None, TriggerOptions())
        if known is None:
            if not store.insert(workflow.name, workflow.name, plan, template, declared=True):
                found = self.get_schedule(workflow.name)
                if not found.is_declared:
                    raise InvalidOptionError(
                        f'Its ID is taken by a schedule of workflow "{found.workflow}" that was made at run time. '
                        "Unschedule that one."
                    )
            elif anew:
                store.replan(self.get_schedule(workflow.name))
        elif anew:
            store.change(known, plan, template)
            store.replan(self.get_schedule(workflow.name))
        elif known.plan != plan or _template_of(known) != template:
            store.change(known, plan, template)

    # Fired

    def fire_schedules(self, only: Collection[str] | None = None) -> int:
        """Fire what has come; return how many runs were started. ``only`` names the schedules to look at."""
        return sum(self._fire_safely(schedule) for schedule in store.due(only))

    def _fire_safely(self, schedule: Schedule) -> int:
        try:
            fired = self._fire(schedule)
        except (InterfaceError, OperationalError):
            raise
        except Exception as error:  # broad: one schedule must not hold up the others
            if store.set_note(schedule, f"It cannot be fired: {error}"):
                logger.exception("Schedule %s cannot be fired", schedule.id)
            return 0
        if fired.started:
            logger.info("Schedule %s has started %s", schedule.id, ", ".join(fired.started))
        return len(fired.started)

    def _fire(self, schedule: Schedule) -> Fired:
        moment = now()
        fired = store.NOTHING
        if schedule.queued_for is not None:
            queued = self._slot_of(schedule, schedule.queued_for)
            fired = self._follow_up(store.fire_queued(schedule, queued), [queued])
        if schedule.due_at is None or schedule.due_at > moment:
            return fired
        passed, come = slots_that_came(schedule.plan, schedule.id, schedule.slot_at, moment)
        slots = [self._slot_of(schedule, at) for at in come]
        then = self._follow_up(store.fire(schedule, slots, passed), slots)
        return Fired(fired.started + then.started, fired.cancelled + then.cancelled)

    def _follow_up(self, fired: Fired, slots: list[Slot]) -> Fired:
        for run_id in fired.cancelled:
            announcing.run_cancelled(run_id)
        if fired.started:
            # Those that stand in line from the start are due to nobody until they are given a slot.
            keys = [key for slot in slots for key in (slot.run.flow_key, slot.run.singleton_line)]
            after_commit(key for key in keys if key is not None)
        return fired

    def _slot_of(self, schedule: Schedule, at: datetime) -> Slot:
        return self._slot(schedule, at, f"{schedule.id}@{at.astimezone(UTC):%Y%m%dT%H%MZ}")

    def _slot(self, schedule: Schedule, at: datetime, run_id: str) -> Slot:
        """Return a slot with its run, of the version that is the latest now."""
        workflow = registry.get(schedule.workflow)
        found = codec.loads(schedule.template_text)
        known = {name: value for name, value in found.items() if name in NewRun._fields}
        options = codec.loads(known["options_text"])
        options["schedule"] = {"id": schedule.id, "slot": at.astimezone(UTC).isoformat()}
        changes = {
            "id": run_id,
            "labels": tuple(known["labels"]),
            "version": known["version"] or workflow.latest_version,
            "by": Actor(*known.get("by", ())),
        }
        singleton = _singleton(workflow, known["payload_text"])
        # As the workflow has it now: the template may be older.
        line = (
            line_of(workflow.name, singleton[0]) if singleton and singleton[1] == "queue" else None
        )
        text = with_line(codec.dumps(options, what="options"), line)
        changes |= {"singleton_line": line, "options_text": text}
        return Slot(at, NewRun(**{**known, **changes}), singleton)


def _template_of(schedule: Schedule) -> str:
    """Return what the slots of a schedule are made of; nothing where that cannot be read, for it is written anew."""
    try:
        return opened(schedule.template_text)
    except AtRestError:
        return ""


def _singleton(workflow: Workflow[Any, Any], payload_text: str | None) -> tuple[str, str] | None:
    held = workflow.options.singleton
    if held is None:
        return None
    payload = None if payload_text is None else codec.loads(payload_text)
    return key_for(held.key, payload, "a singleton"), held.on_conflict


def _check_id(schedule_id: Any) -> None:
    if (
        not isinstance(schedule_id, str)
        or not schedule_id.strip()
        or not schedule_id.isprintable()
        or len(schedule_id) > SCHEDULE_ID_LENGTH
    ):
        raise InvalidOptionError(
            f"schedule_id must be a printable text of 1 to {SCHEDULE_ID_LENGTH} characters, not {schedule_id!r}."
        )


def _refuse_other(found: Schedule, workflow: Workflow[Any, Any]) -> None:
    if found.is_declared:
        raise InvalidOptionError(
            f'Schedule "{found.id}" is declared in code, by @workflow(schedule=…), and is changed there.'
        )
    if found.workflow != workflow.name:
        raise InvalidOptionError(
            f'Schedule "{found.id}" belongs to workflow "{found.workflow}", not to "{workflow.name}". Choose another ID.'
        )


def sync_after_migrate(*, using: str, apps: Any = apps, **_: Any) -> None:
    """Write the schedules that are declared in code once their table is there: a receiver of ``post_migrate``."""
    if problems() or using != settings().DATABASE:
        return
    try:
        apps.get_model("django_workflow", "Schedule")
        get_runtime().sync_schedules()
    except LookupError:
        # Migrated back to before there were schedules.
        return
    except DatabaseError as error:
        logger.warning("The schedules declared in code are left to the workers: %s", error)


def slots_that_came(
    plan: Cron, seed: str, first: datetime, moment: datetime
) -> tuple[datetime, list[datetime]]:
    """Return the last slot that has come, and those to fire, the oldest first; ``first`` is the one that is due."""
    most = MOST_CAUGHT_UP if plan.catch_up == "all" else 1
    come = [first, *plan.slots_between(first, moment, most + 1)]
    if len(come) > 1 and plan.due_at(come[-1], seed) > moment:
        # The jitter of the last one is not over.
        come.pop()
    is_missed = moment - plan.due_at(come[-1], seed) > LATE
    return come[-1], [] if plan.catch_up == "none" and is_missed else come[-most:]
