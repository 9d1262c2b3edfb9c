"""Long texts in files of a Django storage, each written once and never changed.

A file's name is the day it was written, the hash of what is in it, and something random: no two writers share a file,
so who removes one that nothing refers to never takes it from somebody who is about to refer to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from hashlib import sha256
from secrets import token_hex
from typing import Final

from django.core.files.base import ContentFile
from django.core.files.storage import Storage, storages

from django_workflow.conf import settings
from django_workflow.core.exceptions import AtRestError

FOLDER: Final = "django_workflow"
HASH_LENGTH: Final = 64
PLAIN: Final = "json"


def _storage() -> tuple[str, Storage]:
    alias = settings().SPILL_STORAGE
    if alias is None:
        raise AtRestError(
            'It is kept in a file, and WORKFLOW["SPILL_STORAGE"] of this process names no storage. Set it.'
        )
    return alias, storages[alias]


def spill(text: str, key: str = "") -> str:
    """Write the text to a file, and return how to find it again: name and length; the hash is in the name.

    ``key`` names the key with which the text is encrypted, and ends the file's name.

    Raises:
        AtRestError: the storage does not take it.
    """
    alias, storage = _storage()
    content = text.encode()
    name = (
        f"{datetime.now(UTC):%Y-%m-%d}/{sha256(content).hexdigest()}-{token_hex(4)}.{key or PLAIN}"
    )
    path = f"{FOLDER}/{name}"
    try:
        written = storage.save(path, ContentFile(content))
    except Exception as error:  # broad: every storage has errors of its own
        raise AtRestError(
            f'{len(content):,} bytes could not be written to STORAGES["{alias}"]: {type(error).__name__}: {error}.',
            file=path,
        ) from error
    if written != path:
        raise AtRestError(
            f'STORAGES["{alias}"] wrote the file "{path}" as "{written}". WORKFLOW["SPILL_STORAGE"] needs a storage that '
            "keeps names.",
            file=path,
        )
    return f"{name}:{len(content)}"


def load(value: str) -> str:
    """Return the text of a file.

    Raises:
        AtRestError: the file cannot be read, or holds something else.
    """
    name, _, length = value.rpartition(":")
    alias, storage = _storage()
    path = f"{FOLDER}/{name}"
    advice = "Put it back from a backup; the run goes on by itself."
    try:
        with storage.open(path) as file:
            content: bytes = file.read()
    except Exception as error:  # broad: every storage has errors of its own
        raise AtRestError(
            f'Its file "{path}" ({length} bytes) in STORAGES["{alias}"] cannot be read: {type(error).__name__}: {error}. '
            f"{advice}",
            file=path,
        ) from error
    found = sha256(content).hexdigest()
    if found != name.rpartition("/")[2][:HASH_LENGTH]:
        raise AtRestError(
            f'Its file "{path}" in STORAGES["{alias}"] is not what was written: {len(content)} bytes with the SHA-256 '
            f"{found}, where {length} bytes were. {advice}",
            file=path,
        )
    return content.decode()


def key_of(value: str) -> str:
    """Return the name of the key with which a file's text is encrypted; no key's name where it is not."""
    return value.rpartition(":")[0].rpartition(".")[2]


def files_before(day: date) -> Iterator[str]:
    """Return the names of the files that were written before a day."""
    _, storage = _storage()
    try:
        days, _ = storage.listdir(FOLDER)
    except FileNotFoundError:
        return
    for found in sorted(days):
        if len(found) == len("2000-01-01") and found < day.isoformat():
            yield from (f"{found}/{name}" for name in storage.listdir(f"{FOLDER}/{found}")[1])


def delete(name: str) -> None:
    """Delete a file."""
    _storage()[1].delete(f"{FOLDER}/{name}")
