"""``manage.py workflow_extend``: more time for a step that waits, or for a run."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django_workflow.management.base import operator
from django_workflow.management.choosing import PreviewedCommand
from django_workflow.models import Run


class Command(PreviewedCommand):
    """Extend timeouts."""

    help = "Let runs take longer than their timeout, or a step of theirs wait longer."
    verb, done = "extend_timeout", "given more time"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take ids, a duration, and a step."""
        super().add_arguments(parser)
        parser.add_argument("--by", required=True, metavar="DURATION", help="As 2h, or 1d12h.")
        parser.add_argument(
            "--step", help="The step that waits, by its key or name; else the run's own timeout."
        )

    def do(self, run: Run, *, why: str, by: str = "", step: str | None = None, **_: Any) -> Run:
        """Extend a timeout of one run."""
        return run.extend_timeout(by, step, actor=operator(), why=why)
