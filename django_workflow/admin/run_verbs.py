"""What people may do to one run beyond its state: no waiting, more time, another priority, fork, edit, start one like it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django import forms
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_workflow.admin.json_text import LONGEST_SHOWN, JSONText, laid_out, shown_payload
from django_workflow.admin.start_form import StartForm, start_like
from django_workflow.admin.verbs import FIRST_ON_PAGE, ReasonForm, Verb
from django_workflow.core.actors import Actor
from django_workflow.core.durations import parse_duration
from django_workflow.core.exceptions import WorkflowError
from django_workflow.core.flow import PRIORITIES
from django_workflow.core.types import DEAD_LETTER, RunStatus, StepKind, StepStatus
from django_workflow.core.undo import AT_WORK
from django_workflow.core.workflow import registry
from django_workflow.models import Run, Step
from django_workflow.models.around import around
from django_workflow.runtime.failure import stored_options
from django_workflow.runtime.forking import BESIDE, EDITABLE, Stored

#: A list of more than these would be of no use: the page of a step links to its verbs.
MOST_OFFERED = 200
ALL = ""


def _steps(run: Run) -> Any:
    return Step.objects.using(run._state.db).filter(run_id=run.pk).exclude(BESIDE)


def retrying(run: Run) -> list[Step]:
    """Return the steps whose next attempt is to come."""
    return [
        step
        for step in run.waiting_for
        if step.status == StepStatus.RETRYING and _is_to_come(step.wake_at)
    ]


def sleeping(run: Run) -> list[Step]:
    """Return the sleeps that are to end."""
    return [
        step
        for step in run.waiting_for
        if step.status == StepStatus.SLEEPING and _is_to_come(step.wake_at)
    ]


def waiting(run: Run) -> list[Step]:
    """Return the steps that wait with a timeout."""
    return [
        step
        for step in run.waiting_for
        if step.status == StepStatus.WAITING and _is_to_come(step.wake_at)
    ]


def _is_to_come(moment: Any) -> bool:
    return moment is not None and moment > timezone.now()


class StepForm(ReasonForm):
    """Which step, and why."""

    step = forms.ChoiceField(label=gettext_lazy("Step"), required=False)
    field_order = ["step", "by", "payload", "results", "value", "why"]

    def __init__(self, data: Any = None, *, runs: Sequence[Run] = (), **given: Any) -> None:
        super().__init__(data, runs=runs, **given)
        choices = self.choices(runs[0]) if runs else []
        named = self.asked.get("step", "")
        if named and named not in dict(choices) and self.is_known(runs[0], named):
            choices = [*choices, (named, named)]
        field: Any = self.fields["step"]
        field.choices = choices
        field.required = ALL not in dict(choices)
        self.initial["step"] = named

    def choices(self, run: Run) -> list[tuple[str, Any]]:
        """Return the steps that may be chosen."""
        raise NotImplementedError

    def is_known(self, run: Run, key: str) -> bool:
        """Tell whether a step that is not offered may be chosen all the same."""
        return False


class RetryForm(StepForm):
    """What is tried at once."""

    def choices(self, run: Run) -> list[tuple[str, Any]]:
        """See `StepForm.choices()`."""
        return [(ALL, _("All that waits for a retry")), *_named(retrying(run))]


class SkipForm(StepForm):
    """Which sleep is over."""

    def choices(self, run: Run) -> list[tuple[str, Any]]:
        """See `StepForm.choices()`."""
        return [(ALL, _("All sleeps")), *_named(sleeping(run))]


class ExtendForm(StepForm):
    """What gets more time, and how much."""

    by = forms.CharField(
        label=gettext_lazy("By"),
        initial="1h",
        widget=forms.TextInput(attrs={"class": "vTextField"}),
        help_text=gettext_lazy("As 30m, 2h or 1d12h, from where it ends now."),
    )

    def choices(self, run: Run) -> list[tuple[str, Any]]:
        """See `StepForm.choices()`."""
        own = [(ALL, _("The run itself"))] if _is_to_come(run.deadline) else []
        return [*own, *_named(waiting(run))]

    def clean_by(self) -> timedelta:
        """Read the duration."""
        try:
            found = parse_duration(self.cleaned_data["by"])
        except WorkflowError as error:
            raise forms.ValidationError(str(error)) from error
        if found <= timedelta(0):
            raise forms.ValidationError(_("It must be longer than nothing."))
        return found


class PriorityForm(ReasonForm):
    """Which priority."""

    priority = forms.IntegerField(
        label=gettext_lazy("Priority"),
        min_value=PRIORITIES[0],
        max_value=PRIORITIES[-1],
        help_text=gettext_lazy("Higher comes first, in every line of flow control."),
    )
    field_order = ["priority", "why"]

    def __init__(self, data: Any = None, *, runs: Sequence[Run] = (), **given: Any) -> None:
        super().__init__(data, runs=runs, **given)
        if runs:
            self.initial["priority"] = stored_options(runs[0].options_text).get("priority", 0)


class ForkForm(StepForm):
    """From where, and with what."""

    payload = JSONText(label=gettext_lazy("Payload"), required=False)
    results = JSONText(
        label=gettext_lazy("Other results of earlier steps"),
        required=False,
        help_text=gettext_lazy("A JSON object: results by step. Empty to keep them all."),
    )

    def __init__(self, data: Any = None, *, runs: Sequence[Run] = (), **given: Any) -> None:
        super().__init__(data, runs=runs, **given)
        self.fields["step"].help_text = _("The first step that is done again.")
        self.fields["payload"].help_text = _("Empty to keep the payload of this run.")
        if runs and self.sees:
            self.initial["payload"] = shown_payload(runs[0])

    def choices(self, run: Run) -> list[tuple[str, Any]]:
        """See `StepForm.choices()`."""
        return _named(_steps(run).order_by("id").only("key", "name")[:MOST_OFFERED])

    def is_known(self, run: Run, key: str) -> bool:
        """See `StepForm.is_known()`."""
        return bool(_steps(run).filter(key=key).exists())

    def clean_results(self) -> Any:
        """Take an object."""
        found = self.cleaned_data["results"]
        if found is None:
            return {}
        values = json.loads(found.text)
        if not isinstance(values, dict):
            raise forms.ValidationError(_("This is no JSON object."))
        return {step: Stored(json.dumps(value)) for step, value in values.items()}


class EditForm(StepForm):
    """Which result, of which step."""

    value = JSONText(label=gettext_lazy("Result"), help_text=gettext_lazy("JSON, as it is stored."))

    def __init__(self, data: Any = None, *, runs: Sequence[Run] = (), **given: Any) -> None:
        super().__init__(data, runs=runs, **given)
        named = self.initial["step"]
        if runs and self.sees and named:
            self.initial["value"] = shown_result(runs[0], named)

    def choices(self, run: Run) -> list[tuple[str, Any]]:
        """See `StepForm.choices()`."""
        found = _steps(run).filter(kind__in=EDITABLE, sequence__isnull=False).order_by("-id")
        return _named(found.only("key", "name")[:MOST_OFFERED])

    def is_known(self, run: Run, key: str) -> bool:
        """See `StepForm.is_known()`."""
        recorded = _steps(run).filter(kind__in=EDITABLE, sequence__isnull=False)
        return bool(recorded.filter(key=key).exists())


def _named(steps: Any) -> list[tuple[str, Any]]:
    return [(step.key, step.key) for step in steps]


def shown_result(run: Run, key: str) -> str:
    """Return the stored result of a step, laid out to be changed; empty where a part of it is hidden."""
    found = _steps(run).filter(key=key).values_list("name", "result_text").first()
    if found is None or found[1] is None or len(found[1]) > LONGEST_SHOWN:
        return ""
    return "" if run.mask.hides_of(found[0]) else laid_out(found[1])


# When each is possible. The runtime decides; this says it before.


def _state(run: Run) -> dict[str, str]:
    return {"state": str(run.get_status_display())}


def _refuse_retry(run: Run) -> str:
    is_held = run.status in (RunStatus.PAUSED, RunStatus.PENDING) or run.is_finished
    late = (one for one in around(run, "deliveries") if one.trouble and not one.leased_by)
    if is_held or not (
        retrying(run) or _map_is_open(run) or any(_is_to_come(one.due_at) for one in late)
    ):
        return _("Nothing waits for a retry; it is %(state)s.") % _state(run)
    return ""


def _map_is_open(run: Run) -> bool:
    return any(step.kind == StepKind.MAP for step in run.waiting_for)


def _refuse_skip(run: Run) -> str:
    is_held = run.status == RunStatus.PENDING or run.is_finished
    if is_held or not sleeping(run):
        return _("Nothing sleeps; it is %(state)s.") % _state(run)
    return ""


def _refuse_extend(run: Run) -> str:
    if run.is_finished or not (waiting(run) or _is_to_come(run.deadline)):
        return _("Nothing waits with a timeout; it is %(state)s.") % _state(run)
    return ""


def _refuse_priority(run: Run) -> str:
    if run.is_finished:
        return _("It has ended: %(state)s.") % _state(run)
    return ""


def _refuse_fork(run: Run) -> str:
    known = registry.find(run.workflow)
    if known is None:
        return _("This process knows no workflow named %(name)s.") % {"name": run.workflow}
    if run.version not in known.versions:
        return _("This process knows no version %(version)s of it.") % {"version": run.version}
    return "" if run.started_at else _("It has not begun: there is nothing to go on from.")


def _refuse_edit(run: Run) -> str:
    is_busy = run.handler_status == RunStatus.RUNNING or run.undo_status in AT_WORK
    if run.status not in (RunStatus.PAUSED, *DEAD_LETTER):
        return _(
            "Results are edited while a run is paused, failed or blocked; it is %(state)s."
        ) % (_state(run))
    return _("Its failure handler or its undo is at work.") if is_busy else ""


def _refuse_start(run: Run) -> str:
    if registry.find(run.workflow) is None:
        return _("This process knows no workflow named %(name)s.") % {"name": run.workflow}
    return ""


def _fork(run: Run, by: Actor, given: dict[str, Any]) -> Any:
    changes = {"payload": given["payload"]} if given.get("payload") is not None else {}
    return run.fork(
        given["step"], results=given.get("results"), actor=by, why=given["why"], **changes
    )


RETRY = Verb(
    name="retry",
    label=gettext_lazy("Retry now"),
    question=gettext_lazy("Retry at once?"),
    tells=gettext_lazy(
        "The delay before the next attempt is skipped. It counts as any other attempt."
    ),
    done=gettext_lazy("retried at once"),
    refusal=_refuse_retry,
    do=lambda run, by, given: run.retry_now(given["step"] or None, actor=by, why=given["why"]),
    form=RetryForm,
)
SKIP = Verb(
    name="skip",
    label=gettext_lazy("Skip sleep"),
    question=gettext_lazy("Skip the sleep?"),
    tells=gettext_lazy("The run goes on as if the time were over."),
    done=gettext_lazy("woken from its sleep"),
    refusal=_refuse_skip,
    do=lambda run, by, given: run.skip_sleep(given["step"] or None, actor=by, why=given["why"]),
    form=SkipForm,
)
EXTEND = Verb(
    name="extend",
    label=gettext_lazy("Extend timeout"),
    question=gettext_lazy("Extend a timeout?"),
    tells=gettext_lazy("What waits, waits longer. All else stays as it is."),
    done=gettext_lazy("given more time"),
    refusal=_refuse_extend,
    do=lambda run, by, given: run.extend_timeout(
        given["by"], given["step"] or None, actor=by, why=given["why"]
    ),
    form=ExtendForm,
)
PRIORITISE = Verb(
    name="prioritise",
    label=gettext_lazy("Change priority"),
    question=gettext_lazy("Change the priority of this run?"),
    tells=gettext_lazy("It counts where the run stands in line for flow control, now or later."),
    done=gettext_lazy("given another priority"),
    refusal=_refuse_priority,
    do=lambda run, by, given: run.set_priority(given["priority"], actor=by, why=given["why"]),
    form=PriorityForm,
)
FORK = Verb(
    name="fork",
    label=gettext_lazy("Fork from a step"),
    question=gettext_lazy("Fork this run?"),
    tells=gettext_lazy(
        "A new run begins with what was recorded before the step, and does that step and all after it again. "
        "This run stays as it is."
    ),
    done=gettext_lazy("forked"),
    refusal=_refuse_fork,
    do=_fork,
    form=ForkForm,
    repeats=True,
    makes=True,
)
EDIT = Verb(
    name="edit",
    label=gettext_lazy("Edit a result"),
    question=gettext_lazy("Edit a stored result?"),
    tells=gettext_lazy(
        "The step counts as completed with this result. What the run did after it is put aside, and is done again when "
        "the run is resumed. Both values are kept with your name."
    ),
    done=gettext_lazy("edited"),
    refusal=_refuse_edit,
    do=lambda run, by, given: run.edit_result(
        given["step"], given["value"], actor=by, why=given["why"]
    ),
    form=EditForm,
)
START = Verb(
    name="trigger",
    label=gettext_lazy("Start one like this"),
    question=gettext_lazy("Start a run like this one?"),
    tells=gettext_lazy(
        "A new run of the same workflow, in its latest version, with what is given here."
    ),
    done=gettext_lazy("taken as a model"),
    refusal=_refuse_start,
    do=start_like,
    form=StartForm,
    makes=True,
)

MORE_ON_PAGE = (RETRY, SKIP, EXTEND, PRIORITISE, FORK, EDIT, START)
ON_PAGE = (*FIRST_ON_PAGE, *MORE_ON_PAGE)
