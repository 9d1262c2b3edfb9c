"""Why a run or a step is not going on, as sentences: in English for programs and logs, translated for pages."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import override

from django_workflow.core.singleton_lines import RUN_ITSELF, key_in
from django_workflow.core.types import (
    DEAD_LETTER,
    FINISHED,
    RunStatus,
    StepKind,
    StepStatus,
)
from django_workflow.models.around import around


def in_english(reason_of: Callable[[Any], str], row: Any) -> str:
    """Return the sentence as it is written here, whatever language is active: programs compare it."""
    with override(None):
        return reason_of(row)


def reason_of_run(run: Any) -> str:
    """Return why a run is not going on at this moment; empty when it is."""
    if run.status in FINISHED:
        return ""
    if run.status == RunStatus.PAUSED:
        return _("paused")
    trouble: str = next((one.trouble for one in around(run, "deliveries") if one.trouble), "")
    if trouble:
        return trouble
    if run.status == RunStatus.PENDING:
        return _reason_of_pending(run)
    failure = run.failure
    if failure is not None and run.status in DEAD_LETTER:
        return str(failure.message)
    if run.status == RunStatus.CANCELLING:
        return _reason_of_cancelling(run)
    return "; ".join(map(reason_of_step, run.waiting_for))


def _reason_of_pending(run: Any) -> str:
    ticket = run.ticket_of("") or run.ticket_of(RUN_ITSELF)
    if ticket is not None:
        return reason_of_ticket(ticket)
    found = (one.due_at for one in around(run, "deliveries") if one.due_at and not one.leased_by)
    due_at = next(found, None)
    return _("due at %(at)s UTC") % {"at": _second(due_at)} if due_at else ""


def _reason_of_cancelling(run: Any) -> str:
    ended = {*FINISHED, RunStatus.FAILED}
    left = [child for child in around(run, "children") if child.status not in ended]
    ids = ", ".join(child.id for child in left[:3]) + (", …" if len(left) > 3 else "")
    if left:
        return _("cancelling its children: %(ids)s") % {"ids": ids}
    undo = _undo_in_words(run)
    return "; ".join([undo, *map(reason_of_step, run.waiting_for)]) if undo else ""


def _undo_in_words(run: Any) -> str:
    if run.undo_status == "pending":
        return _("waiting for what is in flight, to undo it")
    return _("undoing its steps") if run.undo_status == "running" else ""


def reason_of_ticket(ticket: Any) -> str:
    """Return what a ticket waits for; `placed()` has annotated it."""
    if ticket.step_key == RUN_ITSELF:
        return _reason_in_line(ticket)
    if ticket.state == ticket.State.GRANTED:
        return _('was given a slot of flow control "%(key)s" and is about to begin') % {
            "key": ticket.flow_key
        }
    limits = []
    if ticket.parallelism is not None:
        limits.append(_("parallelism %(count)d") % {"count": ticket.parallelism})
    if ticket.rate is not None:
        period = timedelta(milliseconds=ticket.period_ms or 0)
        limits.append(
            _("%(count)d in %(seconds)s s")
            % {"count": ticket.rate, "seconds": f"{period.total_seconds():g}"}
        )
    return _(
        'waits for a slot of flow control "%(key)s" (%(paused)splace %(place)d of %(count)d; %(limits)s)'
    ) % {
        "key": ticket.flow_key,
        "paused": _("paused; ") if ticket.paused else "",
        "place": ticket.place,
        "count": ticket.in_line,
        "limits": ", ".join(limits),
    }


def _reason_in_line(ticket: Any) -> str:
    words = {
        "key": key_in(ticket.flow_key),
        "run": ticket.holder,
        "paused": _("paused; ") if ticket.paused else "",
        "place": ticket.place,
        "count": ticket.in_line,
    }
    if ticket.holder:
        said = _(
            'behind run %(run)s of singleton key "%(key)s" (%(paused)splace %(place)d of %(count)d)'
        )
    else:
        said = _('waits for singleton key "%(key)s" (%(paused)splace %(place)d of %(count)d)')
    return said % words


def reason_of_step(step: Any) -> str:
    """Return what a step waits for."""
    words: dict[str, Any] = {"name": step.name, "until": ""}
    if step.status in {StepStatus.PENDING, StepStatus.RETRYING}:
        ticket = step.run.ticket_of(step.key)
        if ticket is not None:
            return f'"{step.name}" {reason_of_ticket(ticket)}'
    if step.wake_at:
        words["until"] = _(" until %(at)s UTC") % {"at": _second(step.wake_at)}
    failure = step.failure
    if step.status == StepStatus.RETRYING and failure is not None:
        words |= {"error": failure.error_class, "message": failure.message}
        return _('"%(name)s" is retried%(until)s after %(error)s: %(message)s') % words
    waiting = _waiting(step, words)
    if waiting:
        return waiting
    words["status"] = step.get_status_display()
    progress = step.progress
    if progress is not None:
        words |= {"done": f"{progress[0]:,}", "all": f"{progress[1]:,}"}
        return _('"%(name)s" is %(status)s: %(done)s of %(all)s items done') % words
    return _('"%(name)s" is %(status)s%(until)s') % words


def _waiting(step: Any, words: dict[str, Any]) -> str:
    """Return what a step waits for that lies outside of its run; empty where there is no such thing."""
    if step.kind == StepKind.CALL and step.is_open:
        asked = step.arguments
        words |= {"method": asked.get("method"), "url": asked.get("url")}
        return _('"%(name)s" is waiting for the answer to %(method)s %(url)s') % words
    if step.status != StepStatus.WAITING:
        return ""
    if step.kind == StepKind.WAIT_FOR_EVENT:
        words["what"] = _wanted(step)
        return _('"%(name)s" is waiting for %(what)s%(until)s') % words
    if step.kind == StepKind.WAIT_FOR_APPROVAL:
        words["who"] = _deciders(step)
        return _('"%(name)s" is waiting for approval by %(who)s%(until)s') % words
    if step.kind == StepKind.WAIT_FOR_WEBHOOK:
        return _('"%(name)s" is waiting for a call of its webhook%(until)s') % words
    if step.kind == StepKind.INVOKE:
        words |= {"child": _child_in_words(step), "since": _second(step.created_at)}
        return _('"%(name)s" is waiting for %(child)s since %(since)s UTC%(until)s') % words
    return ""


def _deciders(step: Any) -> str:
    arguments = step.arguments
    names = [one.partition(":")[2] for one in arguments.get("assignees", [])]
    if arguments.get("permission"):
        words = {"permission": arguments["permission"]}
        names.append(_('whoever has the permission "%(permission)s"') % words)
    return ", ".join(names)


def _child_in_words(step: Any) -> str:
    child = step.child
    if child is None:
        return _("a run that was deleted")
    words = {"id": child.id, "workflow": child.workflow}
    if child.status == RunStatus.BLOCKED:
        return _('run %(id)s of "%(workflow)s", which is blocked,') % words
    return _('run %(id)s of "%(workflow)s"') % words


def _wanted(step: Any) -> str:
    ids = [f'"{event_id}"' for event_id in step.arguments.get("event_ids", [])]
    if len(ids) == 1:
        return _("event %(id)s") % {"id": ids[0]}
    return _("%(count)s of the events %(ids)s") % {
        "count": step.arguments.get("count"),
        "ids": ", ".join(ids),
    }


def _second(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"
