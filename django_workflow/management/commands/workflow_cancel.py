"""``manage.py workflow_cancel``: end runs as cancelled."""

from __future__ import annotations

from django_workflow.management.choosing import BulkCommand
from django_workflow.models import RunQuerySet


class Command(BulkCommand):
    """Cancel runs."""

    help = "End runs as cancelled: by ID, or every unfinished one that fits the filters."
    verb, done = "cancel", "cancelled"
    meant = staticmethod(RunQuerySet.unfinished_or_paused)
