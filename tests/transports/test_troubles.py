"""Whatever comes back that our own view has not signed is the delivery's trouble: it fails no run, and is told."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
from django.conf import settings
from django.db import OperationalError, connection
from django.test import override_settings

from django_workflow.core.exceptions import SignatureError
from django_workflow.core.types import RunStatus
from django_workflow.core.workflow import Workflow
from django_workflow.models import Delivery
from django_workflow.runtime.messages import OUTCOME_HEADER, Answer, Outcome, Ticket
from django_workflow.runtime.worker import drain
from django_workflow.store import claims
from tests.transports import runs
from tests.transports.runs import driven, recorded
from tests.transports.wsgi import DjangoTransport, PassOn, served_at

pytestmark = pytest.mark.django_db(transaction=True)


def answering(status: int, **kwargs: Any) -> Callable[[httpx.Request, PassOn], httpx.Response]:
    return lambda request, pass_on: httpx.Response(status, **kwargs)


def raising(error: Exception) -> Callable[[httpx.Request, PassOn], httpx.Response]:
    def proxy(request: httpx.Request, pass_on: PassOn) -> httpx.Response:
        raise error

    return proxy


def losing_answers(request: httpx.Request, pass_on: PassOn) -> httpx.Response:
    pass_on(request)
    raise httpx.RemoteProtocolError("Server disconnected without sending a response.")


def sending_twice(request: httpx.Request, pass_on: PassOn) -> httpx.Response:
    pass_on(request)
    return pass_on(request)


def without_database(request: httpx.Request, pass_on: PassOn) -> httpx.Response:
    def refuse(*args: Any) -> None:
        raise OperationalError("connection refused")

    with connection.execute_wrapper(refuse):
        return pass_on(request)


class Keeping:
    """A proxy that answers every request as it was answered the first."""

    def __init__(self) -> None:
        self.first: httpx.Response | None = None

    def __call__(self, request: httpx.Request, pass_on: PassOn) -> httpx.Response:
        self.first = self.first or pass_on(request)
        return self.first


HTML = {"html": "<h1>Welcome</h1>"}
TROUBLES = {
    "200 with a page": (answering(200, **HTML), "answered 200: but without the signature"),
    "204 of somebody else": (answering(204), "answered 204: but without the signature"),
    "301 for a slash": (
        answering(301, headers={"Location": "/workflows/steps"}),
        "answered 301: a redirect to /workflows/steps",
    ),
    "302 to a login": (
        answering(302, headers={"Location": "/accounts/login/?next=/"}),
        "through without a login",
    ),
    "301 to https": (
        answering(301, headers={"Location": "https://testserver/workflows/steps/"}),
        r'Let WORKFLOW\["BASE_URL"\] start with https://',
    ),
    "304": (answering(304), "answered 304: a redirect to nowhere"),
    "400": (answering(400, **HTML), "ALLOWED_HOSTS"),
    "401": (answering(401, **HTML), "the same SECRET_KEY"),
    "403": (answering(403, **HTML), "answered 403: something in front"),
    "404": (answering(404, **HTML), "answered 404: no workflow of that name"),
    "500": (answering(500, **HTML), "answered 500: an error outside the workflow's own code"),
    "502": (answering(502, **HTML), "answered 502: an error outside"),
    "refused": (
        raising(httpx.ConnectError("[Errno 111] Connection refused")),
        "could not be reached: .*Connection refused. Is the web server up",
    ),
    "silent network": (raising(httpx.ConnectTimeout("")), "reached: the connection timed out"),
    "time-out": (raising(httpx.ReadTimeout("timed out")), r'longer WORKFLOW\["HTTP_TIMEOUT"\]'),
    "cut off": (raising(httpx.ReadError("reset by peer")), "broke the connection off"),
    "forged outcome": (
        answering(204, headers={OUTCOME_HEADER: "e30.e30.e30"}),
        "answered 204 with an outcome that is not to be trusted",
    ),
}


@pytest.mark.parametrize(("proxy", "expected"), TROUBLES.values(), ids=TROUBLES.keys())
def test_trouble_is_told_and_costs_the_run_nothing(
    http_transport: DjangoTransport, proxy: Any, expected: str
) -> None:
    run = runs.steps.trigger(["a", "b"])

    http_transport.proxy = proxy
    drain()
    status, reason = run.refresh().status, run.reason
    http_transport.proxy = None
    driven(run)

    assert status == RunStatus.RUNNING
    assert reason.startswith("http://testserver/workflows/steps/ ")
    assert re.search(expected, reason)
    assert (run.result, run.reason, runs.done) == ("a-b", "", ["a", "b"])
    assert not run.attempts.exists()


def test_delivery_in_trouble_is_repeated_after_a_second(http_transport: DjangoTransport) -> None:
    runs.steps.trigger(["a"])
    http_transport.proxy = answering(500)

    drain()

    turn = Delivery.objects.get()
    assert turn.due_at is not None
    assert timedelta(0) < turn.due_at - claims.now() <= timedelta(seconds=1)
    assert (turn.leased_by, turn.tries) == ("", 1)


def test_trouble_without_end_neither_fails_nor_blocks_a_run(
    http_transport: DjangoTransport,
) -> None:
    run = runs.steps.trigger(["a"])
    http_transport.proxy = answering(502)
    driven(run)

    http_transport.proxy = None
    driven(run)

    assert len(http_transport.requests) == 21
    assert run.result == "a"
    assert not run.attempts.exists()


@pytest.mark.parametrize("workflow", [runs.steps, runs.async_steps], ids=["sync", "async"])
def test_lost_answers_repeat_no_step_and_use_no_retries(
    http_transport: DjangoTransport, workflow: Workflow[list[str], str]
) -> None:
    run = workflow.trigger(["a", "b", "c", "d", "e"])
    http_transport.proxy = losing_answers

    drain()
    reason = run.refresh().reason
    driven(run)

    assert "broke the connection off" in reason
    assert (run.result, recorded(run)) == ("a-b-c-d-e", ["a", "b", "c", "d", "e"])
    assert runs.done == ["a", "b", "c", "d", "e"]
    assert not run.attempts.exists()


def test_lost_answers_of_branches_repeat_no_step(http_transport: DjangoTransport) -> None:
    run = runs.branches.trigger()
    http_transport.proxy = losing_answers

    driven(run)

    assert run.result == "left1left2right1right2"
    assert sorted(runs.done) == ["left1", "left2", "right1", "right2"]


def test_request_that_a_proxy_sends_twice_has_one_effect(http_transport: DjangoTransport) -> None:
    run = runs.steps.trigger(["a", "b"])
    http_transport.proxy = sending_twice

    driven(run)

    assert (run.result, runs.done) == ("a-b", ["a", "b"])
    assert not run.attempts.exists()


def test_answer_that_a_proxy_kept_is_not_taken_for_another(http_transport: DjangoTransport) -> None:
    run = runs.steps.trigger(["a", "b", "c"])
    http_transport.proxy = Keeping()

    drain()
    reason = run.refresh().reason
    http_transport.proxy = None
    driven(run)

    assert reason.endswith("It is the answer to another delivery, or proved with an unknown key.")
    assert (run.result, runs.done) == ("a-b-c", ["a", "b", "c"])


def test_database_that_is_away_from_the_web_process_is_told(
    http_transport: DjangoTransport,
) -> None:
    run = runs.steps.trigger(["a"])
    http_transport.proxy = without_database

    drain()
    reason = run.refresh().reason
    http_transport.proxy = None
    driven(run)

    assert reason == "The database did not answer the web process: connection refused"
    assert run.result == "a"
    assert not run.attempts.exists()


def test_reason_of_any_length_and_language_gets_through() -> None:
    ticket = Ticket(run_id="order-1", delivery_id=1, token=1, entry=0)
    answer = Answer(outcome=Outcome.TROUBLE, reason="数据库" * 1000)

    signed = ticket.sign_answer("steps", answer)

    assert len(signed) < 4096
    assert ticket.read_answer("steps", signed).reason == answer.reason[:400]


def test_outcome_signed_with_another_key_is_not_believed() -> None:
    ticket = Ticket(run_id="order-1", delivery_id=1, token=1, entry=0)
    signed = ticket.sign_answer("steps", Answer(outcome=Outcome.OVER))

    with (
        override_settings(SECRET_KEY="another secret, and long enough for a key"),
        pytest.raises(SignatureError, match="unknown key"),
    ):
        ticket.read_answer("steps", signed)


def test_delivery_is_no_answer_to_itself() -> None:
    ticket = Ticket(run_id="order-1", delivery_id=1, token=1, entry=0)

    with pytest.raises(SignatureError, match="no outcome that is known"):
        ticket.read_answer("steps", ticket.sign("steps", b""))


@pytest.mark.parametrize(
    "changed",
    [
        lambda signed: signed.replace("over", "again"),
        lambda signed: signed.replace("over", "perhaps"),
        lambda signed: f"{signed} cmVhc29u",
        lambda signed: f"{signed} ä",
        lambda signed: "over",
        lambda signed: "",
    ],
)
def test_changed_answer_is_not_believed(changed: Callable[[str], str]) -> None:
    ticket = Ticket(run_id="order-1", delivery_id=1, token=1, entry=0)
    signed = ticket.sign_answer("steps", Answer(outcome=Outcome.OVER))
    assert ticket.read_answer("steps", signed).outcome is Outcome.OVER

    with pytest.raises(SignatureError):
        ticket.read_answer("steps", changed(signed))


@pytest.mark.parametrize(
    "other", [{"run_id": "order-2"}, {"delivery_id": 2}, {"token": 2}, {"entry": 1}]
)
def test_answer_to_another_request_is_not_believed(other: dict[str, Any]) -> None:
    ticket = Ticket(run_id="order-1", delivery_id=1, token=1, entry=0)
    signed = replace(ticket, **other).sign_answer("steps", Answer(outcome=Outcome.OVER))

    with pytest.raises(SignatureError, match="another delivery"):
        ticket.read_answer("steps", signed)


def test_missing_base_url_is_told(http_transport: DjangoTransport) -> None:
    run = runs.steps.trigger(["a"])

    with override_settings(WORKFLOW={**settings.WORKFLOW, "BASE_URL": None, "TRANSPORT": "http"}):
        drain()

    assert 'WORKFLOW["BASE_URL"] is not set' in run.refresh().reason
    assert http_transport.requests == []


def test_workflow_to_which_no_url_leads_is_told(http_transport: DjangoTransport) -> None:
    run = runs.steps.trigger(["a"])

    with override_settings(ROOT_URLCONF="tests.urls"):
        drain()

    assert "no URL leads to it" in run.refresh().reason
    assert http_transport.requests == []


@pytest.mark.parametrize(
    "url", ["http://testserver:port/", "http://exa mple\n/", "ftp://testserver"]
)
def test_url_that_cannot_be_posted_to_is_told(url: str) -> None:
    run = runs.astray.trigger()
    runs.astray.options = replace(runs.astray.options, url=url)

    drain()

    assert "none that can be posted to" in run.refresh().reason


def test_password_in_the_url_is_not_shown(http_transport: DjangoTransport) -> None:
    run = runs.steps.trigger(["a"])
    http_transport.proxy = answering(500)

    with served_at("http://ann:secret@testserver"):
        drain()

    assert run.refresh().reason.startswith("http://testserver/workflows/steps/ answered 500")
