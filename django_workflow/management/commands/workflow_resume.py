"""``manage.py workflow_resume``: go on with paused, failed and blocked runs."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django_workflow.core.types import DEAD_LETTER, RunStatus
from django_workflow.management.base import operator
from django_workflow.management.choosing import BulkCommand
from django_workflow.models import Run


class Command(BulkCommand):
    """Resume runs."""

    help = "Go on with paused, failed or blocked runs under the same IDs; the step that failed is tried again."
    verb, done = "resume", "resumed"
    meant = staticmethod(lambda found: found.filter(status__in=[RunStatus.PAUSED, *DEAD_LETTER]))

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take ids, and --force."""
        super().add_arguments(parser)
        parser.add_argument(
            "--force", action="store_true", help="Even where the failure handler has run."
        )

    def do(self, run: Run, *, why: str, force: bool = False, **options: Any) -> Run:
        """Resume one run."""
        return run.resume(force=force, actor=operator(), why=why)
