"""What is left behind on a long way: generations that have ended with their steps, and log lines."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_workflow.core.codec import codec
from django_workflow.core.generations import past_key
from django_workflow.core.telling import LEVELS
from django_workflow.models.lengths import STEP_KEY_LENGTH
from django_workflow.models.runs import Run
from django_workflow.models.steps import StepFields
from django_workflow.models.words_field import WordsField


class Generation(models.Model):
    """A part of a run's life that ended with ``ctx.continue_as_new()``."""

    run = models.ForeignKey(Run, models.CASCADE, related_name="generations", db_index=False)
    number = models.PositiveIntegerField(_("number"))
    version = models.CharField(_("version"), max_length=50)
    payload_text = models.TextField(_("payload"), null=True)  # noqa: DJ001
    started_at = models.DateTimeField(_("started"), null=True)
    finished_at = models.DateTimeField(_("finished"))

    class Meta:
        verbose_name = _("generation")
        verbose_name_plural = _("generations")
        default_permissions = ("view",)
        ordering = ("number",)
        constraints = [
            models.UniqueConstraint(
                fields=["run", "number"], name="django_workflow_generation_once_per_run"
            )
        ]

    def __str__(self) -> str:
        return f"{self.run_id} {self.number}"

    @property
    def payload(self) -> Any:
        """The payload that this generation began with, decoded."""
        return None if self.payload_text is None else codec.loads(self.payload_text)


class PastStep(StepFields):
    """A step of an earlier generation, in the form in which it was recorded."""

    generation = models.ForeignKey(Generation, models.CASCADE, related_name="steps")

    class Meta:
        verbose_name = _("earlier step")
        verbose_name_plural = _("earlier steps")
        default_permissions = ("view",)
        ordering = ("id",)

    @property
    def run(self) -> Run:
        """The run that has gone on since."""
        return self.generation.run

    @property
    def run_id(self) -> str:  # type: ignore[override]
        """The ID of that run."""
        return str(self.generation.run_id)

    @property
    def rows_key(self) -> str:
        """See `StepFields.rows_key`."""
        return past_key(self.generation.number, self.key)


class RunLog(models.Model):
    """A line that a run told with ``log()``."""

    run = models.ForeignKey(Run, models.CASCADE, related_name="logs", db_index=False)
    generation = models.PositiveIntegerField(_("generation"), default=0)
    # The step after which it was said, or the branch's path; for a body, its step.
    after = models.CharField(_("after"), max_length=STEP_KEY_LENGTH, default="")
    # The how manieth line there: said again at replay, it is known. None from a body, which is not replayed.
    number = models.PositiveIntegerField(null=True)
    attempt = models.PositiveIntegerField(_("attempt"), default=0)
    level = models.CharField(
        _("level"), max_length=10, choices=[(level, _(level)) for level in LEVELS]
    )
    message = WordsField(_("message"))
    fields_text = models.TextField(_("fields"), default="")
    created_at = models.DateTimeField(_("said"))

    class Meta:
        verbose_name = _("log line")
        verbose_name_plural = _("log lines")
        default_permissions = ("view",)
        ordering = ("created_at", "id")
        constraints = [
            models.UniqueConstraint(
                fields=["run", "generation", "after", "number"],
                name="django_workflow_line_once_per_place",
            )
        ]

    def __str__(self) -> str:
        return self.message

    @property
    def step(self) -> str | None:
        """The key of the step whose body said it; None between steps."""
        return self.after if self.attempt else None

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of the line, decoded."""
        fields: dict[str, Any] = codec.loads(self.fields_text) if self.fields_text else {}
        return fields
