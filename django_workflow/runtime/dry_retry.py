"""Dry retries: what the code of this process would make of a dead letter, with nothing executed and nothing written."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from django_workflow.conf import settings
from django_workflow.core.journal import Record
from django_workflow.core.replay import Raised, Suspended
from django_workflow.core.types import StepStatus
from django_workflow.models import Run
from django_workflow.runtime.rehearsal import Finding, rehearse, rehearsed
from django_workflow.store import records
from django_workflow.store.living import living, look

FITS = "fits"
RAISES = "raises"


@dataclass(frozen=True, kw_only=True, slots=True)
class DryRetry:
    """What a retry would meet."""

    run_id: str
    #: ``fits``, ``raises`` (the code between steps), ``diverges``, ``drifts``, ``unknown`` or ``gone``.
    verdict: str
    message: str = ""
    step: str | None = None
    recorded: str | None = None
    asked: str | None = None
    #: The steps that would be tried, or waited for, next; none where the run would end.
    next_steps: tuple[str, ...] = ()

    @property
    def would_go_on(self) -> bool:
        """Whether a resume makes sense: what was recorded is met again."""
        return self.verdict in (FITS, "drifts")


def dry_retry(run_id: str) -> DryRetry:
    """Replay what a run has recorded up to the step that would be tried again, and tell what the code asks for then."""
    claim = look(run_id)
    runs = Run.objects.using(settings().DATABASE).filter(pk=run_id)
    failed_step = runs.values_list("failed_step", flat=True).first()
    if claim is None or failed_step is None:
        return DryRetry(run_id=run_id, verdict="gone")
    # As a resume would leave the journal: the step whose error ended the run is open again.
    recorded = [_reopened(record) if record.key == failed_step else record
                for record in records.load(run_id)]  # fmt: skip
    found = rehearse(claim, recorded)
    if found is not None:
        return DryRetry(
            run_id=run_id, verdict=found.what, message=found.message, step=found.step,
            recorded=found.recorded, asked=found.asked,
        )  # fmt: skip
    outcome = rehearsed(claim, recorded, strict=False)
    if isinstance(outcome, Raised):
        error = outcome.error
        return DryRetry(run_id=run_id, verdict=RAISES, message=f"{type(error).__name__}: {error}")
    steps = outcome.steps if isinstance(outcome, Suspended) else ()
    return DryRetry(
        run_id=run_id, verdict=FITS, next_steps=tuple(step.name for step, _record in steps)
    )


def _reopened(record: Record) -> Record:
    if record.status != StepStatus.FAILED:
        return record
    return record._replace(
        status=StepStatus.PENDING, sequence=None, attempts=0, failure_text=None, result_text=None,
        delivered=False, wake_at=None, finished_at=None,
    )  # fmt: skip


def held_against(workflow: str, most: int) -> tuple[int, list[Finding]]:
    """Hold the living runs of a workflow against the code, so many at most; return how many were looked at, and the
    findings."""
    looked_at, findings = 0, []
    for claim in islice(living([workflow], dead_letters=False), most):
        looked_at += 1
        found = rehearse(claim)
        if found is not None:
            findings.append(found)
    return looked_at, findings
