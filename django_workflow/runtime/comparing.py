"""A journal against the code of this process: where they part, and what stands around that place."""

from __future__ import annotations

from dataclasses import dataclass

from django_workflow.core.exceptions import RunNotFoundError
from django_workflow.core.journal import Record
from django_workflow.runtime.rehearsal import Finding, rehearse
from django_workflow.store import records
from django_workflow.store.living import look

#: How many steps are shown before and after the place.
AROUND = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """One place of a branch: what was recorded there, and what is asked for."""

    recorded: str
    asked: str
    is_met: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """What a rehearsal has found."""

    #: None where the code still goes with the journal.
    finding: Finding | None
    pairs: list[Pair]
    steps: int


def compare(run_id: str) -> Comparison:
    """Rehearse a run, and return what was recorded beside what is asked for; nothing is executed or written.

    Raises:
        RunNotFoundError: there is no such run.
    """
    claim = look(run_id)
    if claim is None:
        raise RunNotFoundError(f'There is no run "{run_id}".', run_id=run_id)
    recorded = records.load(run_id)
    finding = rehearse(claim, recorded)
    return Comparison(finding=finding, pairs=_pairs(recorded, finding), steps=len(recorded))


def _pairs(recorded: list[Record], finding: Finding | None) -> list[Pair]:
    if finding is None or finding.recorded is None:
        return []
    place = next((n for n, one in enumerate(recorded) if _named(one) == finding.recorded), None)
    if place is None:
        return [Pair(recorded=finding.recorded, asked=finding.asked or "", is_met=False)]
    branch = recorded[place].branch
    own = [one for one in recorded if one.branch == branch]
    place = next(n for n, one in enumerate(own) if _named(one) == finding.recorded)
    before = own[max(place - AROUND, 0) : place]
    after = own[place + 1 : place + 1 + AROUND]
    return [
        *(Pair(recorded=_named(one), asked=_named(one), is_met=True) for one in before),
        Pair(recorded=finding.recorded, asked=finding.asked or "", is_met=False),
        *(Pair(recorded=_named(one), asked="", is_met=False) for one in after),
    ]


def _named(record: Record) -> str:
    """Return a record in the words of a verdict."""
    return f'{record.kind} "{record.name}"'
