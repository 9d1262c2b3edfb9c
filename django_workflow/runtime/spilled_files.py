"""Files that nothing refers to any more, or nothing ever did: deleted when they are more than a day old.

A file is written before the row that refers to it, and never referred to by what is written a day later unless a row
did so all the time; so what no row refers to now, and is so old, is of no use to anybody.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from django_workflow.at_rest import spilling
from django_workflow.conf import settings
from django_workflow.store.at_rest import files_in_use

#: Names tell the day alone, so a file of the day before yesterday is at least a day old.
AGE: Final = timedelta(days=1)


def collect_files(*, apply: bool = True) -> int:
    """Delete the files to which no row refers; return how many. Without ``apply`` they are only counted.

    It reads every text that is kept in rows, unless there is no file to be asked about.
    """
    if settings().SPILL_STORAGE is None:
        return 0
    # Listed before rows are read: a file that is found in neither is in no row that was there before.
    found = set(spilling.files_before((datetime.now(UTC) - AGE).date()))
    if not found:
        return 0
    found.difference_update(files_in_use())
    if apply:
        for name in sorted(found):
            spilling.delete(name)
    return len(found)
