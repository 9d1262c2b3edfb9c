"""Signatures of webhook calls, as common providers make them: an HMAC of the body under a shared secret.

A verifier names the setting that holds the secret, never the secret itself: what is stored with a webhook gives nothing
away. The setting holds one secret, or a list of them while one is being replaced.
"""

from __future__ import annotations

import hmac as _hmac
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django_workflow.core.durations import parse_duration
from django_workflow.core.exceptions import InvalidOptionError
from django_workflow.core.types import JSONValue

ALGORITHMS: Final = ("sha256", "sha512", "sha1")
ENCODINGS: Final = ("hex", "base64")
FIVE_MINUTES: Final = timedelta(minutes=5)


@dataclass(frozen=True, kw_only=True, slots=True)
class Signature:
    """How calls are signed. Made by the functions of this module."""

    scheme: str
    #: The name of the Django setting that holds the secret.
    secret: str
    header: str
    algorithm: str = "sha256"
    encoding: str = "hex"
    prefix: str = ""
    #: How old a signed time may be, for schemes that have one.
    tolerance: timedelta = FIVE_MINUTES

    def __post_init__(self) -> None:
        """Refuse what cannot be a setting's name, or an algorithm."""
        if not isinstance(self.secret, str) or not self.secret.isidentifier():
            raise InvalidOptionError(
                "A verifier is given the name of the setting that holds its secret, as "
                'webhook_verifiers.github("GITHUB_WEBHOOK_SECRET").'
            )
        if self.algorithm not in ALGORITHMS or self.encoding not in ENCODINGS:
            raise InvalidOptionError(
                f"A signature is made by {', '.join(ALGORITHMS)} and written as {' or '.join(ENCODINGS)}, not "
                f"{self.algorithm!r} and {self.encoding!r}."
            )
        if not isinstance(self.header, str) or not self.header:
            raise InvalidOptionError(f"header is the name of a header, not {self.header!r}.")

    def to_json(self) -> dict[str, JSONValue]:
        """Return the stored form."""
        return {
            "scheme": self.scheme,
            "secret": self.secret,
            "header": self.header,
            "algorithm": self.algorithm,
            "encoding": self.encoding,
            "prefix": self.prefix,
            "seconds": self.tolerance.total_seconds(),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Signature:
        """Build it from its stored form."""
        fields = {name: value for name, value in stored.items() if name != "seconds"}
        return cls(**fields, tolerance=timedelta(seconds=stored["seconds"]))

    def is_genuine(
        self, headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: datetime
    ) -> bool:
        """Tell whether the call was signed with one of the secrets, and lately where the scheme says when."""
        given = headers.get(self.header, "")
        signatures, signed_at, signed = self._read(given, headers, body)
        if signed_at is not None and not self._is_recent(signed_at, now):
            return False
        expected = [self._signature(secret, signed) for secret in secrets]
        # Every pair is compared, so that the time taken tells nothing of which one fits.
        fits = [
            _hmac.compare_digest(one.encode("utf-8", "replace"), other.encode())
            for one in signatures
            for other in expected
        ]
        return any(fits)

    def _read(
        self, given: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[list[str], str | None, bytes]:
        if self.scheme == "stripe":
            parts = [part.strip().partition("=") for part in given.split(",")]
            stamp = next((value for name, _, value in parts if name == "t"), "")
            signatures = [value for name, _, value in parts if name == "v1"]
            return signatures, stamp, stamp.encode("utf-8", "replace") + b"." + body
        if self.scheme == "slack":
            signed_at: str | None = headers.get("X-Slack-Request-Timestamp", "")
            signed = b"v0:" + (signed_at or "").encode("utf-8", "replace") + b":" + body
        else:
            signed_at, signed = None, body
        if not given.startswith(self.prefix):
            return [], signed_at, signed
        return [given.removeprefix(self.prefix)], signed_at, signed

    def _is_recent(self, signed_at: str, now: datetime) -> bool:
        if not (signed_at.isascii() and signed_at.isdecimal() and len(signed_at) < 13):
            return False
        return abs(now.timestamp() - int(signed_at)) <= self.tolerance.total_seconds()

    def _signature(self, secret: str, signed: bytes) -> str:
        made = _hmac.new(secret.encode(), signed, self.algorithm)
        return made.hexdigest() if self.encoding == "hex" else b64encode(made.digest()).decode()


def github(secret: str) -> Signature:
    """Return the verifier of GitHub's calls: ``X-Hub-Signature-256``."""
    return Signature(scheme="github", secret=secret, header="X-Hub-Signature-256", prefix="sha256=")


def stripe(secret: str, *, tolerance: Any = FIVE_MINUTES) -> Signature:
    """Return the verifier of Stripe's calls: ``Stripe-Signature``, not older than ``tolerance``."""
    return Signature(
        scheme="stripe",
        secret=secret,
        header="Stripe-Signature",
        tolerance=parse_duration(tolerance),
    )


def slack(secret: str, *, tolerance: Any = FIVE_MINUTES) -> Signature:
    """Return the verifier of Slack's calls: ``X-Slack-Signature``, not older than ``tolerance``."""
    return Signature(
        scheme="slack",
        secret=secret,
        header="X-Slack-Signature",
        prefix="v0=",
        tolerance=parse_duration(tolerance),
    )


def shopify(secret: str) -> Signature:
    """Return the verifier of Shopify's calls: ``X-Shopify-Hmac-Sha256``."""
    return Signature(
        scheme="shopify", secret=secret, header="X-Shopify-Hmac-Sha256", encoding="base64"
    )


def hmac(
    secret: str,
    *,
    header: str,
    algorithm: str = "sha256",
    encoding: str = "hex",
    prefix: str = "",
) -> Signature:
    """Return a verifier for any provider that sends an HMAC of the body in a header.

    Raises:
        InvalidOptionError: an argument cannot work.
    """
    return Signature(
        scheme="hmac",
        secret=secret,
        header=header,
        algorithm=algorithm,
        encoding=encoding,
        prefix=prefix,
    )
