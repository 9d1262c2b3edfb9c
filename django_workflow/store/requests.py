"""The requests of calls: written with the step that makes one, and without their secrets once it is over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django_workflow.at_rest.vault import kept
from django_workflow.conf import settings
from django_workflow.models import Call
from django_workflow.store.sql import dialect

#: The lane of deliveries that only those who make calls may claim.
LANE: Final = "call"
CALL = Call._meta.db_table
CHUNK = 20


def insert(cursor: Any, run_id: str, requests: Mapping[str, str]) -> None:
    """Insert requests by the key of their step; one that is made anew after a resume replaces the old one."""
    speak = dialect()
    keys = list(requests)
    for start in range(0, len(keys), CHUNK):
        chunk = keys[start : start + CHUNK]
        marks = ", ".join(["%s"] * len(chunk))
        cursor.execute(
            f"DELETE FROM {CALL} WHERE run_id = %s AND step_key IN ({marks})", (run_id, *chunk)
        )
        rows = ", ".join(["(%s, %s, %s, %s)"] * len(chunk))
        cursor.execute(
            f"{speak.ignore} {CALL} (run_id, step_key, request_text, is_masked) VALUES {rows}{speak.ignore_tail}",
            [value for key in chunk for value in (run_id, key, kept(requests[key]), False)],
        )


def mask(cursor: Any, run_id: str, key: str, masked_text: str) -> None:
    """Put the request as people may see it in the place of the one that was made."""
    cursor.execute(
        f"UPDATE {CALL} SET request_text = %s, is_masked = %s WHERE run_id = %s AND step_key = %s",
        (kept(masked_text), True, run_id, key),
    )


def delete_open(run_id: str) -> None:
    """Delete the requests that nobody will make any more, and their secrets with them."""
    Call.objects.using(settings().DATABASE).filter(run_id=run_id, is_masked=False).delete()
