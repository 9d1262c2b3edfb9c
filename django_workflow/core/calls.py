"""What ``ctx.call`` asks of another server, and what a workflow is told of its answer. Values only."""

from __future__ import annotations

import json as json_module
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from django_workflow.core.exceptions import (
    InvalidOptionError,
    NotSerializableError,
    PayloadTooLargeError,
)
from django_workflow.core.types import JSONValue

URL_LENGTH: Final = 8_192
REQUEST_BYTES: Final = 10_000_000
HEADER_BYTES: Final = 65_536
IDEMPOTENCY_HEADER: Final = "Idempotency-Key"
MASK: Final = "********"

JSON_TYPE: Final = "application/json"
FORM_TYPE: Final = "application/x-www-form-urlencoded"

METHOD: Final = re.compile(r"[A-Z]{1,20}")
#: A token of RFC 9110.
HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}")
#: Names of headers and of parameters whose values are nobody's business.
SECRET: Final = re.compile(
    r"auth(?!ors?$|or[-_])|cookie|token|secret|passw|pwd|credential|signature|session|jwt|api-?_?key|access-?_?key|private|(^|[-_])(key|sig)($|[-_])",
    re.IGNORECASE,
)
#: What says how the message travels is said by who sends it.
OF_THE_CONNECTION: Final = frozenset(
    {
        "connection",
        "content-length",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
    }
    | {"te", "trailer", "transfer-encoding", "upgrade"}
)


def is_secret(name: str) -> bool:
    """Tell whether the value under this name is masked wherever it is shown."""
    return name.lower() != IDEMPOTENCY_HEADER.lower() and SECRET.search(name) is not None


class Headers(Mapping[str, str]):
    """The headers of an answer; names are found whatever their case."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._pairs = tuple((str(name), str(value)) for name, value in pairs)
        self._values: dict[str, str] = {}
        for name, value in self._pairs:
            known = self._values.get(name.lower())
            self._values[name.lower()] = value if known is None else f"{known}, {value}"

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        shown = {name: MASK if is_secret(name) else value for name, value in self._values.items()}
        return f"Headers({shown})"

    def get_list(self, name: str) -> list[str]:
        """Return every value of a header that may come several times, as ``Set-Cookie``."""
        return [value for known, value in self._pairs if known.lower() == name.lower()]


@dataclass(frozen=True, kw_only=True, slots=True)
class CallResult:
    """The answer to a call, whatever its status."""

    status: int
    headers: Headers
    #: Decoded JSON where the answer says that it is JSON, else text, or bytes where it is none; empty: ``""``.
    body: Any

    @classmethod
    def from_record(cls, stored: Mapping[str, Any]) -> CallResult:
        """Build it from its stored form."""
        body = stored["body"]
        return cls(
            status=stored["status"],
            headers=Headers((name, value) for name, value in stored["headers"]),
            body=b64decode(body) if stored["form"] == "base64" else body,
        )


def stored_result(
    status: int, headers: Iterable[tuple[str, str]], body: JSONValue, form: str
) -> dict[str, JSONValue]:
    """Return the stored form of an answer; see `stored_body()`."""
    pairs: list[JSONValue] = [[name, value] for name, value in headers]
    return {"status": status, "headers": pairs, "body": body, "form": form}


def stored_body(content: bytes, content_type: str) -> tuple[JSONValue, str]:
    """Return a body as it is stored, and in which form: ``json``, ``text`` or ``base64``."""
    media, _, parameters = content_type.partition(";")
    media = media.strip().lower()
    if not content:
        return "", "text"
    is_json = media == JSON_TYPE or media.endswith("+json")
    if is_json:
        try:
            value: JSONValue = json_module.loads(content, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            pass
        else:
            return value, "json"
    text = _text_of(content, media, parameters, is_text=is_json)
    return (b64encode(content).decode("ascii"), "base64") if text is None else (text, "text")


def _refuse_constant(name: str) -> JSONValue:
    raise ValueError(f"{name} is no JSON.")


def _text_of(content: bytes, media: str, parameters: str, *, is_text: bool) -> str | None:
    is_text = (
        is_text
        or media.startswith("text/")
        or media.endswith(("+xml", "/xml", "/javascript", "/x-ndjson"))
        or media == FORM_TYPE
    )
    if not is_text and media:
        return None
    found = re.search(r"charset\s*=\s*[\"']?([\w.:-]+)", parameters, re.IGNORECASE)
    try:
        return content.decode(found[1] if found else "utf-8")
    except (LookupError, UnicodeError, ValueError):
        # Without a type it is text if it reads as text.
        return content.decode("utf-8", "replace") if is_text else None


@dataclass(frozen=True, kw_only=True, slots=True)
class CallRequest:
    """What is asked of the other server, checked."""

    method: str
    url: str
    # Not in its repr, which debug pages and logs show.
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)

    @classmethod
    def of(
        cls, url: Any, *, method: Any, json: Any, form: Any, body: Any, headers: Any
    ) -> CallRequest:
        """Check what a user asked for.

        Raises:
            InvalidOptionError: an argument cannot work.
            NotSerializableError: ``json`` is no JSON.
            PayloadTooLargeError: the body is too long.
        """
        given = [
            name
            for name, value in (("json", json), ("form", form), ("body", body))
            if value is not None
        ]
        if len(given) > 1:
            raise InvalidOptionError(f"A call has one body: give {given[0]}= or {given[1]}=.")
        pairs = _checked_headers(headers)
        named = next((value for name, value in pairs if name.lower() == "content-type"), None)
        content, content_type = _content_of(json, form, body, named)
        if len(content) > REQUEST_BYTES:
            raise PayloadTooLargeError(
                f"The body of the call takes {len(content):,} bytes, and at most {REQUEST_BYTES:,} are sent. "
                "Upload it in a ctx.run step.",
                size=len(content),
                limit=REQUEST_BYTES,
            )
        if content_type and named is None:
            pairs = (*pairs, ("Content-Type", content_type))
        return cls(method=_checked_method(method), url=check_url(url), headers=pairs, body=content)

    def arguments(self) -> dict[str, JSONValue]:
        """Return what is compared at replay and shown to people: method and URL, its secrets masked."""
        return {"method": self.method, "url": masked_url(self.url)}

    def to_json(self) -> dict[str, JSONValue]:
        """Return the stored form."""
        try:
            body, is_binary = self.body.decode("utf-8"), False
        except UnicodeDecodeError:
            body, is_binary = b64encode(self.body).decode("ascii"), True
        headers: list[JSONValue] = [[name, value] for name, value in self.headers]
        return {
            "method": self.method,
            "url": self.url,
            "headers": headers,
            "body": body,
            "is_binary": is_binary,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> CallRequest:
        """Build a request from its stored form."""
        body = stored["body"]
        return cls(
            method=stored["method"],
            url=stored["url"],
            headers=tuple((name, value) for name, value in stored["headers"]),
            body=b64decode(body) if stored["is_binary"] else body.encode(),
        )

    def with_default_header(self, name: str, value: str) -> CallRequest:
        """Return the request with this header, unless it has one of that name."""
        if any(known.lower() == name.lower() for known, _ in self.headers):
            return self
        headers = (*self.headers, (name, value))
        return CallRequest(method=self.method, url=self.url, headers=headers, body=self.body)

    def masked(self) -> CallRequest:
        """Return the request as people may see it."""
        headers = tuple((name, MASK if is_secret(name) else value) for name, value in self.headers)
        return CallRequest(
            method=self.method, url=masked_url(self.url), headers=headers, body=self.body
        )


def _checked_method(method: Any) -> str:
    name = method.upper() if isinstance(method, str) else ""
    if METHOD.fullmatch(name) is None or name in {"CONNECT", "TRACE"}:
        raise InvalidOptionError(
            f"method is one of HTTP, as GET, POST, PUT, PATCH or DELETE, not {method!r}."
        )
    return name


def check_url(url: Any) -> str:
    """Return the URL, or refuse what can be no address of another server.

    Which networks may be reached is decided when the call is made.

    Raises:
        InvalidOptionError: it is no http or https URL, holds a password, or characters that URLs do not have.
    """
    if not isinstance(url, str) or not url:
        raise InvalidOptionError(f"The URL of a call is a text, not {url!r}.")
    if len(url) > URL_LENGTH:
        raise InvalidOptionError(
            f"The URL of a call may have {URL_LENGTH:,} characters, not {len(url):,}."
        )
    shown = masked_url(url)
    if any(character <= " " or character == "\x7f" or character == "\\" for character in url):
        raise InvalidOptionError(
            f"The URL {shown!r} holds a space, a backslash or a control character; quote it."
        )
    if any("\ud800" <= character <= "\udfff" for character in url):
        raise InvalidOptionError(f"The URL {shown!r} holds half of a surrogate pair.")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidOptionError(f"The URL {shown!r} cannot be read: {error}.") from error
    if parts.scheme not in {"http", "https"}:
        raise InvalidOptionError(
            f"A call goes to a URL that begins with http:// or https://, not {shown!r}."
        )
    if not host:
        raise InvalidOptionError(f"The URL {shown!r} names no host.")
    if parts.username is not None or parts.password is not None:
        raise InvalidOptionError(
            f"The URL {shown!r} holds a user or a password. Send them in the Authorization header, which is masked."
        )
    return str.__str__(url)


def masked_url(url: str) -> str:
    """Return the URL without its password, and without the values of parameters that sound secret."""
    try:
        parts = urlsplit(url)
        if "@" in parts.netloc:
            parts = parts._replace(netloc=f"{MASK}@{parts.netloc.rpartition('@')[2]}")
        query = parse_qsl(parts.query, keep_blank_values=True)
        if any(is_secret(name) for name, _ in query):
            masked = [(name, MASK if is_secret(name) else value) for name, value in query]
            parts = parts._replace(query=urlencode(masked, safe="*"))
        return urlunsplit(parts)
    except ValueError:
        return url.partition("?")[0].rpartition("@")[2]


def _checked_headers(headers: Any) -> tuple[tuple[str, str], ...]:
    if headers is None:
        return ()
    if not isinstance(headers, Mapping):
        raise InvalidOptionError(f"headers must be texts by text, not a {type(headers).__name__}.")
    pairs = tuple(_checked_header(name, value) for name, value in headers.items())
    if sum(len(name) + len(value) for name, value in pairs) > HEADER_BYTES:
        raise InvalidOptionError(f"The headers of a call may have {HEADER_BYTES:,} bytes together.")
    return pairs


def _checked_header(name: Any, value: Any) -> tuple[str, str]:
    if not isinstance(name, str) or HEADER_NAME.fullmatch(name) is None:
        raise InvalidOptionError(f"{name!r} is no name of a header.")
    if name.lower() in OF_THE_CONNECTION:
        raise InvalidOptionError(f'Header "{name}" says how the request travels; leave it out.')
    # The value may be a secret, so no message repeats it.
    if not isinstance(value, str):
        raise InvalidOptionError(
            f'The value of header "{name}" is a text, not a {type(value).__name__}.'
        )
    if any(character in "\r\n\x00" for character in value):
        raise InvalidOptionError(f'The value of header "{name}" holds a line break or a NUL.')
    try:
        value.encode("latin-1")
    except UnicodeEncodeError as error:
        raise InvalidOptionError(
            f'The value of header "{name}" holds a character outside Latin-1 at {error.start}; encode it.'
        ) from None
    return str.__str__(name), value.strip(" \t")


def _content_of(json: Any, form: Any, body: Any, named: str | None) -> tuple[bytes, str]:
    """Return the body as bytes, and its type where it has one of its own."""
    if json is not None:
        return _json_bytes(json), JSON_TYPE
    if form is None and isinstance(body, Mapping):
        if named is None or named.partition(";")[0].strip().lower() != FORM_TYPE:
            raise InvalidOptionError(
                "body is a text or bytes. Give a dict as json=…, or as form=… for a form."
            )
        form, body = body, None
    if form is not None:
        return _form_bytes(form), FORM_TYPE
    if isinstance(body, str):
        try:
            return body.encode(), "text/plain; charset=utf-8"
        except UnicodeEncodeError as error:
            raise InvalidOptionError(
                f"body holds half of a surrogate pair at {error.start}."
            ) from None
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body), "application/octet-stream"
    if body is not None:
        raise InvalidOptionError(
            f"body is a text or bytes, not a {type(body).__name__}. Give other values as json=…"
        )
    return b"", ""


def _json_bytes(value: Any) -> bytes:
    try:
        return json_module.dumps(
            value, allow_nan=False, ensure_ascii=True, separators=(",", ":")
        ).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise NotSerializableError(
            f"json= of a call is sent as plain JSON, and this is none: {error}. Turn what it names into text or numbers.",
            path="json",
        ) from error


def _form_bytes(form: Any) -> bytes:
    if not isinstance(form, Mapping):
        raise InvalidOptionError(f"form is a dict of fields, not a {type(form).__name__}.")
    for name, value in form.items():
        parts = value if isinstance(value, list | tuple) else [value]
        if not isinstance(name, str) or not all(
            isinstance(one, str | int | float) for one in parts
        ):
            raise InvalidOptionError(
                f"Field {name!r} of a form is a text, a number, or a list of those."
            )
    try:
        return urlencode(form, doseq=True).encode()
    except UnicodeEncodeError:
        raise InvalidOptionError("A field of the form holds half of a surrogate pair.") from None
