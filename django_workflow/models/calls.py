"""The requests of calls to other servers."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_workflow.core.calls import CallRequest
from django_workflow.core.codec import codec
from django_workflow.models.lengths import STEP_KEY_LENGTH
from django_workflow.models.runs import Run


class Call(models.Model):
    """What a ``call`` step asks of another server, to be read without running the function.

    Secrets are in it for as long as the step is open: afterwards it is kept as people may see it.
    """

    run = models.ForeignKey(Run, models.CASCADE, related_name="calls", db_index=False)
    run_id: str
    step_key = models.CharField(_("step"), max_length=STEP_KEY_LENGTH)
    request_text = models.TextField()
    is_masked = models.BooleanField(default=False)

    class Meta:
        verbose_name = _("call")
        verbose_name_plural = _("calls")
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(
                fields=["run", "step_key"], name="django_workflow_call_once_per_step"
            )
        ]

    def __str__(self) -> str:
        return f"{self.run_id} {self.step_key}"

    @property
    def request(self) -> CallRequest:
        """The request as people may see it: its secrets masked."""
        stored: dict[str, Any] = codec.loads(self.request_text)
        return CallRequest.from_json(stored["request"]).masked()
