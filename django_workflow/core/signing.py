"""Signed messages: a JWT over who may read what, when, and under which claims."""

from __future__ import annotations

import hmac
import re
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from json import JSONDecodeError, JSONDecoder, JSONEncoder
from typing import Any, Final

from jwt import PyJWS
from jwt.algorithms import HMACAlgorithm
from jwt.exceptions import InvalidAlgorithmError, InvalidSignatureError, PyJWTError

from django_workflow.core.durations import format_duration
from django_workflow.core.exceptions import InvalidOptionError, SignatureError

ALGORITHM: Final = "HS256"
LIFETIME: Final = timedelta(minutes=5)
LEEWAY_SECONDS: Final = 30
LONGEST_TOKEN: Final = 8 * 1024
SHORTEST_KEY: Final = 32

CLAIM_TYPES: Final[Mapping[str, type]] = {
    "iss": str,
    "sub": str,
    "iat": int,
    "nbf": int,
    "exp": int,
    "jti": str,
    "body": str,
}
# 32 bytes fill 42 characters and four bits of the last: other endings decode to the same bytes.
SIGNATURE_END: Final = re.compile(r"\.[\w-]{42}[AEIMQUYcgkosw048]", re.ASCII)
SIGNATURE_LENGTH: Final = 44

ENCODER: Final = JSONEncoder(allow_nan=False, separators=(",", ":"))
DECODER: Final = JSONDecoder()


class _CheckedKeys(HMACAlgorithm):
    """HS256 with keys that were looked at once: PyJWT asks of each message whether its key is one of another kind."""

    def __init__(self) -> None:
        super().__init__(HMACAlgorithm.SHA256)
        self._prepared: dict[str | bytes, bytes] = {}

    def prepare_key(self, key: str | bytes) -> bytes:
        """See `jwt.algorithms.Algorithm.prepare_key()`."""
        found = self._prepared.get(key)
        if found is None:
            found = self._prepared[key] = super().prepare_key(key)
        return found


class Signer:
    """Signs with the first key, and verifies with every one: the current, the next, old ones."""

    def __init__(self, keys: Sequence[str], issuer: str) -> None:
        """Take keys of at least 32 bytes; make one of any secret with ``derive_key``.

        Raises:
            InvalidOptionError: There is no key, or one is too short to be safe.
        """
        if isinstance(keys, str) or not keys:
            raise InvalidOptionError("Signing needs a tuple of keys with at least one in it.")
        self._keys = [key.encode() for key in keys]
        shortest = min(map(len, self._keys))
        if shortest < SHORTEST_KEY:
            raise InvalidOptionError(
                f"A signing key has {shortest} bytes, and {SHORTEST_KEY} are the least. "
                "Make one with `python -c 'import secrets; print(secrets.token_hex(32))'`."
            )
        self.issuer = issuer
        self._jws = PyJWS(algorithms=[])
        self._jws.register_algorithm(ALGORITHM, _CheckedKeys())

    def sign(
        self,
        *,
        subject: str,
        body: bytes,
        claims: Mapping[str, Any] | None = None,
        lifetime: timedelta = LIFETIME,
        now: datetime | None = None,
    ) -> str:
        """Return the token of a message.

        Args:
            subject: The URL or path the message is for.
            body: The message's body; its hash is signed.
            claims: What else is signed, as JSON values under names of the caller's.
            lifetime: How long the token is valid; short, for a message can be signed anew.
            now: The aware moment that counts as now, otherwise the machine's clock.

        Raises:
            InvalidOptionError: A claim has a reserved name, or the token would be too long.
        """
        issued_at = _seconds(now)
        payload = {
            "iss": self.issuer,
            "sub": subject,
            "iat": issued_at,
            "nbf": issued_at,
            "exp": issued_at + int(lifetime.total_seconds()),
            "jti": secrets.token_hex(16),
            "body": _body_hash(body),
        }
        if claims:
            if reserved := claims.keys() & CLAIM_TYPES.keys():
                raise InvalidOptionError(f"The claims {sorted(reserved)} are set by the signer.")
            payload.update(claims)
        token = self._jws.encode(ENCODER.encode(payload).encode(), self._keys[0], ALGORITHM)
        if len(token) > LONGEST_TOKEN:
            raise InvalidOptionError(
                f"The signature takes {len(token):,} bytes, and {LONGEST_TOKEN:,} are the most. "
                "Use a shorter URL and smaller claims."
            )
        return token

    def verify(
        self, token: str, *, subject: str, body: bytes, now: datetime | None = None
    ) -> dict[str, Any]:
        """Return the claims of a genuine token that is meant for this subject, body and moment.

        Clocks may differ by 30 seconds. A token is valid as often as it comes: what must
        happen once is for the caller to see to, by the claims.

        Raises:
            SignatureError: The message is not to be trusted; the text tells the operator why.
        """
        if not token:
            raise SignatureError("The message carries no signature.")
        if len(token) > LONGEST_TOKEN:
            raise SignatureError(f"The signature is longer than {LONGEST_TOKEN:,} characters.")
        claims = _parse_claims(self._verified_payload(token))
        if claims["iss"] != self.issuer:
            raise SignatureError(
                f'The message was signed by "{claims["iss"]}", and this door takes those of '
                f'"{self.issuer}".'
            )
        _check_times(claims, _seconds(now))
        if claims["sub"] != subject:
            raise SignatureError(
                f'The message was signed for "{claims["sub"]}" and came to "{subject}". Look at '
                'WORKFLOW["BASE_URL"], and at what proxies make of the URL.'
            )
        if claims["body"].rstrip("=") != _body_hash(body):
            raise SignatureError(
                "The body is not the one that was signed. Look for a proxy that changes it."
            )
        return claims

    def code(self, message: bytes) -> str:
        """Return the authentication code of a message that is bound to one question and needs no times."""
        return hmac.digest(self._keys[0], message, "sha256").hex()

    def proves(self, code: str, message: bytes) -> bool:
        """Tell whether the code is this message's, by any of the keys."""
        given = code.encode()
        return any(
            hmac.compare_digest(hmac.digest(key, message, "sha256").hex().encode(), given)
            for key in self._keys
        )

    def _verified_payload(self, token: str) -> bytes:
        # By index and `from None`, so that no frame of the traceback holds a key.
        for index in range(len(self._keys)):
            try:
                payload: bytes = self._jws.decode(token, self._keys[index], [ALGORITHM])
            except InvalidSignatureError:
                continue
            except InvalidAlgorithmError:
                raise SignatureError(
                    f"The signature is not made by {ALGORITHM}, the only algorithm accepted."
                ) from None
            except (PyJWTError, ValueError, RecursionError):
                raise SignatureError("The signature is not a JWT.") from None
            if not SIGNATURE_END.fullmatch(token[-SIGNATURE_LENGTH:]):
                raise SignatureError("The signature is not a JWT in its one correct spelling.")
            return payload
        raise SignatureError(
            "The message was signed with an unknown key. Add the old key to "
            'WORKFLOW["SIGNING_KEYS"] until all runs are done.'
        )


def derive_key(secret: str, purpose: str) -> str:
    """Return a signing key for one purpose, of which the secret cannot be learnt.

    The same arguments give the same key for ever: signatures and webhook addresses rest on it.
    """
    if not secret:
        raise InvalidOptionError("A signing key cannot be derived from an empty secret.")
    # HKDF-SHA256 (RFC 5869), of which one block is all that is needed.
    pseudorandom = hmac.digest(b"django_workflow.signing", secret.encode(), "sha256")
    return hmac.digest(pseudorandom, purpose.encode() + b"\x01", "sha256").hex()


def _parse_claims(payload: bytes) -> dict[str, Any]:
    try:
        claims = DECODER.decode(payload.decode())
    except (JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SignatureError("The signature holds no claims.") from error
    if not isinstance(claims, dict):
        raise SignatureError("The signature holds no claims.")
    for name, kind in CLAIM_TYPES.items():
        if type(claims.get(name)) is not kind:
            raise SignatureError(f'The signature lacks the claim "{name}", or it is malformed.')
    return claims


def _check_times(claims: Mapping[str, Any], now: int) -> None:
    expired_since = now - claims["exp"]
    if expired_since >= LEEWAY_SECONDS:
        raise SignatureError(
            f"The signature expired {_span(expired_since)} ago. Compare the clocks of the "
            "machines, or have the message sent again."
        )
    valid_in = max(claims["nbf"], claims["iat"]) - now
    if valid_in > LEEWAY_SECONDS:
        raise SignatureError(
            f"The signature is valid only in {_span(valid_in)}. Compare the clocks of the machines."
        )


def _span(seconds: int) -> str:
    # Bounded, for a timedelta overflows where an integer claim does not.
    return format_duration(timedelta(seconds=min(seconds, 10**10)), parts=2)


def _seconds(moment: datetime | None) -> int:
    return int(time.time() if moment is None else moment.timestamp())


def _body_hash(body: bytes) -> str:
    return urlsafe_b64encode(sha256(body).digest()).decode().rstrip("=")
