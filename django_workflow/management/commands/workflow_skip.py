"""``manage.py workflow_skip``: sleeps are over."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django_workflow.management.base import operator
from django_workflow.management.choosing import PreviewedCommand
from django_workflow.models import Run


class Command(PreviewedCommand):
    """Skip the sleeps of runs."""

    help = "End the sleeps of runs now."
    verb, done = "skip_sleep", "woken"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take ids, and a step."""
        super().add_arguments(parser)
        parser.add_argument("--step", help="One sleep alone, by its key or name.")

    def do(self, run: Run, *, why: str, step: str | None = None, **options: Any) -> Run:
        """Skip the sleeps of one run."""
        return run.skip_sleep(step, actor=operator(), why=why)
