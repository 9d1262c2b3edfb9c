"""``manage.py workflow_rekey``: encrypt what is stored with the first of the keys."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from django_workflow.management.base import FAILED, WorkflowCommand, add_json
from django_workflow.runtime.rekeying import BATCH, rekey


class Command(WorkflowCommand):
    """Encrypt anew."""

    help = (
        'Encrypt with the first of WORKFLOW["ENCRYPTION_KEYS"] what is encrypted with another one, or not at all. It may be '
        "stopped and begun again, while workers work."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take how to go on."""
        parser.add_argument(
            "--batch", type=int, default=BATCH, help=f"Rows read at once; {BATCH} unless given."
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="Only say how many texts there are."
        )
        add_json(parser)

    def carry_out(self, *args: Any, batch: int, dry_run: bool, **options: Any) -> None:
        """Encrypt, and tell how many texts of which column."""
        done = list(rekey(batch=max(batch, 1), apply=not dry_run))
        changed = sum(one.changed for one in done)
        failed = [one for one in done if one.failed]
        count = sum(one.failed for one in failed)
        if self.as_json:
            columns = {str(one.column): one.changed for one in done if one.changed}
            key = "would_encrypt" if dry_run else "encrypted"
            self.screen.json({key: changed, "by_column": columns, "unreadable": count})
        else:
            what = "would be encrypted" if dry_run else "were encrypted"
            self.screen.lines([f"{changed} texts {what} with the first key."])
        if failed:
            raise CommandError(
                f"{count} texts cannot be read, the first one: {failed[0].unreadable}",
                returncode=FAILED,
            )
