"""Texts as they are kept: what the codec wrote, or a mark in its place that says how to get it back.

A mark is a tag of the codec under a name that no type can have: ``sealed`` holds the text encrypted, ``spilled`` names
the file that holds it. A mark may stand where any value stands, so what is composed of kept texts can be read as well.
In what the codec wrote for a user no mark can stand: a dict with the tag's key is written as pairs, and a text's quotes
are escaped. Who opens marks is plugged in by ``apps.ready()``.

Words that people write (a comment, a reason) are no JSON, and may hold anything. Sealed, they are one mark and nothing
else; what stands in them is never taken for a mark.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final, Protocol

from django_workflow.core.exceptions import AtRestError

SEALED: Final = "sealed"
SPILLED: Final = "spilled"
NAMES: Final = frozenset({SEALED, SPILLED})
IS_SEALED: Final = '"$":"sealed"'
IS_SPILLED: Final = '"$":"spilled"'
#: What Python's ``json`` writes of a mark that it has read has spaces in it.
MARK: Final = re.compile(r'\{"\$": ?"(sealed|spilled)", ?"v": ?"([^"]*)"\}')
#: Words that are sealed.
WORDS: Final = re.compile(r'\{"\$":"sealed","v":"([0-9a-f]{8}\.[A-Za-z0-9_=-]+)"\}')


class Vault(Protocol):
    """Who opens marks, and seals words."""

    def seal(self, text: str) -> str | None:
        """Return the text sealed, as it stands in a mark; None where there is no key.

        Raises:
            AtRestError: it cannot be encrypted.
        """

    def unseal(self, value: str) -> str:
        """Return the text that was sealed.

        Raises:
            AtRestError: its key is not there, or it was changed.
        """

    def load(self, value: str) -> str:
        """Return the text that was spilled.

        Raises:
            AtRestError: its file cannot be read, or was changed.
        """


class _Slot:
    vault: Vault | None = None


_slot = _Slot()


def install_vault(vault: Vault) -> None:
    """Plug in who opens marks; ``apps.ready()`` does."""
    _slot.vault = vault


def mark_of(name: str, value: str) -> str:
    """Return the mark that stands for a kept text."""
    return f'{{"$":"{name}","v":"{value}"}}'


def is_kept(text: str) -> bool:
    """Tell whether there is a mark in the text."""
    return IS_SEALED in text or IS_SPILLED in text


def opened(text: str) -> str:
    """Return the text with what its marks stand for in their places: as the codec wrote it.

    Raises:
        AtRestError: a key or a file is missing, or something was changed.
    """
    while is_kept(text):
        text, count = MARK.subn(_open, text)
        if not count:
            # The beginning of a mark, as a window that shows the first characters has it.
            return text
    return text


def unsealed(text: str, spilled: Callable[[str], str]) -> str:
    """Return the text with what is sealed opened, and ``spilled`` asked for the JSON that stands for a file: for windows.

    What cannot be opened is told in its place.
    """

    def show(mark: re.Match[str]) -> str:
        try:
            return spilled(mark[2]) if mark[1] == SPILLED else _open(mark)
        except AtRestError as error:
            return json.dumps(f"(not readable: {error})")

    while is_kept(text):
        text, count = MARK.subn(show, text)
        if not count:
            return text
    return text


def sealed_words(text: str) -> str:
    """Return words of people as they are kept: encrypted, if there are keys.

    Raises:
        AtRestError: they cannot be encrypted.
    """
    vault: Any = _slot.vault
    if not text or vault is None:
        return text
    value = vault.seal(text)
    if value is not None:
        return mark_of(SEALED, value)
    # What only looks like a mark is not to be opened.
    return f" {text}" if WORDS.fullmatch(text) else text


def opened_words(text: str) -> str:
    """Return words of people as they were written.

    Raises:
        AtRestError: their key is missing, or they were changed.
    """
    mark = WORDS.fullmatch(text)
    return text if mark is None else _unsealed(mark[1])


def shown_words(text: str) -> str:
    """Return words of people as they were written; where they cannot be opened, that is told in their place."""
    try:
        return opened_words(text)
    except AtRestError as error:
        return f"(not readable: {error})"


def size_of(value: str) -> int:
    """Return how many bytes the file of a spilled text has, from its mark."""
    size = value.rpartition(":")[2]
    return int(size) if size.isdecimal() else 0


def _open(mark: re.Match[str]) -> str:
    if mark[1] == SEALED:
        return _unsealed(mark[2])
    text: str = _the_vault().load(mark[2])
    return text


def _unsealed(value: str) -> str:
    text: str = _the_vault().unseal(value)
    return text


def _the_vault() -> Any:
    if _slot.vault is None:
        raise AtRestError("What is sealed or spilled cannot be read before Django is ready.")
    return _slot.vault
