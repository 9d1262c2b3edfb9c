"""One step, with all that is known of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from django.utils.translation import gettext as _

from django_workflow.admin.story import (
    Shown,
    StepLine,
    attempts_of,
    line_of,
    shown_value,
)
from django_workflow.conf import settings
from django_workflow.core.durations import format_duration
from django_workflow.core.plain import plain
from django_workflow.core.types import StepKind, StepStatus
from django_workflow.core.workflow import registry
from django_workflow.models import Delivery, Run, Step
from django_workflow.runtime.failure import run_options
from django_workflow.runtime.forking import EDITABLE
from django_workflow.runtime.veils import Veil

MOST_ITEMS = 50


@dataclass(frozen=True, kw_only=True)
class FoundStep:
    """A step as its page shows it."""

    line: StepLine
    arguments: Shown | None
    delivery: Delivery | None
    #: The retry policy of the run, which holds unless the step's code names another.
    policy: str
    children: list[Run]
    #: What the failed items of a map say: the place and the error of each.
    items: list[tuple[int, str]]
    #: The verbs that are about it.
    verbs: list[str]
    #: What it waits for.
    reason: str

    @property
    def worker(self) -> str:
        """Who has executed it, or has it in hand."""
        held = "" if self.delivery is None else self.delivery.leased_by
        return self.line.step.worker or held


class Stored(NamedTuple):
    """A value, redacted; a name of its own, since None is a value."""

    value: Any


def step_of(run: Run, key: str, *, sees: bool, veil: Veil) -> FoundStep | None:
    """Return a step of a run, or None if there is none of this key; ``veil`` covers runs that the user may not see."""
    alias = run._state.db
    step = Step.objects.using(alias).filter(run_id=run.pk, key=key).first()
    if step is None:
        return None
    veil.row(step)
    step.run = run
    return FoundStep(
        line=line_of(step, attempts_of(run, step, veil), run.mask),
        arguments=shown_value(plain(step.arguments_text or None)) if sees else None,
        delivery=Delivery.objects.using(alias).filter(run_id=run.pk, step_key=key).first(),
        policy=policy_of(run),
        children=list(
            veil.seen(run.children.filter(parent_step=key))
            .only("id", "workflow", "status")
            .order_by("pk")
        ),
        items=_failed_items(run, step) if sees else [],
        verbs=_verbs_of(step),
        reason=veil.text(step.translated_reason) if step.is_open else "",
    )


def _verbs_of(step: Step) -> list[str]:
    if step.branch.startswith(("failure.", "undo.")):
        found = []
    else:
        found = ["fork"]
        if step.is_recorded and step.kind in EDITABLE:
            found.append("edit")
    if step.status == StepStatus.RETRYING:
        return ["retry", *found]
    if step.status == StepStatus.SLEEPING:
        return ["skip", *found]
    return ["extend", *found] if step.status == StepStatus.WAITING and step.wake_at else found


def policy_of(run: Run) -> str:
    """Return how the steps of a run are tried again, in one line."""
    known = registry.find(run.workflow)
    if known is None:
        return ""
    policy = run_options(run, known, None).policy(settings().RETRIES)
    if policy.expression is not None:
        text = _("%(count)d retries, each after %(expression)s ms")
        return text % {"count": policy.max_retries, "expression": policy.expression}
    text = _(
        "%(count)d retries, the first after %(first)s, then %(factor)s times as long, at most %(most)s"
    )
    return text % {
        "count": policy.max_retries,
        "first": format_duration(policy.first_delay, parts=2),
        "factor": f"{policy.factor:.3g}",
        "most": format_duration(policy.max_delay, parts=2),
    }


def _failed_items(run: Run, step: Step) -> list[tuple[int, str]]:
    if step.kind != StepKind.MAP:
        return []
    rows = run.map_items.filter(step_key=step.key, failure_text__isnull=False).order_by("place")
    texts = rows.values_list("place", "failure_text")[:MOST_ITEMS]
    return [(place, str((plain(text) or {}).get("message", ""))) for place, text in texts]  # type: ignore[union-attr]


def stored_value(run: Run, what: str, key: str) -> Stored | None:
    """Return a value whole, as plain JSON and redacted; None if there is none."""
    if what == "step":
        found = Step.objects.using(run._state.db).filter(run_id=run.pk, key=key)
        row = found.values_list("name", "result_text").first()
        if row is None or row[1] is None:
            return None
        return Stored(run.mask.step(row[0], plain(row[1])))
    if what == "state":
        return None if run.state_text is None else Stored(plain(run.state_text))
    return Stored(
        {"payload": run.shown_payload, "headers": run.shown_headers, "result": run.shown_result}[
            what
        ]
    )
