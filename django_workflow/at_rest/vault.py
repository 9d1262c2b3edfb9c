"""The one place through which texts go on their way into a column: sealed first, then spilled.

Whatever writes a column that holds a user's data calls `kept()`, or `sealed()` where the text stays in its row.
Reading is done by the codec: it opens what stands in a text when it decodes it, and not before. Words of people, which no
codec reads, are sealed and opened by their field: `models.words_field`.
"""

from __future__ import annotations

from typing import Final, overload

from django_workflow.at_rest import sealing, spilling
from django_workflow.conf import settings
from django_workflow.core.at_rest import SEALED, SPILLED, is_kept, mark_of

#: Texts up to this length tell nothing: ``null``, ``{}``.
TRIVIAL: Final = frozenset({"", "null", "{}", "[]", '""'})


class Vault:
    """Opens marks, and seals words; see `core.at_rest.Vault`."""

    def seal(self, text: str) -> str | None:
        """See `core.at_rest.Vault.seal()`."""
        keys = settings().ENCRYPTION_KEYS
        return sealing.seal(text, keys[0]) if keys else None

    def unseal(self, value: str) -> str:
        """See `core.at_rest.Vault.unseal()`."""
        return sealing.unseal(value)

    def load(self, value: str) -> str:
        """See `core.at_rest.Vault.load()`."""
        return spilling.load(value)


@overload
def sealed(text: str) -> str: ...
@overload
def sealed(text: None) -> None: ...
@overload
def sealed(text: str | None) -> str | None: ...
def sealed(text: str | None) -> str | None:
    """Return the text as it is kept in its row: encrypted, if there are keys. What is kept already stays as it is.

    Raises:
        AtRestError: it cannot be encrypted.
    """
    keys = settings().ENCRYPTION_KEYS
    if not keys or text is None or text in TRIVIAL or is_kept(text):
        return text
    return mark_of(SEALED, sealing.seal(text, keys[0]))


@overload
def kept(text: str) -> str: ...
@overload
def kept(text: None) -> None: ...
@overload
def kept(text: str | None) -> str | None: ...
def kept(text: str | None) -> str | None:
    """Return the text as it is kept: encrypted, if there are keys, and in a file, if it is longer than the limit.

    The file is written when this returns, so before the row that refers to it.

    Raises:
        AtRestError: it cannot be encrypted or written.
    """
    if text is None or not is_on():
        return text
    text, limit, keys = sealed(text), settings().SPILL_ABOVE, settings().ENCRYPTION_KEYS
    # In what was composed of kept texts another mark may name a file: that would not be found within a file.
    if limit is None or len(text) <= limit or mark_of(SPILLED, "")[:-2] in text:
        return text
    return mark_of(SPILLED, spilling.spill(text, sealing.name_of(keys[0]) if keys else ""))


def is_on() -> bool:
    """Tell whether texts are kept in another form than the codec's."""
    current = settings()
    return bool(current.ENCRYPTION_KEYS) or current.SPILL_ABOVE is not None
