"""Runs that nobody needs any more."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from django_workflow.store.deletion import delete_ended

logger = logging.getLogger(__name__)


def delete_runs(run_ids: Iterable[str], *, actor: Any = None) -> int:
    """Delete these runs, as far as they have ended, with all that belongs to them; return how many."""
    ids = list(run_ids)
    deleted = delete_ended(ids)
    logger.info(
        "%d ended runs were deleted", deleted, extra={"actor": str(actor or ""), "ids": ids}
    )
    return deleted
