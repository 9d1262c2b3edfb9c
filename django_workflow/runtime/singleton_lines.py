"""Queueing singletons: who is in whose line, who stands back, and who is let in at a run's end."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from django.db import Error as DatabaseError

from django_workflow.core.codec import codec
from django_workflow.core.exceptions import InvalidOptionError
from django_workflow.core.flow import key_for
from django_workflow.core.options import TriggerOptions
from django_workflow.core.singleton_lines import line_of
from django_workflow.core.workflow import Workflow
from django_workflow.models import Run
from django_workflow.runtime.failure import stored_options
from django_workflow.runtime.flow_control import settle_keys
from django_workflow.store import singleton_lines
from django_workflow.store.rows import Claim, RunRow
from django_workflow.store.triggers import NewRun

logger = logging.getLogger(__name__)

#: The stored option that names the line of a run.
LINE = "singleton_line"


def line_for(workflow: Workflow[Any, Any], payload: Any) -> str | None:
    """Return the line in which a new run of the workflow waits to begin, if it does.

    Raises:
        InvalidOptionError: the function of the key raised, or returned what cannot be a key.
    """
    singleton = workflow.options.singleton
    if singleton is None or singleton.on_conflict != "queue":
        return None
    return line_of(workflow.name, key_for(singleton.key, payload, "a singleton"))


def with_line(options_text: str, line: str | None) -> str:
    """Return the stored options of a run with the line in which it waits to begin."""
    options = {name: value for name, value in stored_options(options_text).items() if name != LINE}
    return codec.dumps(options | ({} if line is None else {LINE: line}), what="options")


def in_its_line(new: NewRun, workflow: Workflow[Any, Any]) -> NewRun:
    """Return a run that is made of another one, in the line that the workflow names for its payload now.

    Raises:
        InvalidOptionError: the function of the key raised, or returned what cannot be a key.
    """
    singleton = workflow.options.singleton
    line = None
    if singleton is not None and singleton.on_conflict == "queue":
        line = line_for(
            workflow, None if new.payload_text is None else codec.loads(new.payload_text)
        )
    if line == stored_options(new.options_text).get(LINE):
        return new._replace(singleton_line=line)
    return new._replace(singleton_line=line, options_text=with_line(new.options_text, line))


def stored_line(run: RunRow | Run) -> str | None:
    """Return the line in which a run was put when it was triggered."""
    line: str | None = stored_options(run.options_text).get(LINE)
    return line


def refuse_debounce(workflow: Workflow[Any, Any], options: TriggerOptions) -> None:
    """Refuse to put off a run that begins when others have ended.

    Raises:
        InvalidOptionError: that is asked for.
    """
    singleton = workflow.options.singleton
    if options.debounce is not None and singleton is not None and singleton.on_conflict == "queue":
        raise InvalidOptionError(
            f'debounce does not go together with the singleton of workflow "{workflow.name}", whose runs begin one after '
            'the other. Use on_conflict="return" or "replace", or throttle.'
        )


def stands_back(claim: Claim) -> bool:
    """Tell whether the claimed run may not begin yet; its turn is then given back."""
    line = stored_line(claim.run)
    if line is None or not claim.is_turn or not singleton_lines.is_waiting(claim.run_id):
        return False
    settle_keys([line])
    if not singleton_lines.is_waiting(claim.run_id):
        return False
    seconds = stored_options(claim.run.options_text).get("ttl")
    expires = None if seconds is None else claim.run.created_at + timedelta(seconds=seconds)
    singleton_lines.stand_back(claim, expires)
    return True


def let_next_begin(claim: Claim) -> None:
    """Let the next run begin if this one has ended. What goes wrong is the sweep's: the work is done."""
    line = stored_line(claim.run)
    if line is None or not claim.is_turn:
        return
    try:
        if singleton_lines.has_ended(claim.run_id):
            settle_keys([line])
    except DatabaseError:
        logger.warning("The line %s was not moved on; it is found.", line, exc_info=True)
