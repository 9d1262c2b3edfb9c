"""What a webhook is asked to be, and what a workflow is told of its calls. Values only."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from json import loads
from typing import Any, Final

from django_workflow.core.durations import parse_duration, parse_moment
from django_workflow.core.exceptions import InvalidOptionError
from django_workflow.core.importable import dotted_path
from django_workflow.core.types import JSONValue
from django_workflow.core.webhook_verifiers import Signature

#: Headers whose values open something, or are said to; also whatever holds one of the words below.
SECRET_HEADERS: Final = frozenset({"authorization", "cookie", "proxy-authorization"})
SECRET_WORDS: Final = (
    "api-key",
    "apikey",
    "auth",
    "hmac",
    "password",
    "secret",
    "signature",
    "token",
)
MASK: Final = "…"
#: How a stored request is known among other values.
REQUEST_KEYS: Final = frozenset(
    {"method", "url", "headers", "query", "content_type", "content", "is_base64"}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Webhook:
    """A URL that belongs to one run, as ``ctx.create_webhook()`` returns it."""

    #: What to give to whoever is to call. Whoever knows it may.
    webhook_url: str
    event_id: str
    workflow_run_id: str

    @classmethod
    def from_record(cls, stored: Mapping[str, Any]) -> Webhook:
        """Build it from its stored form."""
        return cls(
            webhook_url=stored["webhook_url"],
            event_id=stored["event_id"],
            workflow_run_id=stored["workflow_run_id"],
        )


class Headers(Mapping[str, str]):
    """Headers, whose names may be written in any case."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = {name.lower(): (name, value) for name, value in headers.items()}

    def __getitem__(self, name: str) -> str:
        return self._headers[name.lower()][1]

    def __iter__(self) -> Iterator[str]:
        return iter([name for name, _ in self._headers.values()])

    def __len__(self) -> int:
        return len(self._headers)

    def __repr__(self) -> str:
        return f"Headers({masked(dict(self))!r})"


@dataclass(frozen=True, kw_only=True, slots=True)
class WebhookRequest:
    """One call of a webhook, whole."""

    method: str
    url: str
    headers: Mapping[str, str]
    #: The values of each parameter, in their order.
    query: Mapping[str, list[str]]
    content_type: str
    #: The body as it came: its text, or where it is no UTF-8 its bytes as base64.
    content: str
    is_base64: bool = False

    @property
    def body(self) -> Any:
        """The body: decoded if it is JSON, else its text; of bytes that are no text, their base64."""
        if self.is_base64 or not self.content:
            return self.content
        kind = self.content_type.partition(";")[0].strip().lower()
        if kind != "application/json" and not kind.endswith("+json"):
            return self.content
        try:
            return loads(self.content)
        except (ValueError, RecursionError):
            return self.content

    @property
    def raw(self) -> bytes:
        """The bytes of the body, as a signature was made of them."""
        return b64decode(self.content) if self.is_base64 else self.content.encode()

    def to_json(self) -> dict[str, JSONValue]:
        """Return the stored form."""
        return {
            "method": self.method,
            "url": self.url,
            "query": {name: list(values) for name, values in self.query.items()},
            "content_type": self.content_type,
            "content": self.content,
            "is_base64": self.is_base64,
            # Last, so that a window that shows the beginning of a long text can leave them out.
            "headers": dict(self.headers),
        }

    @classmethod
    def from_json(cls, stored: Any) -> WebhookRequest:
        """Build it from its stored form; what is no call, from an event of another kind, is a body alone."""
        if not isinstance(stored, Mapping) or "is_base64" not in stored:
            stored = {"content": "" if stored is None else str(stored)}
        return cls(
            method=stored.get("method", ""),
            url=stored.get("url", ""),
            headers=Headers(stored.get("headers", {})),
            query=stored.get("query", {}),
            content_type=stored.get("content_type", ""),
            content=stored["content"],
            is_base64=stored.get("is_base64", False),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class WebhookResult:
    """How a wait for a webhook ended."""

    timed_out: bool
    #: The call; None after a timeout.
    request: WebhookRequest | None = None

    @property
    def timeout(self) -> bool:
        """The same as ``timed_out``, under the seeds' name."""
        return self.timed_out

    @classmethod
    def from_record(cls, stored: Mapping[str, Any]) -> WebhookResult:
        """Build a result from its stored form."""
        events = stored["events"]
        request = WebhookRequest.from_json(events[0]["event_data"]) if events else None
        return cls(timed_out=stored["timed_out"], request=request)


@dataclass(frozen=True, kw_only=True, slots=True)
class WebhookOptions:
    """What a webhook accepts, and what it answers."""

    #: The dotted path of a callable, or the stored form of a `Signature`.
    verifier: JSONValue = None
    single_use: bool = False
    expires_in: timedelta | None = None
    expires_at: datetime | None = None
    max_bytes: int | None = None
    #: The answer's JSON, or the dotted path of what makes it.
    answer: JSONValue = None

    @classmethod
    def of(
        cls, verifier: Any, single_use: Any, expires: Any, max_bytes: Any, response: Any
    ) -> WebhookOptions:
        """Check what a user asked for.

        Raises:
            InvalidOptionError: an argument cannot work.
        """
        if not isinstance(single_use, bool):
            raise InvalidOptionError(f"single_use is True or False, not {single_use!r}.")
        is_count = isinstance(max_bytes, int) and not isinstance(max_bytes, bool) and max_bytes > 0
        if max_bytes is not None and not is_count:
            raise InvalidOptionError(
                f"max_bytes must be a whole number of 1 or more, not {max_bytes!r}."
            )
        is_moment = isinstance(expires, datetime)
        expires_in = None if expires is None or is_moment else parse_duration(expires)
        if expires_in == timedelta(0):
            raise InvalidOptionError("A webhook must not expire at once.")
        return cls(
            verifier=_verifier(verifier),
            single_use=single_use,
            expires_in=expires_in,
            expires_at=parse_moment(expires) if is_moment else None,
            max_bytes=max_bytes,
            answer={"call": dotted_path(response, "response")}
            if callable(response)
            else {"value": response},
        )

    def to_json(self) -> dict[str, JSONValue]:
        """Return what is recorded for the timeline and the drift check."""
        found: dict[str, JSONValue] = {}
        if self.verifier is not None:
            found["verifier"] = self.verifier
        if self.single_use:
            found["single_use"] = True
        if self.expires_in is not None:
            found["seconds"] = self.expires_in.total_seconds()
        if self.expires_at is not None:
            found["expires_at"] = self.expires_at.isoformat()
        if self.max_bytes is not None:
            found["max_bytes"] = self.max_bytes
        return found


def _verifier(verifier: Any) -> JSONValue:
    if verifier is None:
        return None
    if isinstance(verifier, Signature):
        return verifier.to_json()
    return dotted_path(verifier, "verifier")


def check_webhook(webhook: Any, run_id: str) -> Webhook:
    """Return the webhook, or refuse what a run cannot wait for.

    Raises:
        InvalidOptionError: it is no webhook, or that of another run, whose calls never come here.
    """
    if not isinstance(webhook, Webhook):
        raise InvalidOptionError(
            f"wait_for_webhook is given what create_webhook returned, not {webhook!r}."
        )
    if webhook.workflow_run_id != run_id:
        raise InvalidOptionError(
            f'The webhook belongs to run "{webhook.workflow_run_id}", and its calls go there alone; run "{run_id}" would '
            "wait in vain. Create one here with ctx.create_webhook()."
        )
    return webhook


def masked(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers as they may be shown: without the values that open something."""
    return {name: MASK if _is_secret(name.lower()) else value for name, value in headers.items()}


def _is_secret(name: str) -> bool:
    return name in SECRET_HEADERS or any(word in name for word in SECRET_WORDS)
