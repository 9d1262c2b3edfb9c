"""``manage.py workflow_flow``: flow control keys, listed and steered."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.core.management.base import CommandError

from django_workflow.conf import settings
from django_workflow.core.anywhere import FlowKeyHandle, flow_control
from django_workflow.core.durations import format_duration
from django_workflow.core.flow import FlowState
from django_workflow.management.base import USAGE, WorkflowCommand, add_json, operator, whole
from django_workflow.models import FlowKey

COLUMNS = ("key", "waiting", "holding", "parallelism", "rate", "state")
VERBS = ("pause", "resume", "pin", "unpin", "reset")
LIMITS = ("parallelism", "rate", "period")
NONE = "none"


def _limit(text: str) -> int | str:
    """Read a limit; ``none`` takes it away."""
    try:
        return NONE if text == NONE else whole(1, 2**31 - 1)(text)
    except ArgumentTypeError as error:
        raise ArgumentTypeError(f"{error}; or none, for no limit") from error


class Command(WorkflowCommand):
    """List flow control keys, and steer them."""

    help = (
        "List flow control keys with who waits and who holds; or set, pause, resume, pin, unpin or reset some, and "
        "print them then."
    )
    takes_database = True

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take a verb, keys and limits."""
        parser.add_argument(
            "verb",
            nargs="?",
            default="list",
            choices=["list", "set", *VERBS],
            help="list unless given.",
        )
        parser.add_argument(
            "keys", nargs="*", metavar="KEY", help="The keys; for list, all unless given."
        )
        parser.add_argument(
            "--parallelism", type=_limit, metavar="N", help="With set: bodies at once, or none."
        )
        parser.add_argument(
            "--rate", type=_limit, metavar="N", help="With set: bodies begun in a period, or none."
        )
        parser.add_argument("--period", metavar="DURATION", help="With set: the period, as 1m.")
        parser.add_argument("--why", default="", help="The reason, which is kept.")
        add_json(parser)

    def carry_out(self, *, verb: str, keys: list[str], **options: Any) -> None:
        """Do what is asked, and print the keys."""
        limits = {name: options[name] for name in LIMITS if options[name] is not None}
        if verb != "list" and not keys:
            raise CommandError(f"Say which: {verb} needs a key.", returncode=USAGE)
        if (verb == "set") != bool(limits):
            raise CommandError(
                "set takes --parallelism, --rate or --period, and only set does.", returncode=USAGE
            )
        rows = FlowKey.objects.using(settings().DATABASE)
        known = set(rows.filter(pk__in=keys).values_list("pk", flat=True))
        unknown = [key for key in keys if key not in known]
        # A key may be set before anything uses it, and is not made by a verb that was mistyped.
        if unknown and verb != "set":
            raise CommandError(
                f'Nothing has used flow control key "{unknown[0]}" yet.', returncode=USAGE
            )
        asked = keys or list(rows.order_by("pk").values_list("pk", flat=True))
        handles = [flow_control(key) for key in asked]
        if verb != "list":
            for handle in handles:
                _steer(handle, verb, limits, options["why"])
        self._print([handle.state() for handle in handles])

    def _print(self, states: list[FlowState]) -> None:
        if self.as_json:
            self.screen.json([_as_json(state) for state in states])
        else:
            self.screen.table(COLUMNS, [_row(state) for state in states])


def _steer(handle: FlowKeyHandle, verb: str, limits: dict[str, Any], why: str) -> None:
    given = {name: None if value == NONE else value for name, value in limits.items()}
    getattr(handle, verb)(actor=operator(), why=why, **given)


def _as_json(state: FlowState) -> dict[str, Any]:
    return {
        "key": state.key,
        "parallelism": state.parallelism,
        "rate": state.rate,
        "period_seconds": state.period.total_seconds(),
        "paused": state.is_paused,
        "pinned": state.is_pinned,
        "waiting": state.waiting,
        "holding": state.holding,
    }


def _row(state: FlowState) -> tuple[str, ...]:
    said = [
        word for word, is_so in (("paused", state.is_paused), ("pinned", state.is_pinned)) if is_so
    ]
    rate = "" if state.rate is None else f"{state.rate} in {format_duration(state.period)}"
    return (
        state.key,
        str(state.waiting),
        str(state.holding),
        "" if state.parallelism is None else str(state.parallelism),
        rate,
        ", ".join(said),
    )
