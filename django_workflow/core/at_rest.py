"""Texts as they are kept: what the codec wrote, or a mark in its place that says how to get it back.

A mark is a tag of the codec under a name that no type can have: ``sealed`` holds the text encrypted, ``spilled`` names
the file that holds it. A mark may stand where any value stands, so what is composed of kept texts can be read as well.
In what the codec wrote for a user no mark can stand: a dict with the tag's key is written as pairs, and a text's quotes
are escaped. Who opens marks is plugged in by ``apps.ready()``.
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


class Vault(Protocol):
    """Who opens marks."""

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


def size_of(value: str) -> int:
    """Return how many bytes the file of a spilled text has, from its mark."""
    size = value.rpartition(":")[2]
    return int(size) if size.isdecimal() else 0


def _open(mark: re.Match[str]) -> str:
    vault: Any = _slot.vault
    if vault is None:
        raise AtRestError("What is sealed or spilled cannot be read before Django is ready.")
    text: str = vault.unseal(mark[2]) if mark[1] == SEALED else vault.load(mark[2])
    return text
