"""Dead letters by what went wrong: failed and blocked runs whose errors are alike are one group, in every window."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from django.db.models import QuerySet
from django.utils.crypto import salted_hmac

from django_workflow.conf import settings
from django_workflow.core.types import DEAD_LETTER, Failure
from django_workflow.models import Run

#: The latest ones are looked at; what failed before them mostly failed of the same.
LOOKED_AT = 2_000
LONGEST_MESSAGE = 300
QUARANTINED = "CrashLoopError"

_ID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_WITH_DIGIT = re.compile(r"\w*\d\w*")
_ROW = re.compile(r"#(?:[-.:,/+ ]*#)+")


def normalised(message: str, run_id: str = "") -> str:
    """Return a message without what differs from run to run: figures, ids, and words with a figure in them."""
    text = message[: 8 * LONGEST_MESSAGE]
    if run_id:
        text = text.replace(run_id, "#")
    text = _WITH_DIGIT.sub("#", _ID.sub("#", text))
    return " ".join(_ROW.sub("#", text).split())[:LONGEST_MESSAGE]


def fingerprint(failure: Failure | None, run_id: str = "") -> str:
    """Return the mark of an error; keyed, as it stands in URLs and nobody should guess a message by it."""
    parts = ["", "", ""]
    if failure is not None:
        parts = [failure.error_class, failure.step or "", normalised(failure.message, run_id)]
    return salted_hmac(
        "django_workflow.fingerprint", json.dumps(parts), algorithm="sha256"
    ).hexdigest()[:16]


@dataclass(kw_only=True)
class Group:
    """Dead letters whose errors are alike."""

    fingerprint: str
    #: That of the latest one.
    failure: Failure | None
    last_seen: datetime
    first_seen: datetime
    #: The key of the step in which the latest one failed, and its id.
    step: str = ""
    newest: str = ""
    run_ids: list[str] = field(default_factory=list)
    #: When each of them was seen, in the order of the ids.
    seen: list[datetime] = field(default_factory=list)
    workflows: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.run_ids)

    @property
    def is_quarantined(self) -> bool:
        """Whether they killed their processes again and again: to be gone on with one by one, and by somebody who looks."""
        return (
            self.failure is not None and self.failure.error_class.rpartition(".")[2] == QUARANTINED
        )

    def until(self, moment: datetime) -> list[str]:
        """Return those that were there at a moment."""
        pairs = zip(self.run_ids, self.seen, strict=True)
        return [run_id for run_id, seen in pairs if seen <= moment]


@dataclass(frozen=True, kw_only=True)
class DeadLetters:
    """What was found."""

    groups: list[Group]
    looked_at: int
    #: Whether there are more than was looked at.
    is_cut: bool

    def find(self, mark: str) -> Group | None:
        """Return the group of this fingerprint."""
        return next((group for group in self.groups if group.fingerprint == mark), None)


def dead_letters(runs: QuerySet[Run] | None = None) -> DeadLetters:
    """Return the latest dead letters, of these runs or of all, in groups, the largest first; one query."""
    found = (
        (Run.objects.using(settings().DATABASE) if runs is None else runs)
        .filter(status__in=DEAD_LETTER)
        .order_by("-created_at", "id")
        .only(
            "id", "workflow", "status", "failed_step", "failure_text", "finished_at", "created_at"
        )
    )
    looked = list(found[: LOOKED_AT + 1])
    groups = grouped(looked[:LOOKED_AT])
    is_cut = len(looked) > LOOKED_AT
    return DeadLetters(groups=groups, looked_at=min(len(looked), LOOKED_AT), is_cut=is_cut)


def grouped(letters: Iterable[Run]) -> list[Group]:
    """Return these dead letters in groups, the largest first, of two the one that was seen last."""
    groups: dict[str, Group] = {}
    for run in letters:
        _add(groups, run)
    return sorted(groups.values(), key=lambda group: (-group.count, -group.last_seen.timestamp()))


def _add(groups: dict[str, Group], run: Run) -> None:
    failure = run.failure
    seen = run.finished_at or run.created_at
    mark = fingerprint(failure, run.pk)
    group = groups.setdefault(
        mark, Group(fingerprint=mark, failure=failure, first_seen=seen, last_seen=seen)
    )
    if seen > group.last_seen or not group.run_ids:
        group.last_seen, group.failure = seen, failure
        group.step, group.newest = run.failed_step, run.pk
    group.first_seen = min(group.first_seen, seen)
    group.run_ids.append(run.pk)
    group.seen.append(seen)
    group.workflows[run.workflow] += 1
    group.states[str(run.status)] += 1
