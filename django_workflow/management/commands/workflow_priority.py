"""``manage.py workflow_priority``: another place in the lines of flow control."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django_workflow.management.base import operator
from django_workflow.management.choosing import PreviewedCommand
from django_workflow.models import Run


class Command(PreviewedCommand):
    """Change the priority of runs."""

    help = "Give runs another priority where they stand in line for flow control."
    verb, done = "set_priority", "given another priority"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take ids, and a priority."""
        super().add_arguments(parser)
        parser.add_argument(
            "--to", required=True, type=int, metavar="N", help="Higher comes first."
        )

    def do(self, run: Run, *, why: str, to: int = 0, **options: Any) -> Run:
        """Change the priority of one run."""
        return run.set_priority(to, actor=operator(), why=why)
