"""What can be done to dead letters alone."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_workflow.admin.verbs import DELETE, RESTART, RESUME, Verb
from django_workflow.core.types import RunStatus
from django_workflow.core.workflow import registry
from django_workflow.models import Run
from django_workflow.runtime.handler_again import rerun_handler


@dataclass(frozen=True, kw_only=True)
class LetterVerb(Verb):
    """A verb under the permission of another."""

    needs: str

    @property
    def permission(self) -> str:
        """The permission that it needs."""
        return f"django_workflow.{self.needs}"


def _refuse_rerun(run: Run) -> str:
    workflow = registry.find(run.workflow)
    if workflow is None or workflow.failure_handler is None:
        return _("Its workflow has no failure handler here.")
    if run.status != RunStatus.FAILED:
        return _("It has not failed.")
    if run.handler_status == RunStatus.RUNNING:
        return _("Its failure handler is at work.")
    if run.handler_status == RunStatus.COMPLETED:
        return _("Its failure handler has done its work.")
    return ""


RERUN_HANDLER = LetterVerb(
    name="rerun_handler",
    needs="resume_run",
    label=gettext_lazy("Rerun handler"),
    question=gettext_lazy("Run the failure handler of this run again?"),
    tells=gettext_lazy(
        "The failure handler begins anew, from its first step. The run stays a dead letter. Only a handler that failed itself, or "
        "that the run has not had, is run again."
    ),
    done=gettext_lazy("given to its failure handler again"),
    refusal=_refuse_rerun,
    do=lambda run, by, given: rerun_handler(run.pk, actor=by, why=given["why"]),
)

#: For a group of dead letters.
LETTER_VERBS = (RESUME, RESTART, RERUN_HANDLER, DELETE)
