"""``manage.py workflow_retry``: no waiting for the next attempt."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django_workflow.management.base import operator
from django_workflow.management.choosing import PreviewedCommand
from django_workflow.models import Run


class Command(PreviewedCommand):
    """Skip the retry delays of runs."""

    help = "Skip the delay before the next attempt of what has failed in runs."
    verb, done = "retry_now", "retried at once"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take ids, and a step."""
        super().add_arguments(parser)
        parser.add_argument("--step", help="One step alone, by its key or name.")

    def do(self, run: Run, *, why: str, step: str | None = None, **options: Any) -> Run:
        """Skip the delays of one run."""
        return run.retry_now(step, actor=operator(), why=why)
