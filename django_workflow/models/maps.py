"""The items of ``ctx.map``, apart from the steps: no pass loads them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_workflow.core.codec import codec
from django_workflow.models.lengths import STEP_KEY_LENGTH
from django_workflow.models.runs import Run


class MapItem(models.Model):
    """One item of a map: what the function is called with, and what has become of it."""

    run = models.ForeignKey(Run, models.CASCADE, related_name="map_items", db_index=False)
    run_id: str
    step_key = models.CharField(_("step"), max_length=STEP_KEY_LENGTH)
    # As the how manieth of the items, counted from 0.
    place = models.PositiveIntegerField(_("place"))
    item_text = models.TextField(_("item"))
    result_text = models.TextField(_("result"), null=True)  # noqa: DJ001
    failure_text = models.TextField(_("failure"), null=True)  # noqa: DJ001
    attempts = models.PositiveIntegerField(_("attempts"), default=0)
    # When it is tried again; None where it was not tried, or has ended.
    wake_at: models.DateTimeField[Any, datetime | None] = models.DateTimeField(
        _("tried again at"), null=True
    )
    finished_at = models.DateTimeField(_("finished"), null=True)

    class Meta:
        verbose_name = _("item of a map")
        verbose_name_plural = _("items of maps")
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(
                fields=["run", "step_key", "place"], name="django_workflow_map_item_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.run_id} {self.step_key}[{self.place}]"

    @property
    def item(self) -> Any:
        """The item, decoded."""
        return codec.loads(self.item_text)

    @property
    def result(self) -> Any:
        """What the function returned for it, decoded, or None while there is nothing."""
        return None if self.result_text is None else codec.loads(self.result_text)
