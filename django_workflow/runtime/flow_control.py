"""Flow control: slots for step bodies, and what operators do with a key.

`take_slot()` and `give_slot_back()` are what a kind of step needs whose work counts; they are called outside any
transaction. Who dies in between is covered by its lease, and by the sweep.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from django.db import Error as DatabaseError
from django.db import transaction

from django_workflow.conf import settings
from django_workflow.core.actors import Actor
from django_workflow.core.codec import codec
from django_workflow.core.exceptions import InvalidOptionError
from django_workflow.core.flow import FlowControl, FlowState, checked_count, checked_period
from django_workflow.core.ports import get_dispatcher
from django_workflow.core.singleton_lines import is_line
from django_workflow.core.workflow import Workflow, registry
from django_workflow.models import Run
from django_workflow.runtime.failure import stored_options
from django_workflow.store import flow, flow_lines, singleton_lines
from django_workflow.store.flow import Slot, Taken, Wake
from django_workflow.store.rows import Claim, RunRow

logger = logging.getLogger(__name__)


def take_slot(claim: Claim, step_key: str, control: FlowControl) -> Taken:
    """Ask for a slot for a step under this claim; without one, the step stands in line.

    Without a slot the delivery is given back, due at ``opens_at`` or not at all: whoever returns a slot wakes it.
    """
    taken = flow.take(claim, step_key, control, priority_of(claim.run))
    _wake(taken.woken)
    return taken


def give_slot_back(slot: Slot) -> None:
    """Return a slot, and wake the first in line. What goes wrong is the sweep's: the work is done."""
    try:
        _wake(flow.release(slot))
    except DatabaseError:
        logger.warning("A slot of %s was not returned; it is found.", slot.key, exc_info=True)


def priority_of(run: RunRow) -> int:
    """Return the priority that the trigger gave."""
    priority: int = stored_options(run.options_text).get("priority", 0)
    return priority


def flow_of(run: RunRow | Run, workflow: Workflow[Any, Any]) -> FlowControl | None:
    """Return the flow control of a run's steps: the trigger's, else the workflow's."""
    stored = stored_options(run.options_text)
    own = workflow.options.flow_control
    if "flow_control" in stored:
        return FlowControl.from_json(stored["flow_control"])
    if own is None or isinstance(own.key, str):
        return own
    if "flow_key" in stored:
        return FlowControl(stored["flow_key"], own.rate, own.period, own.parallelism)
    # Triggered before the workflow had it.
    return own.for_payload(None if run.payload_text is None else codec.loads(run.payload_text))


def leave_line(run_ids: Sequence[str], step_key: str | None = None) -> None:
    """Take runs, or one step of theirs, out of every line, and let the next ones have what they held."""
    after_commit(flow_lines.leave(run_ids, step_key))


def keys_of(run_id: str) -> set[str]:
    """Return the keys under which a run stands in line or holds slots."""
    return flow_lines.keys_of(run_id)


def after_commit(keys: Iterable[str]) -> None:
    """Give what is free of these keys to the first in line, when the caller's transaction has committed."""
    wanted = sorted(set(keys))
    if wanted:
        transaction.on_commit(lambda: settle_keys(wanted), using=settings().DATABASE, robust=True)


def settle_keys(keys: Iterable[str]) -> None:
    """Give what is free of these keys to the first in line."""
    for key in keys:
        _settle(key)


def _settle(key: str) -> int:
    if is_line(key):
        return _hint(singleton_lines.settle(key))
    woken = flow.settle(key)
    return _wake(_ask_first(key) if woken is None else woken)


def _ask_first(key: str) -> list[Wake]:
    """Learn the limits from the first in line: the process died that was to say them, or an operator came first."""
    found = flow.first_in_line(key)
    if found is None:
        return []
    run_id, woken = found
    run = Run.objects.using(settings().DATABASE).filter(pk=run_id).first()
    workflow = None if run is None else registry.find(run.workflow)
    control = None if run is None or workflow is None else flow_of(run, workflow)
    if control is not None and control.text_key == key:
        return flow.announce(control)
    # Where its workflow is known, its pass says it.
    return woken


def announce(controls: Iterable[FlowControl]) -> None:
    """Let the first of those who were just put in line begin."""
    for control in {control.text_key: control for control in controls}.values():
        _wake(flow.announce(control))


def _wake(woken: Sequence[Wake]) -> int:
    return _hint(flow.wake(woken) if woken else 0)


def _hint(at_once: int) -> int:
    dispatcher = get_dispatcher()
    if at_once and dispatcher is not None:
        dispatcher.hint(-(-at_once // settings().CLAIM_BATCH))
    return at_once


def look_after() -> int:
    """Give what nobody has given, and wake whom nobody has woken; return how many were woken."""
    keys, woken = flow_lines.neglected()
    count = _wake(woken)
    for key in [*keys, *singleton_lines.neglected()]:
        count += _settle(key)
    return count


# What operators do.


def state_of(key: str) -> FlowState:
    """See `core.anywhere.FlowKeyHandle`."""
    found = singleton_lines.state(key) if is_line(key) else flow_lines.state(key)
    if found is None:
        return FlowState(
            key=key,
            parallelism=1 if is_line(key) else None,
            rate=None,
            period=timedelta(seconds=1),
            is_paused=False,
            is_pinned=False,
            waiting=0,
            holding=0,
        )
    return found


def steer(key: str, verb: str, *, actor: Any = None, why: str = "", **limits: Any) -> None:
    """Pause, resume, pin, unpin, reset or set a key; see `core.anywhere.FlowKeyHandle`."""
    if is_line(key):
        _steer_line(key, verb)
    elif verb == "set":
        for name in ("parallelism", "rate"):
            if name in limits:
                checked_count(limits[name], name)
        if "period" in limits:
            limits["period"] = checked_period(limits["period"])
        flow_lines.change(key, limits=limits, pinned=True)
    else:
        flow_lines.change(key, **_CHANGES[verb])
    by = Actor.of(actor)
    logger.info(
        "Flow control %s: %s", key, verb,
        extra={"actor": by.name, "door": by.door, "why": why, **limits},
    )  # fmt: skip
    after_commit([key])


def _steer_line(line: str, verb: str) -> None:
    if verb not in ("pause", "resume"):
        raise InvalidOptionError(
            f'"{line}" is the line of a singleton, which lets one run at a time begin: it can be paused and resumed, and '
            "has no other limits."
        )
    singleton_lines.pause(line, paused=verb == "pause")


_CHANGES: dict[str, dict[str, bool]] = {
    "pause": {"paused": True},
    "resume": {"paused": False},
    "pin": {"pinned": True},
    "unpin": {"pinned": False},
    "reset": {"paused": False, "pinned": False, "forget_starts": True},
}
