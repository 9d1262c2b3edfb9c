"""What is kept of a run's undo."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_workflow.core import types
from django_workflow.core.plain import failure_in


class UndoFields(models.Model):
    """How far the steps of a run are taken back, after it has failed or was cancelled."""

    # Empty where there is nothing to undo; pending (what is in flight is awaited), running, completed or failed.
    undo_status = models.CharField(_("undo"), max_length=12, default="", db_default="")
    undo_round = models.PositiveIntegerField(default=0, db_default=0)
    # Why the round itself could not go on; what undoing one step raised is told by its own step.
    undo_failure_text = models.TextField(null=True)  # noqa: DJ001

    class Meta:
        abstract = True

    @property
    def undo_failure(self) -> types.Failure | None:
        """Why undoing could not go on, or None; what undoing one step raised is told by its own step."""
        return failure_in(self.undo_failure_text)
