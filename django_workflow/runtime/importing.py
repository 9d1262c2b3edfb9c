"""A journal that was written elsewhere, made a run of this place."""

from __future__ import annotations

import logging
from typing import Any

from django_workflow.conf import settings
from django_workflow.core.actors import Actor
from django_workflow.core.exceptions import InvalidOptionError, RunExistsError
from django_workflow.core.types import DEAD_LETTER, FINISHED, RunStatus
from django_workflow.core.undo import AT_WORK
from django_workflow.models import Run
from django_workflow.models.lengths import RUN_ID_LENGTH
from django_workflow.runtime.journal_files import JournalFile, read_journal
from django_workflow.store import imports

logger = logging.getLogger(__name__)


def import_run(
    document: Any,
    *,
    run_id: str | None = None,
    marks: bool = False,
    actor: Any = None,
    why: str = "",
) -> Run:
    """Insert the run of a document that `export_run()` has written, and return it. It does nothing by itself.

    A run that had ended has ended here too, and a dead letter may be resumed. Any other is paused; resumed, it goes on
    behind its last recorded step: what was open (sleeps, waits, bodies under way) is asked for anew. It has no parent
    and no children here.

    Args:
        document: The document, as values of JSON.
        run_id: Another id than the run has in the document.
        marks: Whether a journal is taken in which marks stand for hidden values.
        actor: Who imports it.
        why: The reason; kept with the run.

    Raises:
        InvalidOptionError: it is no journal, has hidden values, or belongs to a run that is being undone.
        RunExistsError: the id is taken here.
    """
    journal = read_journal(document)
    run = ready_to_insert(journal, marks=marks)
    if run_id is not None:
        run["id"] = run_id
    if not run["id"].isprintable() or not 1 <= len(run["id"].strip()) <= RUN_ID_LENGTH:
        raise InvalidOptionError(
            f"A run ID is a printable text of 1 to {RUN_ID_LENGTH} characters, not {run['id']!r}."
        )
    by = Actor.of(actor)
    done = imports.insert(
        run,
        labels=journal.labels,
        # Of a step that is not recorded nothing is known for certain, so it is asked for again.
        steps=[row | {"delivered": False} for row in journal.recorded],
        attempts=journal.attempts,
        undos=journal.undos,
        logs=[row | {"generation": run["generation"]} for row in journal.logs],
        by=by,
        why=why,
    )
    if not done:
        raise RunExistsError(
            f'The run ID "{run["id"]}" is taken. Give another one, or delete that run first.',
            run_id=run["id"],
        )
    logger.info("Run %s was imported", run["id"], extra={"run_id": run["id"], "actor": by.name})
    return Run.objects.using(settings().DATABASE).get(pk=run["id"])


def ready_to_insert(journal: JournalFile, *, marks: bool) -> dict[str, Any]:
    """Return the run's row as it is inserted.

    Raises:
        InvalidOptionError: it cannot be.
    """
    if journal.hidden and not marks:
        raise InvalidOptionError(
            f"The journal hides values ({', '.join(journal.hidden[:5])}), so the run would go on with marks in their place. "
            "Export it with --whole, or import it with --marks, to look at it."
        )
    run = dict(journal.run)
    status = RunStatus(run["status"])
    at_work = run["handler_status"] == RunStatus.RUNNING or run["undo_status"] in AT_WORK
    if status == RunStatus.CANCELLING or at_work:
        raise InvalidOptionError(
            f'Run "{run["id"]}" was being undone, or its failure handler was at work, when it was exported. '
            "Export it again when that has ended."
        )
    if status in FINISHED and run["finished_at"] is None:
        raise InvalidOptionError("The journal's run.finished_at is missing.")
    if status not in {*FINISHED, *DEAD_LETTER}:
        begun = run["started_at"] is not None
        run |= {
            "status": RunStatus.PAUSED,
            "paused_from": RunStatus.RUNNING if begun else RunStatus.PENDING,
            # It was meant for the place, and the time, that the run comes from.
            "deadline": None,
        }
    return run
