"""Outbound requests: what they may reach, what goes along, and how much may come back."""

from __future__ import annotations

import asyncio
import errno
import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

import pytest

from django_workflow.core.calls import CallRequest
from django_workflow.core.exceptions import InvalidOptionError
from django_workflow.runtime.calling import Answer, LocalTroubleError, NoAnswerError
from django_workflow.runtime.http_call import HttpCaller, redirected

SECONDS = timedelta(seconds=10)

#: Addresses that reach what is private: refused at the verb, or at the latest when connecting.
HOSTILE = [
    "http://127.0.0.1/",
    "http://127.1/",
    "http://127.0.0.1:8000/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.0.0.1/",
    "http://0177.0.0.1/",
    "http://017700000001/",
    "http://①②⑦.0.0.1/",
    "http://127。0。0。1/",
    "http://0/",
    "http://0.0.0.0/",
    "http://localhost/",
    "http://LOCALHOST/",
    "http://localhost:6379/",
    "http://[::1]/",
    "http://[::]/",
    "http://[0:0:0:0:0:0:0:1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[::127.0.0.1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[64:ff9b:1::a9fe:a9fe]/",
    "http://[2002:7f00:1::]/",
    "http://[fe80::1]/",
    "http://[fe80::1%25eth0]/",
    "http://[fc00::1]/",
    "http://[fd00:ec2::254]/",
    "http://[ff02::1]/",
    "http://169.254.169.254/latest/meta-data/",
    "http://169.254.170.2/",
    "http://2852039166/",
    "http://0xa9fea9fe/",
    "http://100.100.100.200/",
    "http://100.64.0.1/",
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://192.168.1.1/",
    "http://192.0.0.192/",
    "http://198.18.0.1/",
    "http://224.0.0.1/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
    "http://user@127.0.0.1/",
    "http://partner.example@127.0.0.1/",
    "http://127.0.0.1#@partner.example/",
    "http://127.0.0.1?@partner.example/",
    "http://partner.example\\@127.0.0.1/",
    "http://127.0.0.1\t/",
    "http://127.0.0.1\r\nX-Injected: 1/",
    "http:///127.0.0.1/",
    "http:127.0.0.1/",
    "//127.0.0.1/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_FLUSHALL",
    "dict://127.0.0.1:11211/",
    "ftp://127.0.0.1/",
    "unix:///var/run/docker.sock",
    "data:text/plain,x",
    "javascript:alert(1)",
    "",
    "partner.example",
]


def request_of(url: Any, **given: Any) -> CallRequest:
    asked = {"method": "GET", "json": None, "form": None, "body": None, "headers": None}
    return CallRequest.of(url, **{**asked, **given})


def ask(request: CallRequest, timeout: timedelta = SECONDS) -> Answer:
    async def asking() -> Answer:
        async with HttpCaller() as caller:
            return await caller.ask(request, timeout)

    return asyncio.run(asking())


@pytest.fixture
def opened(settings: Any) -> None:
    settings.WORKFLOW = {"CALL_ALLOW": ["127.0.0.0/8"], "CALL_MAX_BYTES": 100_000}


@contextmanager
def served(answer: Any) -> Iterator[tuple[str, list[Any]]]:
    """Serve on loopback; what was asked is in the list."""
    seen: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            seen.append((self.command, self.path, dict(self.headers), self.rfile.read(length)))
            answer(self)

        do_POST = do_PUT = do_HEAD = do_GET  # noqa: N815  the names of http.server

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", seen
    finally:
        server.shutdown()
        server.server_close()


def reply(handler: Any, status: int = 200, body: bytes = b"", **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


@pytest.mark.parametrize("url", HOSTILE)
def test_hostile_address_is_refused(url: str) -> None:
    with pytest.raises((InvalidOptionError, NoAnswerError)) as refused:
        ask(request_of(url))

    if isinstance(refused.value, NoAnswerError):
        assert refused.value.is_final
        assert 'WORKFLOW["CALL_ALLOW"]' in str(refused.value)


@pytest.mark.parametrize("entry", ["127.0.0.1", "127.0.0.0/8"])
def test_listed_network_is_open(settings: Any, entry: str) -> None:
    settings.WORKFLOW = {"CALL_ALLOW": [entry]}
    with served(reply) as (url, _):
        assert ask(request_of(url)).status == 200


def test_listed_host_is_open_and_no_other(settings: Any) -> None:
    settings.WORKFLOW = {"CALL_ALLOW": ["localhost"]}
    with served(reply) as (url, seen):
        assert ask(request_of(url.replace("127.0.0.1", "LocalHost"))).status == 200
        with pytest.raises(NoAnswerError, match="was refused"):
            ask(request_of(url))

    assert len(seen) == 1


@pytest.mark.usefixtures("opened")
@pytest.mark.parametrize(
    "location",
    ["http://169.254.169.254/latest", "http://[::1]/", "file:///etc/passwd", "//10.0.0.1/"],
)
def test_redirect_to_what_is_private_is_refused(location: str) -> None:
    with (
        served(lambda handler: reply(handler, 302, Location=location)) as (url, seen),
        pytest.raises(NoAnswerError, match="was refused") as refused,
    ):
        ask(request_of(url))

    assert refused.value.is_final
    assert len(seen) == 1


@pytest.mark.usefixtures("opened")
def test_redirect_is_followed_and_secrets_stay_with_their_origin() -> None:
    with served(reply) as (other, seen):
        there = lambda handler: reply(handler, 307, Location=f"{other}/there")  # noqa: E731
        with served(there) as (url, _):
            headers = {"Authorization": "a", "X-Api-Key": "b", "Cookie": "c", "X-Plain": "d"}
            answer = ask(request_of(url, method="POST", body="text", headers=headers))

    (method, path, sent, body) = seen[0]
    assert (answer.status, method, path, body) == (200, "POST", "/there", b"text")
    assert sent["X-Plain"] == "d"
    assert {"Authorization", "X-Api-Key", "Cookie"}.isdisjoint(sent)


@pytest.mark.usefixtures("opened")
def test_redirect_without_end_ends() -> None:
    with (
        served(lambda handler: reply(handler, 302, Location="/again")) as (url, seen),
        pytest.raises(NoAnswerError, match="more than 5 times"),
    ):
        ask(request_of(url))

    assert len(seen) == 6


def test_see_other_is_a_get_without_a_body() -> None:
    asked = request_of("https://a.example/x", method="POST", json=1, headers={"X-One": "1"})

    after = redirected(asked, 303, "../y")

    assert (after.method, after.url, after.body) == ("GET", "https://a.example/y", b"")
    assert after.headers == (("X-One", "1"),)


@pytest.mark.usefixtures("opened")
def test_cookies_and_proxies_come_from_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    with served(lambda handler: reply(handler, Set_Cookie="a=b")) as (url, seen):

        async def twice() -> None:
            async with HttpCaller() as caller:
                await caller.ask(request_of(url), SECONDS)
                await caller.ask(request_of(url), SECONDS)

        asyncio.run(twice())

    assert ["Cookie" in headers for _, _, headers, _ in seen] == [False, False]


def bomb(handler: Any) -> None:
    reply(handler, 200, gzip.compress(b"\0" * 20_000_000), Content_Encoding="gzip")


def endless(handler: Any) -> None:
    handler.send_response(200)
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(b"x" * 65_536)
    except OSError:
        return


@pytest.mark.usefixtures("opened")
@pytest.mark.parametrize(
    "answer", [bomb, endless, lambda handler: reply(handler, 200, b"x" * 100_001)]
)
def test_answer_that_is_too_large_is_none(answer: Any) -> None:
    with served(answer) as (url, _), pytest.raises(NoAnswerError, match="100,000 bytes") as found:
        ask(request_of(url))

    assert found.value.is_final


@pytest.mark.usefixtures("opened")
def test_packed_answer_is_unpacked() -> None:
    body = gzip.compress(b"hello" * 100)
    with served(lambda handler: reply(handler, 200, body, Content_Encoding="gzip")) as (url, _):
        assert ask(request_of(url)).content == b"hello" * 100


@pytest.mark.usefixtures("opened")
def test_answer_that_drips_ends_with_the_timeout() -> None:
    over = Event()

    def drip(handler: Any) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            while not over.wait(0.02):
                handler.wfile.write(b"x")
        except OSError:
            return

    with served(drip) as (url, _), pytest.raises(NoAnswerError, match="within") as found:
        ask(request_of(url), timedelta(seconds=0.3))
    over.set()

    assert found.value.timed_out


def test_nobody_there_is_no_answer_and_may_be_asked_again(settings: Any) -> None:
    settings.WORKFLOW = {"CALL_ALLOW": ["127.0.0.1"]}
    with pytest.raises(NoAnswerError, match="was not answered") as found:
        ask(request_of("http://127.0.0.1:1/?token=shh"))

    assert not found.value.is_final
    assert "shh" not in str(found.value)


@pytest.mark.usefixtures("opened")
@pytest.mark.parametrize(
    ("given", "content_type", "body"),
    [
        ({"json": {"a": [1, None]}}, "application/json", b'{"a":[1,null]}'),
        (
            {"form": {"a": "b c", "d": [1, 2]}},
            "application/x-www-form-urlencoded",
            b"a=b+c&d=1&d=2",
        ),
        ({"body": "text ä"}, "text/plain; charset=utf-8", "text ä".encode()),
        ({"body": b"\xff\x00"}, "application/octet-stream", b"\xff\x00"),
        (
            {"body": {"a": "b"}, "headers": {"content-type": "application/x-www-form-urlencoded"}},
            "application/x-www-form-urlencoded",
            b"a=b",
        ),
    ],
)
def test_body_is_sent_with_its_type(given: Any, content_type: str, body: bytes) -> None:
    asked = CallRequest.from_json(request_of("http://x", method="POST", **given).to_json())
    with served(reply) as (url, seen):
        ask(CallRequest(method=asked.method, url=url, headers=asked.headers, body=asked.body))

    (_, _, headers, sent) = seen[0]
    assert sent == body
    assert next(v for n, v in headers.items() if n.lower() == "content-type") == content_type


def test_process_without_files_is_no_fault_of_the_call(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.WORKFLOW = {"CALL_ALLOW": ["127.0.0.1"]}

    async def refuse(*args: Any, **kwargs: Any) -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("anyio.connect_tcp", refuse)
    with pytest.raises(LocalTroubleError, match="CALLS_AT_ONCE"):
        ask(request_of("http://127.0.0.1:1/"))
