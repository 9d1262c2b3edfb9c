"""The signer of this project, and its key of redaction: by ``WORKFLOW["SIGNING_KEYS"]``, else by ``SECRET_KEY``."""

from __future__ import annotations

from functools import cache
from typing import Any

from django.conf import settings as django_settings
from django.core.signals import setting_changed

from django_workflow.conf import settings
from django_workflow.core.signing import Signer, derive_key

PURPOSE = "deliveries"
REDACTION = "redaction"


@cache
def signer() -> Signer:
    """Return the signer of deliveries and of their answers.

    Raises:
        InvalidOptionError: ``WORKFLOW`` cannot work.
    """
    keys = settings().SIGNING_KEYS
    if not keys:
        secrets = (django_settings.SECRET_KEY, *django_settings.SECRET_KEY_FALLBACKS)
        keys = tuple(derive_key(_text(secret), PURPOSE) for secret in secrets)
    return Signer(keys, settings().ISSUER)


@cache
def redaction_key() -> bytes:
    """Return the key of the marks that stand for redacted values: derived from the current key of the project."""
    keys = settings().SIGNING_KEYS
    secret = keys[0] if keys else _text(django_settings.SECRET_KEY)
    return bytes.fromhex(derive_key(secret, REDACTION))


def _text(secret: str | bytes) -> str:
    return secret if isinstance(secret, str) else secret.decode("latin-1")


def _forget(*, setting: str, **_: Any) -> None:
    if setting in {"WORKFLOW", "SECRET_KEY", "SECRET_KEY_FALLBACKS"}:
        signer.cache_clear()
        redaction_key.cache_clear()


setting_changed.connect(_forget, dispatch_uid="django_workflow.keys")
