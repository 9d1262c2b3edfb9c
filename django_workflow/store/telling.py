"""What runs tell of themselves: lines, each kept once, and the latest progress and state."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django_workflow.at_rest.vault import sealed
from django_workflow.core.at_rest import sealed_words
from django_workflow.core.ports import get_clock
from django_workflow.core.telling import LOG, PROGRESS, STATE, Told
from django_workflow.models import RunLog
from django_workflow.store.rows import RUN
from django_workflow.store.sql import connection, dialect

LINE = RunLog._meta.db_table
COLUMNS = (
    "run_id", "generation", "after", "number", "attempt", "level", "message", "fields_text", "created_at",
)  # fmt: skip
CHUNK = 50


def write(run_id: str, generation: int, told: Sequence[tuple[Told, timedelta]]) -> None:
    """Write what was told, each thing with how long ago; what is there already is left as it is.

    Whoever writes it together with something else does so last: the turn's lock comes before the run's.
    """
    lines = [(one, ago) for one, ago in told if one.saying.what == LOG]
    with connection().cursor() as cursor:
        for start in range(0, len(lines), CHUNK):
            _insert(cursor, run_id, generation, lines[start : start + CHUNK])
        for what in (PROGRESS, STATE):
            said = [one for one, _ in told if one.saying.what == what]
            if said:
                _update(cursor, run_id, what, max(enumerate(said), key=_standing)[1])


def _standing(numbered: tuple[int, Told]) -> tuple[int, int]:
    place, told = numbered
    return told.sequence, place


def _insert(
    cursor: Any, run_id: str, generation: int, lines: Sequence[tuple[Told, timedelta]]
) -> None:
    speak = dialect()
    parts: list[str] = []
    params: list[Any] = []
    for told, ago in lines:
        # A clock stands still while a pass is made.
        moment, values = speak.now(-ago if get_clock() is None else timedelta(0))
        parts.append(f"(%s, %s, %s, %s, %s, %s, %s, %s, {moment})")
        saying = told.saying
        params += (
            run_id, generation, told.after, told.number, told.attempt, saying.level, sealed_words(saying.message), sealed(saying.text), *values,
        )  # fmt: skip
    cursor.execute(
        f"{speak.ignore} {LINE} ({speak.columns(COLUMNS)}) VALUES {', '.join(parts)}{speak.ignore_tail}",
        params,
    )


def _update(cursor: Any, run_id: str, what: str, told: Told) -> None:
    # A replay in another process says again what others have gone beyond.
    cursor.execute(
        f"UPDATE {RUN} SET {what}_text = %s, {what}_after = %s "
        f"WHERE id = %s AND ({what}_after IS NULL OR {what}_after <= %s)",
        (sealed(told.saying.text), told.sequence, run_id, told.sequence),
    )
