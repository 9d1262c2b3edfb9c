from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from django_workflow.core.calls import (
    MASK,
    REQUEST_BYTES,
    CallRequest,
    CallResult,
    Headers,
    is_secret,
    masked_url,
    stored_body,
    stored_result,
)
from django_workflow.core.exceptions import NotSerializableError, PayloadTooLargeError
from django_workflow.core.retry_after import asked_delay, is_retried

NOW = datetime(2030, 6, 1, 12, tzinfo=UTC)


def of(**given: Any) -> CallRequest:
    asked = {"method": "POST", "json": None, "form": None, "body": None, "headers": None}
    return CallRequest.of("https://a.example/", **{**asked, **given})


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "Sat, 01 Jun 2030 12:00:30 GMT"}, 30),
        ({"retry-after": "Sat, 01 Jun 2030 11:00:00 GMT"}, 0),
        ({"retry-after": "86400"}, 86_400),
        ({"retry-after": "86401"}, None),
        ({"retry-after": "6m0s"}, 360),
        ({"retry-after": "250ms"}, 0.25),
        ({"retry-after": "1h30m"}, 5_400),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "1" * 400}, None),
        ({"retry-after": ""}, None),
        ({}, None),
        ({"x-ratelimit-reset": str(int(NOW.timestamp()) + 9)}, 9),
        ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "6m"}, 360),
        ({"retry-after": "1", "x-ratelimit-reset": "9"}, 1),
    ],
)
def test_delay_that_an_answer_asks_for(headers: dict[str, str], seconds: float | None) -> None:
    expected = None if seconds is None else timedelta(seconds=seconds)

    assert asked_delay(429, headers, NOW) == expected


def test_reset_of_a_limit_says_nothing_of_another_error() -> None:
    assert asked_delay(500, {"x-ratelimit-reset": "9"}, NOW) is None
    assert asked_delay(500, {"retry-after": "9"}, NOW) == timedelta(seconds=9)


def test_answers_that_are_asked_for_again() -> None:
    again = [
        status
        for status in (200, 302, 400, 404, 408, 409, 425, 429, 500, 503, 599)
        if is_retried(status)
    ]

    assert again == [408, 425, 429, 500, 503, 599]


@pytest.mark.parametrize(
    "name",
    ["Authorization", "Proxy-Authorization", "Cookie", "X-Api-Key", "x-auth-token", "X-Amz-Signature",
     "api_key", "access_token", "client_secret", "Password", "sig", "key", "X-Hub-Signature-256"],
)  # fmt: skip
def test_name_that_sounds_secret(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize(
    "name", ["Idempotency-Key", "Content-Type", "author", "X-Keyboard", "page"]
)
def test_name_that_does_not(name: str) -> None:
    assert not is_secret(name)


def test_url_is_shown_without_its_secrets() -> None:
    assert masked_url("https://u:p@a.example/x?token=1&page=2#f") == (
        f"https://{MASK}@a.example/x?token={MASK}&page=2#f"
    )
    assert masked_url("https://a.example/x?page=2") == "https://a.example/x?page=2"


@pytest.mark.parametrize(
    ("content", "content_type", "body"),
    [
        (b'{"a":1}', "application/json", {"a": 1}),
        (b'{"a":1}', "application/problem+json; charset=utf-8", {"a": 1}),
        (b"{", "application/json", "{"),
        (b"[NaN]", "application/json", "[NaN]"),
        (b"[" * 100_000, "application/json", "[" * 100_000),
        (b"a\x00", "text/plain", "a\x00"),
        (b"\xe4", "text/html; charset=latin-1", "ä"),
        (b"\xe4", "text/html", "\ufffd"),
        (b"\xe4", "text/html; charset=nonsense", "\ufffd"),
        (b"plain", "", "plain"),
        (b"\xff\x00", "", b"\xff\x00"),
        (b"png", "image/png", b"png"),
        (b"", "image/png", ""),
    ],
)
def test_body_of_an_answer(content: bytes, content_type: str, body: Any) -> None:
    stored = stored_result(200, [("X-One", "1")], *stored_body(content, content_type))

    result = CallResult.from_record(stored)

    assert result.body == body
    assert result.headers["x-ONE"] == "1"


def test_headers_are_a_mapping_that_keeps_what_came_twice() -> None:
    headers = Headers([("Set-Cookie", "a"), ("set-cookie", "b"), ("X", "1")])

    assert headers["SET-COOKIE"] == "a, b"
    assert headers.get_list("Set-Cookie") == ["a", "b"]
    assert "x" in headers
    assert dict(headers) == {"set-cookie": "a, b", "x": "1"}
    assert "'a" not in repr(headers)


def test_request_survives_being_stored() -> None:
    asked = of(body=b"\xff\xfe", headers={"X": "ü"})

    assert CallRequest.from_json(asked.to_json()) == asked


def test_body_that_is_too_large_is_refused() -> None:
    with pytest.raises(PayloadTooLargeError, match="at most"):
        of(body=b"x" * (REQUEST_BYTES + 1))


@pytest.mark.parametrize("value", [NOW, {1, 2}, float("nan"), {"a": b"x"}])
def test_json_is_plain_json(value: Any) -> None:
    with pytest.raises(NotSerializableError, match="plain JSON"):
        of(json=value)


def test_header_of_the_caller_stands() -> None:
    asked = of(headers={"idempotency-key": "mine"})

    assert asked.with_default_header("Idempotency-Key", "other").headers == asked.headers
