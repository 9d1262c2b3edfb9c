"""What can undo the steps of a run: kept before the body of each begins."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_workflow.core.codec import codec
from django_workflow.models.lengths import STEP_KEY_LENGTH, STEP_NAME_LENGTH
from django_workflow.models.runs import Run


class Undo(models.Model):
    """One step that was begun with ``undo=``, and what became of undoing it."""

    run = models.ForeignKey(Run, models.CASCADE, related_name="undos", db_index=False)
    run_id: str
    step_key = models.CharField(_("step"), max_length=STEP_KEY_LENGTH)
    name = models.CharField(_("name"), max_length=STEP_NAME_LENGTH)
    # An atomic body that is not recorded has left nothing.
    atomic = models.BooleanField(default=False)
    # The dotted path of the function, and what the step's body is called with.
    path = models.CharField(_("function"), max_length=255)
    arguments_text = models.TextField(_("arguments"))
    # The round in which it is undone, its place there, and what is known of the step; 0 before.
    round = models.PositiveIntegerField(_("round"), default=0)
    place = models.PositiveIntegerField(default=0)
    outcome = models.CharField(_("outcome"), max_length=10, default="")
    undone = models.BooleanField(_("undone"), default=False)

    class Meta:
        verbose_name = _("undo")
        verbose_name_plural = _("undos")
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["run", "step_key"], name="django_workflow_undo_once_per_step"
            )
        ]

    def __str__(self) -> str:
        return f"undo of {self.step_key}"

    @property
    def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """What the step's body is called with, decoded."""
        stored = codec.loads(self.arguments_text)
        return stored["args"], stored["kwargs"]
