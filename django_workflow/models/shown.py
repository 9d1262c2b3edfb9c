"""What windows show of what a run tells and is told: never the stored values themselves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django_workflow.core.plain import plain
from django_workflow.core.redaction import Mask
from django_workflow.core.telling import Progress
from django_workflow.models.events import Event
from django_workflow.models.history import RunLog
from django_workflow.models.runs import Run


def shown_state(run: Run) -> Any:
    """Return what the run has set with ``set_state()``, as plain JSON, redacted."""
    return run.mask.state(plain(run.state_text))


def shown_progress(run: Run) -> Progress | None:
    """Return how far the run says it is, its message redacted."""
    progress = run.progress
    if progress is None or not progress.message:
        return progress
    return replace(progress, message=run.mask.progress(progress.message))


def shown_line(line: RunLog, mask: Mask) -> tuple[str, Any]:
    """Return message and fields of a log line, redacted."""
    return mask.log(line.message, plain(line.fields_text or "{}"))


def shown_event(event: Event) -> Any:
    """Return the data of an event as plain JSON; of one that was sent to a run, redacted as the run says."""
    data = plain(event.data_text)
    return data if event.run is None else event.run.mask.event(data)
