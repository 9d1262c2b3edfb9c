"""New names for the workflows and steps of living runs, after their code was given new names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from django_workflow.core.exceptions import InvalidOptionError
from django_workflow.core.journal import Record
from django_workflow.core.steps import KEY_LENGTH, NAME_LENGTH, SLICE_LENGTH
from django_workflow.core.types import StepKind, StepStatus
from django_workflow.core.workflow import registry
from django_workflow.runtime.rehearsal import rehearse
from django_workflow.store import records
from django_workflow.store.living import can_undo, is_held, living, rename
from django_workflow.store.rows import Claim

#: Whose key tells something to the world outside, by way of an idempotency key.
_TELLING: Final = frozenset({StepKind.RUN, StepKind.ATOMIC, StepKind.NOTIFY, StepKind.MAP})
#: What is not named by the code.
_UNNAMED: Final = frozenset({StepKind.PATCH, StepKind.RACE})


@dataclass(frozen=True, kw_only=True, slots=True)
class Renaming:
    """What was done, or would be done, to one run."""

    run_id: str
    workflow: str
    new_workflow: str
    #: New keys by the old ones.
    steps: dict[str, str]
    #: Why nothing was done; empty where it was, or would be.
    refused: str = ""


def rename_living(
    workflows: Mapping[str, str],
    steps: Mapping[str, Mapping[str, str]],
    *,
    apply: bool,
    force: bool = False,
    batch: int = 200,
) -> Iterator[Renaming]:
    """Give runs that have not ended the new names; dead letters too, which can then be resumed.

    Args:
        workflows: New names of workflows by the old ones.
        steps: New names of steps by the old ones, by the workflow's name as it is in the code now.
        apply: Write; else only tell.
        force: Also where an unfinished body would get another idempotency key.
        batch: How many runs are read at a time.

    Raises:
        InvalidOptionError: a mapping cannot be meant so.
    """
    _check(workflows, steps)
    # Runs that have the new name of their workflow already may have steps to be renamed too.
    old_names = {**workflows, **{name: name for name in steps}}
    for claim in living(sorted(old_names), dead_letters=True, batch=batch):
        new = old_names[claim.run.workflow]
        done = _rename(claim, new, steps.get(new, {}), apply=apply, force=force)
        if done is not None:
            yield done


def _check(workflows: Mapping[str, str], steps: Mapping[str, Mapping[str, str]]) -> None:
    if len(set(workflows.values())) != len(workflows):
        raise InvalidOptionError("Two workflows are to get the same name.")
    for old, new in workflows.items():
        if registry.find(new) is None:
            raise InvalidOptionError(
                f'No workflow "{new}" is registered in this process, so no run can be given that name.'
            )
        if registry.find(old) is not None:
            raise InvalidOptionError(
                f'A workflow "{old}" is registered in this process: its runs need no other name.'
            )
    for workflow, names in steps.items():
        if registry.find(workflow) is None:
            raise InvalidOptionError(
                f'No workflow "{workflow}" is registered in this process. Name it as it is called in the code now.'
            )
        if len(set(names.values())) != len(names):
            raise InvalidOptionError(f'Two steps of "{workflow}" are to get the same name.')
        for name in (*names, *names.values()):
            if not name or len(name) > NAME_LENGTH:
                raise InvalidOptionError(
                    f"A step's name has 1 to {NAME_LENGTH} characters, not {name!r}."
                )


def _rename(
    claim: Claim, new: str, names: Mapping[str, str], *, apply: bool, force: bool
) -> Renaming | None:
    run = claim.run
    found = records.load(run.id)
    mapped = [_renamed(record, names) for record in found]
    changes = {
        old.key: (renamed.key, renamed.name)
        for old, renamed in zip(found, mapped, strict=True)
        if old.key != renamed.key
    }
    if new == run.workflow and not changes:
        return None
    told = Renaming(
        run_id=run.id,
        workflow=run.workflow,
        new_workflow=new,
        steps={old: key for old, (key, _) in changes.items()},
    )
    reason = _obstacle(claim, new, found, mapped, force=force)
    if not reason and apply and not rename(claim, new, changes):
        reason = "it went on meanwhile; try again"
    return replace(told, refused=reason)


def _renamed(record: Record, names: Mapping[str, str]) -> Record:
    new = names.get(record.name)
    if new is None or record.kind in _UNNAMED:
        return record
    base = f"{record.branch}{record.name.replace('/', '//')}"
    tail = record.key[len(base) :].removeprefix("#")
    occurrence = int(tail) if tail.isdecimal() else 1
    escaped = f"{record.branch}{new.replace('/', '//')}"
    is_odd = "/" in new or "#" in new
    key = f"{escaped}#{occurrence}" if is_odd or occurrence > 1 else escaped
    return record._replace(key=key, name=new)


def _obstacle(
    claim: Claim, new: str, found: Sequence[Record], mapped: Sequence[Record], *, force: bool
) -> str:
    """Return why the run cannot be given these names now; empty if it can."""
    if is_held(claim.run_id):
        return "a worker holds it at this moment; try again"
    keys = [record.key for record in mapped]
    if len(set(keys)) != len(keys):
        return "it has steps of the old name and of the new one in one branch"
    if any(len(record.key) > _longest(record) for record in mapped):
        return "a name is too long with its branches"
    if not force:
        can_be_undone = can_undo(claim.run_id)
        for old, renamed in zip(found, mapped, strict=True):
            if old.key == renamed.key:
                continue
            if old.key in can_be_undone:
                return (
                    f'step "{old.name}" can be undone, and its undo would be told another idempotency key than its body '
                    "had; --force if that does no harm"
                )
            if _is_unfinished_body(old):
                return (
                    f'step "{old.name}" may have been begun, and its idempotency key would change; --force if that '
                    "does no harm"
                )
    finding = rehearse(_under(claim, new), mapped)
    if finding is None or finding.what == "drifts":
        return ""
    return f"it would still not fit the code: {finding.message}"


def _longest(record: Record) -> int:
    return KEY_LENGTH - SLICE_LENGTH if record.kind == StepKind.MAP else KEY_LENGTH


def _is_unfinished_body(record: Record) -> bool:
    if record.kind == StepKind.CALL:
        # While it is open its request is stored, with its key; made anew after a resume it would get another one.
        return record.status == StepStatus.FAILED
    return record.kind in _TELLING and record.status != StepStatus.COMPLETED


def _under(claim: Claim, workflow: str) -> Claim:
    fields = {name: getattr(claim, name) for name in Claim.__slots__}
    return Claim(**{**fields, "run": claim.run._replace(workflow=workflow)})
