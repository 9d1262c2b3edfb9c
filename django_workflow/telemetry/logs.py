"""Log lines that know their run, step and attempt: a filter for any handler, and a formatter that writes JSON."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any, Final

from django_workflow.core.context import executing
from django_workflow.core.middleware import passing

FIELDS: Final = ("run_id", "workflow", "step", "attempt")
NONE: Final = "-"
#: What a record has anyway; the rest was given as ``extra``.
_USUAL: Final = frozenset(
    {*vars(logging.makeLogRecord({})), *FIELDS, "message", "asctime", "taskName"}
)


class RunContext(logging.Filter):
    """Puts ``run_id``, ``workflow``, ``step`` and ``attempt`` on each record; ``-`` where there is none.

    What the line says of itself (``extra``) counts first, then the body that is being executed, then the pass. Belongs on
    handlers: a logger's filters do not see the lines of the loggers below it.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields; every record passes."""
        known: dict[str, Any] = {}
        run, step = passing.get(), executing.get()
        if run is not None:
            known.update(run_id=run.workflow_run_id, workflow=run.workflow)
        if step is not None:
            known.update(run_id=step.workflow_run_id, step=step.name, attempt=step.attempt)
        for name in FIELDS:
            if not hasattr(record, name):
                setattr(record, name, known.get(name, NONE))
        return True


class JsonFormatter(logging.Formatter):
    """Writes a record as one line of JSON; fields that a line does not have are left out."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        moment = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "time": moment.isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        given = {name: value for name, value in vars(record).items() if name not in _USUAL}
        for name in FIELDS:
            value = getattr(record, name, NONE)
            if value != NONE:
                line[name] = value
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps({**given, **line}, default=str)
