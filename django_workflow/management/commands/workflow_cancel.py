"""``manage.py workflow_cancel``: end runs as cancelled."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from django_workflow.core.anywhere import cancel_runs
from django_workflow.management.base import USAGE, VerbCommand, operator


class Command(VerbCommand):
    """Cancel runs."""

    help = "End runs as cancelled: by ID, or every unfinished one of a label or workflow."
    verb, done = "cancel", "cancelled"
    how_many = "*"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take ids, or a label, or a workflow."""
        super().add_arguments(parser)
        parser.add_argument("--label", help="Cancel the unfinished runs with this label.")
        parser.add_argument("--workflow", help="Cancel the unfinished runs of this workflow.")

    def carry_out(self, *args: Any, run_ids: list[str], **options: Any) -> None:
        """Cancel the runs."""
        label, workflow = options["label"], options["workflow"]
        if run_ids and (label or workflow):
            raise CommandError("Give IDs, or --label and --workflow, not both.", returncode=USAGE)
        if run_ids:
            super().carry_out(run_ids=run_ids, **options)
            return
        if not label and not workflow:
            raise CommandError("Say which: IDs, --label or --workflow.", returncode=USAGE)
        count = cancel_runs(label=label, workflow=workflow, actor=operator(), why=options["why"])
        if self.as_json:
            self.screen.json({"cancelled": count})
        else:
            self.screen.lines([f"{count} runs were cancelled."])
