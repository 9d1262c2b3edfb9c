"""What projects write for ``WORKFLOW["VISIBLE_RUNS"]``."""

from __future__ import annotations

from typing import Any


def own(request: Any, found: Any) -> Any:
    """Everything for superusers, and for all others what they have triggered themselves."""
    if request.user.is_superuser:
        return found
    return found.filter(triggered_by_id=str(request.user.pk))


def nothing_returned(request: Any, found: Any) -> Any:
    return None


#: The IDs of the only runs that are there for those who are no superusers.
CHOSEN: set[str] = set()


def chosen(request: Any, found: Any) -> Any:
    """Everything for superusers, and for all others what a test has chosen."""
    return found if request.user.is_superuser else found.filter(pk__in=CHOSEN)
