"""``manage.py workflow_pause``: hold runs where they are."""

from __future__ import annotations

from django_workflow.management.base import VerbCommand


class Command(VerbCommand):
    """Pause runs."""

    help = "Hold runs where they are until they are resumed."
    verb, done = "pause", "paused"
