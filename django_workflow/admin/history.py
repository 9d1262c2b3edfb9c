"""Everything that has happened to a run, in the order of time: to be read, or kept as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.utils.translation import gettext, gettext_noop, pgettext

from django_workflow.core.types import StepStatus
from django_workflow.models import Attempt, Generation, Run, Step
from django_workflow.runtime.veils import Veil

#: Columns that may be large: nothing here needs them.
LARGE = ("arguments_text", "result_text", "failure_text")


@dataclass(frozen=True, kw_only=True)
class Happened:
    """One thing that has happened: a sentence, and the words in it; programs are told in English."""

    at: datetime
    message: str
    #: What stands in the sentence as it is.
    names: dict[str, Any] = field(default_factory=dict)
    #: What stands in the sentence translated.
    words: dict[str, str] = field(default_factory=dict)
    step: str = ""
    number: int | None = None
    by: str = ""
    why: str = ""

    @property
    def what(self) -> str:
        """What has happened, in plain English."""
        return self.message % {**self.names, **self.words}

    @property
    def translated_what(self) -> str:
        """The same in the language of who looks."""
        words = {name: _word(name, word) for name, word in self.words.items()}
        return gettext(self.message) % {**self.names, **words}

    def to_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "at": self.at.isoformat(),
            "what": self.what,
            "step": self.step or None,
            "sequence": self.number,
            "by": self.by or None,
            "why": self.why or None,
        }


def _word(name: str, word: str) -> str:
    if name == "outcome":
        return str(dict(Attempt.Outcome.choices).get(word, word))
    return pgettext(name, word) if name in ("action", "door") else gettext(word)


def history_of(run: Run, *, sees: bool, veil: Veil) -> list[Happened]:
    """Return what has happened, the oldest first; what errors say only for those who see payloads."""
    alias = run._state.db
    found = [
        *_of_run(run),
        *_of_steps(Step.objects.using(alias).filter(run_id=run.pk).defer(*LARGE)),
        *_of_attempts(Attempt.objects.using(alias).filter(run_id=run.pk), sees=sees, veil=veil),
        *_of_actions(run.actions.defer("details_text"), veil),
    ]
    if run.generation:
        past = Generation.objects.using(alias).filter(run_id=run.pk).only("number", "finished_at")
        found += [
            Happened(
                at=one.finished_at, message=gettext_noop("continued as new"), number=one.number
            )
            for one in past
        ]
    # What happens at one moment stands in the order in which it must have: sorting keeps it.
    return sorted(found, key=lambda one: one.at)


def _of_run(run: Run) -> Iterator[Happened]:
    yield Happened(at=run.created_at, message=gettext_noop("run created"), by=run.triggered_by)
    if run.started_at is not None:
        yield Happened(at=run.started_at, message=gettext_noop("run started"))
    if run.finished_at is not None:
        message = gettext_noop("run %(status)s")
        yield Happened(at=run.finished_at, message=message, words={"status": run.status})


def _of_steps(steps: Any) -> Iterator[Happened]:
    for step in steps.order_by("id"):
        kind = {"kind": step.kind}
        message = gettext_noop("step met (%(kind)s)")
        yield Happened(at=step.created_at, message=message, names=kind, step=step.key)
        if step.finished_at is not None:
            yield Happened(
                at=step.finished_at,
                message=gettext_noop("step %(status)s (%(kind)s)"),
                names=kind,
                words={"status": step.status},
                step=step.key,
                number=step.sequence,
            )
        elif step.status == StepStatus.RETRYING and step.wake_at is not None:
            message = gettext_noop("next attempt due")
            yield Happened(at=step.wake_at, message=message, step=step.key)


def _of_attempts(attempts: Any, *, sees: bool, veil: Veil) -> Iterator[Happened]:
    for one in attempts.defer("result_text").order_by("id"):
        failure = veil.row(one).failure if sees else None
        yield Happened(
            at=one.finished_at,
            message=gettext_noop("attempt %(number)s %(outcome)s"),
            names={"number": one.number},
            words={"outcome": one.outcome},
            step=one.step_key,
            why="" if failure is None else f"{failure.error_class}: {failure.message}"[:400],
        )


def _of_actions(actions: Any, veil: Veil) -> Iterator[Happened]:
    for one in actions:
        yield Happened(
            at=one.at,
            message=gettext_noop("%(action)s (%(door)s)"),
            words={"action": one.verb, "door": one.door},
            by=one.actor,
            why=veil.text(one.why),
        )
