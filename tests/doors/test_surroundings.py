"""The door behind whatever a project puts in front of it: middlewares, settings, prefixes, WSGI and ASGI."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.core.handlers.asgi import ASGIHandler
from django.db import connections
from django.test import AsyncClient, override_settings
from django.urls import set_script_prefix

from django_workflow.core.types import RunStatus
from django_workflow.core.workflow import Workflow
from django_workflow.models import Run
from django_workflow.runtime.worker import drain
from tests.doors.workflows import guarded
from tests.transports import runs
from tests.transports.runs import driven, recorded
from tests.transports.wsgi import DjangoTransport, PassOn, http_through, served_at

pytestmark = pytest.mark.django_db(transaction=True)

BOTH = pytest.mark.parametrize("workflow", [runs.steps, runs.async_steps], ids=["sync", "async"])


def behind(*middlewares: str) -> Any:
    return override_settings(MIDDLEWARE=[*settings.MIDDLEWARE, *middlewares])


@BOTH
def test_login_required_lets_deliveries_through(
    http_transport: DjangoTransport, workflow: Workflow[list[str], str]
) -> None:
    run = workflow.trigger(["a", "b"])

    with behind("django.contrib.auth.middleware.LoginRequiredMiddleware"):
        drain()

    assert run.refresh().result == "a-b"


def test_login_required_leaves_the_trigger_to_the_door(client: Any) -> None:
    with (
        served_at("http://testserver"),
        behind("django.contrib.auth.middleware.LoginRequiredMiddleware"),
    ):
        statuses = [
            client.post(path, "1", content_type="application/json").status_code
            for path in ("/workflows/guarded/", "/own/guarded/", "/own/async-guarded/")
        ]

    assert statuses == [401, 401, 401]


@BOTH
def test_atomic_requests_are_off_for_workflows(
    http_transport: DjangoTransport,
    workflow: Workflow[list[str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for alias in connections:
        monkeypatch.setitem(connections.settings[alias], "ATOMIC_REQUESTS", True)
    run = workflow.trigger(["a", "b"])

    drain()

    assert run.refresh().result == "a-b"


@pytest.mark.parametrize("path", ["/own/guarded/", "/own/async-guarded/"])
def test_atomic_requests_are_off_for_workflows_with_a_path_of_their_own(
    admin_client: Any, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)

    with served_at("http://testserver"):
        response = admin_client.post(path, "1", content_type="application/json")

    assert response.status_code == 202


def test_transaction_around_a_delivery_is_its_trouble(http_transport: DjangoTransport) -> None:
    run = runs.steps.trigger(["a"])

    with behind("tests.doors.middlewares.in_a_transaction"):
        drain()

    assert "inside an open transaction" in run.refresh().reason
    assert driven(run).result == "a"
    assert not run.attempts.exists()


def test_ssl_redirect_is_told_with_what_to_do(http_transport: DjangoTransport) -> None:
    run = runs.steps.trigger(["a"])

    with override_settings(SECURE_SSL_REDIRECT=True):
        drain()

    assert "answered 301: a redirect to https://testserver/workflows/steps/" in run.refresh().reason
    assert 'Let WORKFLOW["BASE_URL"] start with https://' in run.reason
    assert driven(run).result == "a"


def test_ssl_redirect_is_no_trouble_where_the_url_is_https(
    http_transport: DjangoTransport,
) -> None:
    run = runs.steps.trigger(["a"])

    with served_at("https://testserver"), override_settings(SECURE_SSL_REDIRECT=True):
        drain()

    assert run.refresh().result == "a"


def test_host_that_is_not_allowed_is_told(http_transport: DjangoTransport) -> None:
    run = runs.steps.trigger(["a"])

    with served_at("http://example.org"):
        drain()

    assert "answered 400" in run.refresh().reason
    assert "ALLOWED_HOSTS" in run.reason


@pytest.mark.parametrize("append", [True, False])
def test_append_slash_changes_nothing(http_transport: DjangoTransport, append: bool) -> None:
    run = runs.steps.trigger(["a"])

    with override_settings(APPEND_SLASH=append):
        drain()

    assert run.refresh().result == "a"


def stripping(request: httpx.Request, pass_on: PassOn) -> httpx.Response:
    """A proxy that serves the project under /app, and keeps that to itself."""
    path = request.url.path.removeprefix("/app")
    assert path != request.url.path
    headers = {**request.headers}
    return pass_on(
        httpx.Request(
            request.method,
            request.url.copy_with(path=path),
            headers=headers,
            content=request.content,
        )
    )


@pytest.mark.parametrize(
    ("base_url", "script_name"),
    [
        ("http://testserver/app", None),
        ("http://testserver", "/app"),
        ("http://testserver/app", "/app"),
        ("http://testserver/app/", "/app/"),
    ],
)
def test_prefix_that_a_proxy_strips(
    http_transport: DjangoTransport, base_url: str, script_name: str | None
) -> None:
    http_transport.proxy = stripping
    run = runs.steps.trigger(["a", "b"])

    with served_at(base_url), override_settings(FORCE_SCRIPT_NAME=script_name):
        drain()

    assert run.refresh().result == "a-b"
    assert str(http_transport.requests[0].url) == "http://testserver/app/workflows/steps/"


class AsgiTransport(httpx.BaseTransport):
    """Hands each request to Django's ASGI handler, on an event loop of its own."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return asyncio.run(self.handled(request))

    async def handled(self, request: httpx.Request) -> httpx.Response:
        async with httpx.ASGITransport(app=ASGIHandler()) as asgi:
            response = await asgi.handle_async_request(request)
            content = await response.aread()
        return httpx.Response(response.status_code, headers=response.headers, content=content)


@BOTH
def test_deliveries_under_asgi(workflow: Workflow[list[str], str]) -> None:
    run = workflow.trigger(["a", "b", "c"])

    with served_at("http://testserver"), http_through(AsgiTransport()):
        drain()

    assert run.refresh().result == "a-b-c"
    assert recorded(run) == ["a", "b", "c"]


def test_branches_under_asgi() -> None:
    run = runs.async_branches.trigger()

    with served_at("http://testserver"), http_through(AsgiTransport()):
        driven(run)

    assert run.result == "left1left2right1right2"


async def posted(client: AsyncClient, path: str, headers: dict[str, str] | None = None) -> Any:
    try:
        return await client.post(path, "1", content_type="application/json", headers=headers or {})
    finally:
        # Without a server no request ends, and the thread would keep its connection.
        await sync_to_async(connections.close_all)()


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/workflows/guarded/", {}, 401),
        ("/own/guarded/", {}, 401),
        ("/own/async-guarded/", {}, 401),
        ("/workflows/by_token/", {"X-Token": "open sesame"}, 202),
        ("/workflows/by_async_token/", {"X-Token": "open sesame"}, 202),
        ("/workflows/async_by_async_token/", {"X-Token": "open sesame"}, 202),
        ("/workflows/async_by_async_token/", {"X-Token": "wrong"}, 403),
        ("/own/async-guarded/", {"Workflow-Signature": "forged"}, 401),
        ("/workflows/nobody/", {}, 404),
    ],
)
def test_triggers_under_asgi(path: str, headers: dict[str, str], status: int) -> None:
    with served_at("http://testserver"):
        response = asyncio.run(posted(AsyncClient(), path, headers))

    assert response.status_code == status


@pytest.mark.parametrize("path", ["/own/guarded/", "/own/async-guarded/"])
def test_user_may_trigger_under_asgi(path: str) -> None:
    ann = User.objects.create_user("ann")
    ann.user_permissions.add(Permission.objects.get(codename="trigger_run"))
    client = AsyncClient()
    client.force_login(ann)

    with served_at("http://testserver"):
        response = asyncio.run(posted(client, path))

    assert response.status_code == 202
    assert Run.objects.get().status == RunStatus.PENDING


@pytest.mark.parametrize(
    ("urlconf", "path"),
    [
        ("tests.doors.urls", "/workflows/guarded/"),
        ("tests.doors.own_urls", "/own/guarded/"),
        ("tests.doors.nested_urls", "/shop/en/guarded/"),
    ],
)
def test_url_of_a_workflow_is_where_it_is_mounted(
    http_transport: DjangoTransport, urlconf: str, path: str
) -> None:
    run = guarded.trigger({"n": 1})

    with served_at("http://testserver", urlconf=urlconf):
        drain()

    assert run.refresh().result == {"n": 1}
    assert http_transport.requests[0].url.path == path


def test_url_of_a_workflow_does_not_depend_on_the_request_that_asks_first(
    http_transport: DjangoTransport,
) -> None:
    set_script_prefix("/elsewhere/")
    try:
        run = guarded.trigger({"n": 1})
        drain()
    finally:
        set_script_prefix("/")

    assert run.refresh().result == {"n": 1}
    assert http_transport.requests[0].url.path == "/workflows/guarded/"
