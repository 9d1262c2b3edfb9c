"""When an answer asks to be asked again: ``Retry-After`` and ``X-RateLimit-Reset``, in all the forms that servers use."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

#: Beyond this a server is not believed, and the retry policy decides.
LONGEST: Final = timedelta(days=1)
#: A number as large as this is a moment in unix seconds.
EPOCH_SECONDS: Final = 1_000_000_000

UNIT_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}
PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)", re.ASCII)
NUMBER: Final = re.compile(r"\d{1,15}(?:\.\d{1,9})?", re.ASCII)

RESETS: Final = (
    "x-ratelimit-reset",
    "x-ratelimit-reset-requests",
    "x-ratelimit-reset-tokens",
    "ratelimit-reset",
)

#: Answers after which another attempt may be answered otherwise; any 5xx is one more.
RETRIED: Final = frozenset({408, 425, 429})
#: Answers that speak of a limit, so that the moment of its reset means this request.
LIMITED: Final = frozenset({429, 503})


def is_retried(status: int) -> bool:
    """Tell whether a call is tried again after an answer of this status, as long as it has retries."""
    return status in RETRIED or status >= 500


def asked_delay(status: int, headers: Mapping[str, str], now: datetime) -> timedelta | None:
    """Return how long the answer asks to wait, or None where it says nothing that can be believed."""
    asked = _delay(headers.get("retry-after"), now)
    if asked is not None or status not in LIMITED:
        return asked
    # Several limits: the last one to be reset counts.
    found = [_delay(headers.get(name), now) for name in RESETS]
    return max((delay for delay in found if delay is not None), default=None)


def _delay(text: str | None, now: datetime) -> timedelta | None:
    text = (text or "").strip()
    if NUMBER.fullmatch(text):
        seconds = float(text)
        if seconds >= EPOCH_SECONDS:
            seconds -= now.timestamp()
        return _believed(seconds)
    parts = PART.findall(text)
    if parts and "".join(figure + unit for figure, unit in parts) == text.replace(" ", ""):
        return _believed(sum(float(figure) * UNIT_SECONDS[unit] for figure, unit in parts))
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return _believed((moment - now).total_seconds())


def _believed(seconds: float) -> timedelta | None:
    return None if seconds > LONGEST.total_seconds() else timedelta(seconds=max(0.0, seconds))
