"""``manage.py workflow_fork``: a new run that goes on from a step of an old one."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django_workflow.core.exceptions import InvalidOptionError
from django_workflow.management.base import VerbCommand, operator
from django_workflow.management.commands.workflow_trigger import read_payload
from django_workflow.models import Run


class Command(VerbCommand):
    """Fork runs."""

    help = "Start new runs that go on from a step of old ones, with what was recorded before it."
    verb, done = "fork", "forked"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take ids, a step, and what is to be different."""
        super().add_arguments(parser)
        parser.add_argument(
            "--step", required=True, help="The first step that is done again, by its key or name."
        )
        parser.add_argument("--data", metavar="JSON", help="Another payload: JSON, @file, or -.")
        parser.add_argument(
            "--results", metavar="JSON", help="Other results of earlier steps: an object, by step."
        )

    def do(self, run: Run, *, why: str, step: str = "", **options: Any) -> Run:
        """Fork one run."""
        given: dict[str, Any] = {}
        if options.get("data") is not None:
            given["payload"] = read_payload(options["data"])
        if options.get("results") is not None:
            given["results"] = read_payload(options["results"])
            if not isinstance(given["results"], dict):
                raise InvalidOptionError("--results takes a JSON object: results by step.")
        forked: Run = run.fork(step, actor=operator(), why=why, **given)
        return forked

    def told(self, run_id: str, run: Run) -> str:
        """Return the line that names the new run."""
        return f"Run {run_id} was forked as {run.id}."
