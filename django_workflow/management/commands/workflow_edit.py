"""``manage.py workflow_edit``: another result in the place of a recorded one."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django_workflow.management.base import operator
from django_workflow.management.choosing import PreviewedCommand
from django_workflow.management.commands.workflow_trigger import read_payload
from django_workflow.models import Run


class Command(PreviewedCommand):
    """Edit a stored result."""

    help = (
        "Replace the result of a step of a paused, failed or blocked run; what the run did after it is put aside, and "
        "done again when the run is resumed."
    )
    verb, done = "edit_result", "edited"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take ids, a step, and its result."""
        super().add_arguments(parser)
        parser.add_argument("--step", required=True, help="The step, by its key or name.")
        parser.add_argument(
            "--data", required=True, metavar="JSON", help="Its result: JSON, @file, or -."
        )

    def carry_out(self, *args: Any, run_ids: list[str], **options: Any) -> None:
        """Read the result once, and put it into each run."""
        super().carry_out(run_ids=run_ids, **{**options, "data": read_payload(options["data"])})

    def do(self, run: Run, *, why: str, step: str = "", data: Any = None, **options: Any) -> Run:
        """Edit a result of one run."""
        return run.edit_result(step, data, actor=operator(), why=why)
