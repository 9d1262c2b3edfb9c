"""``manage.py workflow_pause``: hold runs where they are."""

from __future__ import annotations

from django_workflow.core.types import RunStatus
from django_workflow.management.choosing import BulkCommand


class Command(BulkCommand):
    """Pause runs."""

    help = "Hold runs where they are until they are resumed: by ID, or those that fit the filters."
    verb, done = "pause", "paused"
    meant = staticmethod(
        lambda found: found.filter(status__in=[RunStatus.PENDING, RunStatus.RUNNING])
    )
