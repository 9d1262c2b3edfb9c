"""Texts encrypted anew with the first key, those that are not encrypted among them: row by row, as often as one likes."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from django_workflow.at_rest import sealing, spilling
from django_workflow.at_rest.vault import kept, sealed
from django_workflow.conf import settings
from django_workflow.core.at_rest import (
    MARK,
    SEALED,
    WORDS,
    is_kept,
    opened,
    opened_words,
    sealed_words,
)
from django_workflow.core.exceptions import AtRestError, InvalidOptionError
from django_workflow.store import at_rest
from django_workflow.store.at_rest import COLUMNS, Column

logger = logging.getLogger(__name__)

BATCH: Final = 500
#: How many texts are asked which keys they need.
LOOKED_AT: Final = 200
#: Where a mark that begins a text names its key.
KEY: Final = re.compile(r'\{"\$":"(?:sealed","v":"(\w+)\.|spilled","v":"[^"]*\.(\w+):)')


@dataclass(slots=True)
class Rekeyed:
    """What was done in one column; ``unreadable`` tells why, of the first text that could not be read."""

    column: Column
    changed: int = 0
    failed: int = 0
    unreadable: str = ""


def rekey(*, batch: int = BATCH, apply: bool = True) -> Iterator[Rekeyed]:
    """Encrypt with the first key what is not; after each column tell how much that was.

    What is done already is passed over, so it may be stopped and begun again. Without ``apply`` it is only counted.

    Raises:
        InvalidOptionError: there is no key.
    """
    keys = settings().ENCRYPTION_KEYS
    if not keys:
        raise InvalidOptionError(
            'WORKFLOW["ENCRYPTION_KEYS"] is empty. Put the key to encrypt with first.'
        )
    key = sealing.name_of(keys[0])
    for column in COLUMNS:
        done = Rekeyed(column)
        after: Any = None
        while page := at_rest.under_other_keys(column, key, after, batch):
            after = page[-1][0]
            for pk, text in page:
                _rekey_one(done, pk, text, key, apply=apply)
        yield done


def missing_keys() -> list[str]:
    """Return the names of keys that the latest steps and unfinished runs ask for, and that are not there."""
    known = {sealing.name_of(key) for key in settings().ENCRYPTION_KEYS}
    marks = filter(None, map(KEY.match, at_rest.latest_texts(LOOKED_AT)))
    return sorted({mark[1] or mark[2] for mark in marks} - known - {spilling.PLAIN})


def _rekey_one(done: Rekeyed, pk: Any, text: str, key: str, *, apply: bool) -> None:
    if not _is_due(done.column, text, key):
        return
    try:
        if not apply:
            done.changed += 1
        else:
            new = _rekeyed(done.column, text, key)
            done.changed += at_rest.replace_text(done.column, pk, text, new)
    except AtRestError as error:
        done.failed += 1
        done.unreadable = done.unreadable or f"{done.column} of row {pk}: {error}"
        logger.warning("%s of row %s cannot be encrypted anew: %s", done.column, pk, error)


def _is_due(column: Column, text: str, key: str) -> bool:
    """Tell whether a mark in the text is under another key, or there is none."""
    if column.words:
        mark = WORDS.fullmatch(text)
        return mark is None or not mark[1].startswith(f"{key}.")
    return not is_kept(text) or any(not _is_under(mark, key) for mark in MARK.finditer(text))


def _is_under(mark: re.Match[str], key: str) -> bool:
    if mark[1] == SEALED:
        return mark[2].startswith(f"{key}.")
    return spilling.key_of(mark[2]) == key


def _rekeyed(column: Column, text: str, key: str) -> str:
    if column.words:
        return sealed_words(opened_words(text))
    keep = kept if column.spills else sealed

    def anew(mark: re.Match[str]) -> str:
        return mark[0] if _is_under(mark, key) else keep(opened(mark[0]))

    return MARK.sub(anew, text) if is_kept(text) else keep(text)
