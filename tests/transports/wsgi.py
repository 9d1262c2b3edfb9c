"""Django's own WSGI handler at the end of the http transport, without a socket between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from django.test import override_settings

from django_workflow.core import ports
from django_workflow.transports.http import HttpTransport

PassOn = Callable[[httpx.Request], httpx.Response]
#: What a test puts between worker and view: it may answer itself, or change what passes through.
Proxy = Callable[[httpx.Request, PassOn], httpx.Response]


class DjangoTransport(httpx.BaseTransport):
    """Hands each request to Django's WSGI handler, in the calling thread."""

    def __init__(self, proxy: Proxy | None = None) -> None:
        self.proxy = proxy
        self.requests: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.pass_on(request) if self.proxy is None else self.proxy(request, self.pass_on)

    def pass_on(self, request: httpx.Request) -> httpx.Response:
        # As Django's test client does: the connection of a test's transaction must survive the request.
        request_started.disconnect(close_old_connections)
        request_finished.disconnect(close_old_connections)
        try:
            # A new handler each time: it reads its middlewares, and they their settings, when they are made.
            response = httpx.WSGITransport(app=WSGIHandler()).handle_request(request)
            # Only when it has been read is the request over.
            response.read()
            return response
        finally:
            request_started.connect(close_old_connections)
            request_finished.connect(close_old_connections)


@contextmanager
def served_at(
    base_url: str, *, urlconf: str = "tests.doors.urls", **workflow: Any
) -> Iterator[None]:
    """Let runs go over http, by default, to the doors of this urlconf; ``workflow`` are further settings of ours."""
    changed = {**getattr(settings, "WORKFLOW", {}), "BASE_URL": base_url, **workflow}
    with override_settings(ROOT_URLCONF=urlconf, WORKFLOW=changed):
        yield


@contextmanager
def http_through(transport: httpx.BaseTransport) -> Iterator[None]:
    """Let the transport ``http`` send its requests through this one for as long as the block lasts."""
    usual = ports.get_transport("http")
    ports.install_transport(HttpTransport(transport))
    try:
        yield
    finally:
        ports.install_transport(usual)
