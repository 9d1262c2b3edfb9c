"""What people may do to runs: who may, when it is possible, what is asked before, and how it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_workflow.admin.event_form import EventFields
from django_workflow.admin.why import AsksWhy
from django_workflow.core.actors import Actor
from django_workflow.core.exceptions import RunStateError, WorkflowError
from django_workflow.core.types import DEAD_LETTER, FINISHED, RunStatus
from django_workflow.core.workflow import registry
from django_workflow.models import Run
from django_workflow.runtime.deletion import delete_runs
from django_workflow.runtime.operating import send_event

#: A page asks for no more at once: whoever waits for it has to see it end.
MOST_AT_ONCE = 200


class ReasonForm(AsksWhy):
    """Why something is done to runs."""

    kept = gettext_lazy("Kept with the run, beside your name.")

    def __init__(
        self,
        data: Any = None,
        *,
        runs: Sequence[Run] = (),
        asked: Mapping[str, str] | None = None,
        sees: bool = False,
    ) -> None:
        super().__init__(data)
        self.runs = runs
        #: What the link to the page has named, as a step.
        self.asked = asked or {}
        #: Whether the user may see payloads and results.
        self.sees = sees


class ResumeForm(ReasonForm):
    """Why it is resumed, and whether also after the failure handler."""

    force = forms.BooleanField(
        label=gettext_lazy("Go on although the failure handler has run"),
        required=False,
        help_text=gettext_lazy("What it did (a refund, say) may contradict going on."),
    )

    def __init__(self, data: Any = None, *, runs: Sequence[Run] = (), **given: Any) -> None:
        super().__init__(data, runs=runs, **given)
        if not any(run.handler_status for run in runs):
            del self.fields["force"]
        elif len(runs) == 1:
            self.fields["force"].required = True


class EventForm(EventFields, ReasonForm):
    """Which event, and with what."""

    keep = forms.BooleanField(
        label=gettext_lazy("Keep it if the run does not wait for it yet"),
        required=False,
        initial=True,
    )


@dataclass(frozen=True, kw_only=True)
class Verb:
    """One thing that people may do to runs."""

    name: str
    label: Any
    #: What is asked on the page before.
    question: Any
    #: What becomes of the run, and what does not.
    tells: Any
    #: What was done, for messages and logs.
    done: Any
    #: Why it cannot be done to this run now; empty if it can.
    refusal: Callable[[Run], str]
    do: Callable[[Run, Actor, dict[str, Any]], Any]
    form: type[ReasonForm] = ReasonForm
    #: Whether doing it twice does it twice.
    repeats: bool = False
    #: Whether it makes a new run, to which its page leads.
    makes: bool = False

    @property
    def permission(self) -> str:
        """The permission that it needs."""
        return f"django_workflow.{self.name}_run"

    def is_allowed(self, request: HttpRequest) -> bool:
        """Tell whether the user has the permission."""
        return request.user.has_perm(self.permission)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one run."""

    run_id: str
    is_done: bool
    text: str
    #: The new run of a restart.
    made: str = ""


def perform(verb: Verb, run: Run, user: Any, cleaned: dict[str, Any]) -> Outcome:
    """Do it to one run, and tell what became of it: what was found, for who came second."""
    given = {key: value for key, value in cleaned.items() if value is not None}
    try:
        made = verb.do(run, Actor.of(user, door="admin"), {"why": "", **given})
    except WorkflowError as error:
        return Outcome(run_id=run.pk, is_done=False, text=str(error))
    new = made.pk if verb.makes else ""
    return Outcome(run_id=run.pk, is_done=True, text=str(verb.done), made=new)


def standing(verb: Verb, runs: Iterable[Run]) -> list[tuple[Run, str]]:
    """Return the runs, each with why this cannot be done to it."""
    return [(run, verb.refusal(run)) for run in runs]


def restarts_of(runs: Sequence[Run], alias: str) -> int:
    """Return how many runs were made of these."""
    return Run.objects.using(alias).filter(restarted_from__in=[run.pk for run in runs]).count()


# When each is possible. The runtime decides; this says it before.


def _state(run: Run) -> str:
    return str(run.get_status_display())


def _refuse_cancel(run: Run) -> str:
    if run.status in FINISHED:
        return _("It has ended: %(state)s.") % {"state": _state(run)}
    return _("It is being cancelled.") if run.status == RunStatus.CANCELLING else ""


def _refuse_pause(run: Run) -> str:
    if run.status in (RunStatus.PENDING, RunStatus.RUNNING):
        return ""
    return _("Only a pending or running one is paused; it is %(state)s.") % {"state": _state(run)}


def _refuse_resume(run: Run) -> str:
    if run.handler_status == RunStatus.RUNNING:
        return _("Its failure handler is at work.")
    if run.status == RunStatus.PAUSED or run.status in DEAD_LETTER:
        return ""
    return _("Only a paused, failed or blocked one is resumed; it is %(state)s.") % {
        "state": _state(run)
    }


def _refuse_restart(run: Run) -> str:
    if registry.find(run.workflow) is None:
        return _("This process knows no workflow named %(name)s.") % {"name": run.workflow}
    return ""


def _refuse_notify(run: Run) -> str:
    if run.status in FINISHED or run.status == RunStatus.CANCELLING:
        return _("It takes no more events: it is %(state)s.") % {"state": _state(run)}
    return ""


def _refuse_delete(run: Run) -> str:
    return (
        "" if run.is_finished else _("It has not ended: it is %(state)s.") % {"state": _state(run)}
    )


def _notify(run: Run, by: Actor, given: dict[str, Any]) -> Any:
    return send_event(
        run.pk,
        given["event_id"],
        given.get("event_data"),
        keep=given["keep"],
        actor=by,
        why=given["why"],
    )


def _delete(run: Run, by: Actor, given: dict[str, Any]) -> int:
    deleted = delete_runs([run.pk], actor=by, why=given["why"])
    if not deleted:
        found = Run.objects.using(run._state.db).filter(pk=run.pk).first()
        state = _("gone") if found is None else _state(found)
        raise RunStateError(
            _("It was not deleted: it is %(state)s, or its parent waits for it.")
            % {"state": state},
            run_id=run.pk,
            state=state,
        )
    return deleted


CANCEL = Verb(
    name="cancel",
    label=gettext_lazy("Cancel"),
    question=gettext_lazy("Cancel this run?"),
    tells=gettext_lazy(
        "It ends as cancelled, and its children with it. What is in flight can no longer record. "
        "This cannot be taken back; a restart begins anew."
    ),
    done=gettext_lazy("cancelled"),
    refusal=_refuse_cancel,
    do=lambda run, by, given: run.cancel(actor=by, why=given["why"]),
)
PAUSE = Verb(
    name="pause",
    label=gettext_lazy("Pause"),
    question=gettext_lazy("Pause this run?"),
    tells=gettext_lazy(
        "No new attempt begins until it is resumed. What is in flight may still record, and events are kept."
    ),
    done=gettext_lazy("paused"),
    refusal=_refuse_pause,
    do=lambda run, by, given: run.pause(actor=by, why=given["why"]),
)
RESUME = Verb(
    name="resume",
    label=gettext_lazy("Resume"),
    question=gettext_lazy("Resume this run?"),
    tells=gettext_lazy(
        "It goes on under its ID. Of a failed one, the step whose error ended it is tried again; all else is kept."
    ),
    done=gettext_lazy("resumed"),
    refusal=_refuse_resume,
    do=lambda run, by, given: run.resume(
        force=bool(given.get("force")), actor=by, why=given["why"]
    ),
    form=ResumeForm,
)
RESTART = Verb(
    name="restart",
    label=gettext_lazy("Restart"),
    question=gettext_lazy("Restart this run?"),
    tells=gettext_lazy(
        "A new run begins from the start, with the same payload and options and the latest version, linked to this one. "
        "Every step is done again. This run stays as it is."
    ),
    done=gettext_lazy("restarted"),
    refusal=_refuse_restart,
    do=lambda run, by, given: run.restart(actor=by, why=given["why"]),
    repeats=True,
    makes=True,
)
NOTIFY = Verb(
    name="notify",
    label=gettext_lazy("Send event"),
    question=gettext_lazy("Send an event to this run?"),
    tells=gettext_lazy("The event reaches this run alone, if it waits for it or will."),
    done=gettext_lazy("sent an event"),
    refusal=_refuse_notify,
    do=_notify,
    form=EventForm,
)
DELETE = Verb(
    name="delete",
    label=gettext_lazy("Delete"),
    question=gettext_lazy("Delete this run?"),
    tells=gettext_lazy("It goes with all that belongs to it. This cannot be taken back."),
    done=gettext_lazy("deleted"),
    refusal=_refuse_delete,
    do=_delete,
)

#: On the page of a run, before those of `run_verbs`; its deletion is the admin's own.
FIRST_ON_PAGE = (RESUME, PAUSE, RESTART, NOTIFY, CANCEL)
#: For the runs that are selected in the list.
ON_LIST = (RESUME, PAUSE, RESTART, CANCEL)
#: For a group of dead letters.
ON_GROUP = (RESUME, RESTART, DELETE)
