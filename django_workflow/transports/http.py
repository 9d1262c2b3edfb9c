"""To the workflow's own URL: each request is a signed POST, answered by the view with a signed outcome.

Whatever else comes back is the delivery's trouble: nobody's attempt, repeated without end, and shown as the run's
reason. One connection is kept open per web process that answers, since most of the price of a request is its making.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import lru_cache, partial
from typing import Final

import httpx

from django_workflow.conf import settings
from django_workflow.core.durations import format_duration
from django_workflow.core.exceptions import InvalidOptionError, SignatureError
from django_workflow.core.workflow import registry
from django_workflow.runtime import Claim
from django_workflow.runtime.entry import carry_by_request
from django_workflow.runtime.messages import OUTCOME_HEADER, SIGNATURE_HEADER, Answer, Ticket
from django_workflow.runtime.trouble import DeliveryTroubleError
from django_workflow.runtime.urls import required_url_of

CONNECT_SECONDS: Final = 5.0
WRITE_SECONDS: Final = 30.0
#: Less than any common server keeps an idle connection (gunicorn: 2 s), so that it is not closed under a request.
KEEP_ALIVE_SECONDS: Final = 1.5


class HttpTransport:
    """Carries deliveries to the URLs of their workflows."""

    name = "http"

    def __init__(self, transport: httpx.BaseTransport | None = None) -> None:
        """Send requests through ``transport``, or over the network.

        Below an ``httpx.Client`` on purpose: no redirect is followed, no proxy, password or cookie comes from
        anywhere, and a request costs half.
        """
        self._given = transport
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        # A child must not speak on its parent's connections, nor close them.
        self._idle: list[httpx.BaseTransport] = []

    def deliver(self, claim: Claim) -> None:
        """See `core.ports.Transport.deliver()`."""
        workflow = registry.get(claim.run.workflow)
        try:
            url = required_url_of(workflow)
        except InvalidOptionError as error:
            raise DeliveryTroubleError(str(error)) from error
        with self._connection() as connection:
            carry_by_request(claim, partial(_post, connection, workflow.name, url))

    @contextmanager
    def _connection(self) -> Iterator[httpx.BaseTransport]:
        """Lend a connection that nobody else uses meanwhile.

        So all requests of a claim come to the process that has the run's journal in memory, where web servers
        share their port among processes.
        """
        if self._given is not None:
            yield self._given
            return
        try:
            connection = self._idle.pop()
        except IndexError:
            limits = httpx.Limits(keepalive_expiry=KEEP_ALIVE_SECONDS)
            connection = httpx.HTTPTransport(limits=limits)
        try:
            yield connection
        finally:
            self._idle.append(connection)

    def close(self) -> None:
        """Close the connections that are kept open."""
        while self._idle:
            self._idle.pop().close()


def _post(connection: httpx.BaseTransport, workflow: str, url: str, ticket: Ticket) -> Answer:
    body = ticket.body()
    headers = {
        SIGNATURE_HEADER: ticket.sign(workflow, body),
        "Content-Type": "application/json",
        "User-Agent": "django_workflow",
    }
    timeout = {
        "connect": CONNECT_SECONDS,
        "write": WRITE_SECONDS,
        "read": settings().HTTP_TIMEOUT.total_seconds(),
        "pool": CONNECT_SECONDS,
    }
    try:
        request = httpx.Request(
            "POST", _parsed(url), headers=headers, content=body, extensions={"timeout": timeout}
        )
        response = connection.handle_request(request)
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise DeliveryTroubleError(_no_answer(url, error)) from error
    with closing(response):
        return _read(workflow, url, ticket, response)


@lru_cache(maxsize=1024)
def _parsed(url: str) -> httpx.URL:
    return httpx.URL(url)


def _read(workflow: str, url: str, ticket: Ticket, response: httpx.Response) -> Answer:
    signed = response.headers.get(OUTCOME_HEADER)
    if signed is None:
        raise DeliveryTroubleError(_foreign_answer(url, response))
    try:
        answer = ticket.read_answer(workflow, signed)
    except SignatureError as error:
        raise DeliveryTroubleError(
            f"{_shown(url)} answered {response.status_code} with an outcome that is not to be trusted. {error}"
        ) from error
    if response.status_code == httpx.codes.NO_CONTENT:
        # Read to its end, the connection can be used again; any other answer is not worth the wait.
        response.read()
    return answer


def _shown(url: str) -> str:
    # Without user and password, should there be any.
    parsed = _parsed(url)
    return f"{parsed.scheme}://{parsed.netloc.decode()}{parsed.path}"


def _no_answer(url: str, error: Exception) -> str:
    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
        return f'The workflow\'s URL "{url}" is none that can be posted to: {error} Look at WORKFLOW["BASE_URL"].'
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return (
            f"{_shown(url)} could not be reached: {str(error) or 'the connection timed out'}. Is the web server up, and "
            'WORKFLOW["BASE_URL"] its address?'
        )
    if isinstance(error, httpx.ReadTimeout):
        limit = format_duration(settings().HTTP_TIMEOUT)
        return f'{_shown(url)} did not answer within {limit}. Steps that take longer need a longer WORKFLOW["HTTP_TIMEOUT"].'
    return (
        f"{_shown(url)} broke the connection off before it had answered: {error}. A web server or proxy may have been "
        "restarted, or may end long requests."
    )


def _redirected(url: str, response: httpx.Response) -> str:
    place = response.headers.get("Location", "")[:200]
    if place.startswith("https://") and url.startswith("http://"):
        advice = 'Let WORKFLOW["BASE_URL"] start with https://, or exempt the path by SECURE_REDIRECT_EXEMPT.'
    elif "login" in place:
        advice = "Let the workflow's path through without a login: deliveries are signed."
    else:
        advice = 'Make WORKFLOW["BASE_URL"] the address at which the view itself answers.'
    return f"a redirect to {place or 'nowhere'}, and deliveries follow none. {advice}"


#: Why a status was not signed by our view, and what to do.
_REASONS: Final = {
    400: 'which the workflow\'s view never does. Is the host of WORKFLOW["BASE_URL"] in ALLOWED_HOSTS?',
    401: 'it refused the signature. Workers and web servers need the same SECRET_KEY or WORKFLOW["SIGNING_KEYS"], and '
    "clocks that agree.",
    403: "something in front of the workflow's view refused it. Let signed deliveries through.",
    404: 'no workflow of that name answers there. Is it deployed there, include("django_workflow.urls") in the urlconf, '
    'and WORKFLOW["BASE_URL"] right?',
}


def _foreign_answer(url: str, response: httpx.Response) -> str:
    status = response.status_code
    if response.is_redirect or 300 <= status < 400:
        why = _redirected(url, response)
    elif status in _REASONS:
        why = _REASONS[status]
    elif status >= httpx.codes.INTERNAL_SERVER_ERROR:
        why = "an error outside the workflow's own code. Look at the web server's log."
    else:
        why = "but without the signature of the workflow's view: a proxy, a middleware or another site answered."
    return f"{_shown(url)} answered {status}: {why}"


__all__ = ["HttpTransport"]
