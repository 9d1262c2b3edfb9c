"""``manage.py workflow_restart``: new runs from the start."""

from __future__ import annotations

from django_workflow.management.base import VerbCommand
from django_workflow.models import Run


class Command(VerbCommand):
    """Restart runs."""

    help = "Trigger new runs with the payloads of old ones, linked to them."
    verb, done = "restart", "restarted"

    def told(self, run_id: str, run: Run) -> str:
        """Return the line that names the new run."""
        return f"Run {run_id} was restarted as {run.id}."
