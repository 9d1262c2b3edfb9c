"""``manage.py workflow_migrate_names``: new names for the workflows and steps of living runs."""

from __future__ import annotations

from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError

from django_workflow.management.base import FAILED, USAGE, WorkflowCommand, add_json
from django_workflow.runtime.renaming import Renaming, rename_living


class Command(WorkflowCommand):
    """Rename in the journals what was renamed in the code."""

    help = "Give unfinished runs, and failed and blocked ones, the new names of workflows and steps. A dry run, unless --apply."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take names."""
        parser.add_argument(
            "--workflow", action="append", default=[], metavar="OLD=NEW", help="May be repeated."
        )
        parser.add_argument(
            "--step",
            action="append",
            default=[],
            metavar="WORKFLOW:OLD=NEW",
            help="The workflow as it is called in the code now. May be repeated.",
        )
        parser.add_argument(
            "--apply", action="store_true", help="Write; else only say what would be done."
        )
        parser.add_argument(
            "--force",
            action="store_true",
            help="Also where an unfinished body would get another idempotency key.",
        )
        add_json(parser)

    def carry_out(self, *, apply: bool, force: bool, **options: Any) -> None:
        """Rename, and tell what was done to each run."""
        workflows = dict(_pair(text, "OLD=NEW") for text in options["workflow"])
        steps: dict[str, dict[str, str]] = {}
        for text in options["step"]:
            workflow, colon, names = text.partition(":")
            old, new = _pair(names if colon else "", "WORKFLOW:OLD=NEW")
            steps.setdefault(workflow, {})[old] = new
        if not workflows and not steps:
            raise CommandError(
                "Say what: --workflow OLD=NEW or --step WORKFLOW:OLD=NEW.", returncode=USAGE
            )
        done = list(rename_living(workflows, steps, apply=apply, force=force))
        refused = [one for one in done if one.refused]
        if self.as_json:
            self.screen.json(
                [{**asdict(one), "applied": apply and not one.refused} for one in done]
            )
        else:
            self.screen.lines(_lines(done, applied=apply))
        if refused:
            raise CommandError(f"{len(refused)} runs keep their names.", returncode=FAILED)


def _pair(text: str, form: str) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    if not equals or not old or not new:
        raise CommandError(f"Names are given as {form}, not {text!r}.", returncode=USAGE)
    return old, new


def _lines(done: list[Renaming], *, applied: bool) -> list[str]:
    lines = []
    for one in done:
        names = [f'step "{old}" is "{new}"' for old, new in one.steps.items()]
        if one.workflow != one.new_workflow:
            names.insert(0, f'workflow "{one.workflow}" is "{one.new_workflow}"')
        told = f"refused: {one.refused}" if one.refused else "done" if applied else "would be done"
        lines.append(f"{one.run_id}: {', '.join(names)}: {told}")
    count = len([one for one in done if not one.refused])
    verb = "were given their new names" if applied else "would be given new names; --apply does it"
    return [*lines, f"{count} runs {verb}."]
