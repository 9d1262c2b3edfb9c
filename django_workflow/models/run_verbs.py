"""What the verbs of people leave on a run, and the permissions that they need."""

from __future__ import annotations

from typing import Final

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_workflow.models.lengths import STEP_KEY_LENGTH

#: Of the verbs that change a run that goes on, or its journal.
CHANGE_PERMISSIONS: Final = (
    ("retry_run", "Can skip the retry delays of runs"),
    ("skip_run", "Can skip the sleeps of runs"),
    ("extend_run", "Can extend the timeouts of runs"),
    ("prioritise_run", "Can change the priority of runs"),
    ("fork_run", "Can fork runs"),
    ("edit_run", "Can edit stored results of runs"),
)


class ForkFields(models.Model):
    """Where a run was forked from: the step of `restarted_from` before which its journal was copied."""

    forked_at = models.CharField(
        _("forked at"), max_length=STEP_KEY_LENGTH, default="", db_default=""
    )

    class Meta:
        abstract = True
