"""Texts encrypted, with AES-256-GCM under keys that are never used twice.

Each text has a key of its own, made of the secret and 24 random bytes that stand before it, so it does not matter how
many texts one secret seals. The name of the secret (a part of a hash of it) stands before it all, and is authenticated.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from functools import lru_cache
from hashlib import sha256
from importlib import import_module
from os import urandom
from typing import Any, Final

from django_workflow.conf import settings
from django_workflow.core.exceptions import AtRestError

try:
    # By name: types are checked where the extra "encryption" is not installed, too. A system check tells of that.
    AESGCM: Any = import_module("cryptography.hazmat.primitives.ciphers.aead").AESGCM
    InvalidTag: Any = import_module("cryptography.exceptions").InvalidTag
except ImportError:
    AESGCM = None
    InvalidTag = ValueError

RANDOM_BYTES: Final = 24
#: A key of its own for each text, so nothing else has to differ.
NONCE: Final = bytes(12)
INSTALL: Final = 'Install it: pip install "django-workflow[encryption]".'


def is_available() -> bool:
    """Tell whether the extra ``encryption`` is installed."""
    return AESGCM is not None


@lru_cache(maxsize=64)
def name_of(key: str) -> str:
    """Return the name under which texts say with which key they were sealed."""
    return sha256(b"django_workflow.at_rest.name\0" + key.encode()).hexdigest()[:8]


@lru_cache(maxsize=64)
def _secret_of(key: str) -> bytes:
    return sha256(b"django_workflow.at_rest.secret\0" + key.encode()).digest()


def seal(text: str, key: str) -> str:
    """Return the text encrypted with this key.

    Raises:
        AtRestError: the extra ``encryption`` is not installed.
    """
    own, name = urandom(RANDOM_BYTES), name_of(key)
    content = _cipher(key, own).encrypt(NONCE, text.encode(), name.encode())
    return f"{name}.{urlsafe_b64encode(own + content).decode()}"


def unseal(value: str) -> str:
    """Return the text that was sealed with one of ``WORKFLOW["ENCRYPTION_KEYS"]``.

    Raises:
        AtRestError: none of them is the key, or what was sealed is not what it was.
    """
    name, _, token = value.partition(".")
    key = next((key for key in settings().ENCRYPTION_KEYS if name_of(key) == name), None)
    if key is None:
        raise AtRestError(
            f'It is sealed with the key "{name}", which WORKFLOW["ENCRYPTION_KEYS"] of this process does not hold. '
            "Add that key behind the first one; the run goes on by itself.",
            key=name,
        )
    try:
        content = urlsafe_b64decode(token)
        own = content[:RANDOM_BYTES]
        text: str = _cipher(key, own).decrypt(NONCE, content[RANDOM_BYTES:], name.encode()).decode()
    except (InvalidTag, ValueError) as error:
        raise AtRestError(
            f'It does not open with its key "{name}": what is stored was changed since. Put it back from a backup; '
            "the run goes on by itself.",
            key=name,
        ) from error
    return text


def _cipher(key: str, own: bytes) -> Any:
    if AESGCM is None:
        raise AtRestError(f"Texts are sealed by the package cryptography. {INSTALL}")
    return AESGCM(hmac.digest(_secret_of(key), own, "sha256"))
