"""``manage.py workflow_restart``: new runs from the start."""

from __future__ import annotations

from django_workflow.management.choosing import BulkCommand
from django_workflow.models import Run


class Command(BulkCommand):
    """Restart runs."""

    help = "Trigger new runs with the payloads of old ones, linked to them: by ID, or of those in a state."
    verb, done = "restart", "restarted"
    # Every run can be restarted, and those of a label are seldom all meant.
    needs = "status"

    def told(self, run_id: str, run: Run) -> str:
        """Return the line that names the new run."""
        return f"Run {run_id} was restarted as {run.id}."
