"""When due rows were last looked for: by anybody, and when the beat last ticked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django_workflow.conf import settings
from django_workflow.models import Sweep
from django_workflow.store import claims


@dataclass(frozen=True, kw_only=True, slots=True)
class Looks:
    """The latest looks; None and empty: never."""

    swept_at: datetime | None
    swept_by: str
    #: When a tick of the beat last came to a worker; that worker has looked then, or another one just before.
    beat_at: datetime | None


def latest_looks() -> Looks:
    """Ask the database; one query."""
    rows = Sweep.objects.using(settings().DATABASE).in_bulk([claims.SWEEPING, claims.TICKING])
    swept, beat = rows.get(claims.SWEEPING), rows.get(claims.TICKING)
    return Looks(
        swept_at=None if swept is None else swept.swept_at,
        swept_by="" if swept is None else swept.swept_by,
        beat_at=None if beat is None else beat.swept_at,
    )
