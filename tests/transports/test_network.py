"""The transport ``http`` over real sockets: a real server, broken ones, and web servers with several processes."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import connections

from django_workflow.core import ports
from django_workflow.core.workflow import Workflow
from django_workflow.runtime.worker import drain
from django_workflow.transports.http import HttpTransport
from tests.conftest import ROOT
from tests.transports import runs
from tests.transports.runs import driven, recorded
from tests.transports.wsgi import served_at

pytestmark = pytest.mark.django_db(transaction=True)

BOTH = pytest.mark.parametrize("workflow", [runs.steps, runs.async_steps], ids=["sync", "async"])
PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 7\r\n\r\nWelcome"
REDIRECT = b"HTTP/1.1 302 Found\r\nLocation: /elsewhere/\r\nContent-Length: 0\r\n\r\n"
NONSENSE = b"220 mail.example.org ESMTP\r\n"


@pytest.fixture(autouse=True)
def network() -> Iterator[HttpTransport]:
    usual, transport = ports.get_transport("http"), HttpTransport()
    ports.install_transport(transport)
    yield transport
    ports.install_transport(usual)
    transport.close()


def request_of(connection: socket.socket) -> bytes:
    """Read one request: its head, and the body that the head announces."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536)
    head, _, body = received.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


@contextmanager
def listening(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """Serve each connection by ``answer``, and close it then; give the address."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with closing(connection):
                    answer(connection)

    thread = Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def saying(content: bytes) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        request_of(connection)
        connection.sendall(content)

    return answer


def losing_the_answer_of(server: str) -> Callable[[socket.socket], None]:
    """Hand each request on, wait until the server has answered it, and cut the connection."""
    address = urlsplit(server)

    def answer(connection: socket.socket) -> None:
        request = request_of(connection)
        with socket.create_connection((str(address.hostname), int(address.port or 0))) as upstream:
            upstream.sendall(request)
            upstream.recv(65536)

    return answer


@BOTH
def test_steps_are_executed_over_the_network(
    live_server: Any, workflow: Workflow[list[str], str]
) -> None:
    run = workflow.trigger(["a", "b", "c"])

    with served_at(live_server.url):
        drain()

    assert run.refresh().result == "a-b-c"
    assert runs.done == ["a", "b", "c"]


@BOTH
def test_answers_lost_on_the_network_repeat_no_step(
    live_server: Any, workflow: Workflow[list[str], str]
) -> None:
    run = workflow.trigger(["a", "b", "c"])

    with listening(losing_the_answer_of(live_server.url)) as proxy, served_at(proxy):
        drain()
        reason = run.refresh().reason
        driven(run)

    assert "broke the connection off before it had answered" in reason
    assert (run.result, run.reason) == ("a-b-c", "")
    assert (runs.done, recorded(run)) == (["a", "b", "c"], ["a", "b", "c"])
    assert not run.attempts.exists()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (saying(PAGE), "answered 200: but without the signature"),
        (saying(REDIRECT), "answered 302: a redirect to /elsewhere/"),
        (saying(NONSENSE), "broke the connection off"),
        (saying(b""), "broke the connection off"),
        (socket.socket.getpeername, "broke the connection off"),
    ],
    ids=["page", "redirect", "no http", "nothing", "closed"],
)
def test_broken_server_is_told_and_costs_nothing(
    live_server: Any, answer: Any, expected: str
) -> None:
    run = runs.steps.trigger(["a"])

    with listening(answer) as broken, served_at(broken):
        drain()
        reason = run.refresh().reason
    with served_at(live_server.url):
        driven(run)

    assert expected in reason
    assert run.result == "a"
    assert not run.attempts.exists()


def test_server_that_is_not_there_is_told() -> None:
    run = runs.steps.trigger(["a"])
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    with served_at(f"http://127.0.0.1:{port}"):
        drain()

    assert f"http://127.0.0.1:{port}/workflows/steps/ could not be reached" in run.refresh().reason
    assert "refused" in run.reason


def test_server_that_never_answers_is_given_up() -> None:
    run = runs.steps.trigger(["a"])

    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        served_at(f"http://127.0.0.1:{silent.getsockname()[1]}", HTTP_TIMEOUT=0.05),
    ):
        drain()

    assert (
        'did not answer within 0.05s. Steps that take longer need a longer WORKFLOW["HTTP_TIMEOUT"]'
        in run.refresh().reason
    )


def test_proxies_of_the_environment_are_ignored(
    live_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    run = runs.steps.trigger(["a"])

    with served_at(live_server.url):
        drain()

    assert run.refresh().result == "a"


def test_closed_transport_opens_again(live_server: Any, network: HttpTransport) -> None:
    first, second = runs.steps.trigger(["a"]), runs.steps.trigger(["b"])

    with served_at(live_server.url):
        drain(only=[first.id])
        network.close()
        drain(only=[second.id])

    assert (first.refresh().result, second.refresh().result) == ("a", "b")


SERVERS = {
    "gunicorn": ["gunicorn", "tests.doors.served:wsgi", "--workers=2", "--log-level=warning", "--bind=fd://{fd}"],
    "gunicorn with threads": [
        "gunicorn", "tests.doors.served:wsgi", "--workers=2", "--threads=2", "--log-level=warning", "--bind=fd://{fd}",
    ],
    "uvicorn": ["uvicorn", "tests.doors.served:asgi", "--workers=2", "--log-level=warning", "--fd={fd}"],
}  # fmt: skip


@pytest.fixture(params=SERVERS.values(), ids=SERVERS.keys())
def web_server(request: pytest.FixtureRequest, child_env: dict[str, str]) -> Iterator[str]:
    """The address of a real web server with two processes."""
    # It listens before the server runs, so that the first request waits for it.
    listener = socket.create_server(("127.0.0.1", 0))
    command = [part.format(fd=listener.fileno()) for part in request.param]
    server = subprocess.Popen(
        [sys.executable, "-m", *command], env=child_env, cwd=ROOT, pass_fds=[listener.fileno()]
    )
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.close()
        server.terminate()
        server.wait(timeout=30)


def drain_and_close(number: int) -> None:
    try:
        drain()
    finally:
        connections.close_all()


@pytest.mark.serial
def test_two_workers_and_two_web_processes_execute_each_step_once(
    web_server: str, tmp_path: Path
) -> None:
    file = tmp_path / "notes"
    payload = {"file": str(file), "names": ["a", "b", "c", "d", "e"]}
    triggered = runs.notes.trigger_many([payload] * 20)

    with served_at(web_server):
        with ThreadPoolExecutor(2) as workers:
            list(workers.map(drain_and_close, range(2)))
        found = [driven(run) for run in triggered]

    assert {run.status for run in found} == {"completed"}
    assert Counter(file.read_text().splitlines()) == Counter(
        f"{run.id} {name}" for run in found for name in payload["names"]
    )


@pytest.mark.serial
def test_web_process_that_dies_is_the_deliverys_trouble(web_server: str, tmp_path: Path) -> None:
    file = tmp_path / "notes"
    run = runs.dies.trigger(str(file))

    with served_at(web_server):
        drain()
        reason = run.refresh().reason
        driven(run)

    assert "broke the connection off before it had answered" in reason
    assert (run.result, recorded(run)) == ("survived", ["first", "dies"])
    assert file.read_text().splitlines() == ["died", "survived"]
