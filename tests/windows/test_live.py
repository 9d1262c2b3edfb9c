"""Runs on the project's own pages: who may follow one, what is shown and what is not, and when it stops asking."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.http import HttpRequest, HttpResponse
from django.template import engines
from django.test import Client, RequestFactory, override_settings
from django.urls import include, path
from playwright.sync_api import sync_playwright
from pytest_django.live_server_helper import LiveServer

from django_workflow import WorkflowContext, notify, workflow
from django_workflow.core.workflow import registry
from django_workflow.models import Run
from django_workflow.runtime.worker import drain
from django_workflow.testing import WorkflowSandbox

HOW_TO = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "live.md"
PAGE = """{% load django_htmx workflow_live %}<!doctype html><html lang="en"><head><title>Order</title>
<meta name="htmx-config" content='{"includeIndicatorStyles": false, "allowEval": false}'>
{% htmx_script %}</head><body><main>{% workflow_live run %}</main></body></html>"""

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.urls(__name__),
]


def page(request: HttpRequest, run_id: str) -> HttpResponse:
    response = HttpResponse(engines["django"].from_string(PAGE).render({"run": run_id}, request))
    response["Content-Security-Policy"] = "default-src 'self'"
    return response


urlpatterns = [
    path("workflows/", include("django_workflow.urls")),
    path("page/<path:run_id>/", page),
]


def has_the_word(request: Any, run: Run) -> Any:
    return request.COOKIES.get("word") == "sesame"


async def is_async(request: Any, run: Run) -> bool:
    return True


def ship(ctx: WorkflowContext[Any]) -> str:
    ctx.set_progress(25, message="<b>packing</b>")
    ctx.set_state({"secret": "the state"})
    ctx.wait_for_event("fetched", "fetched", timeout="1d")
    ctx.set_progress(100, message="there")
    return "the result"


@pytest.fixture(autouse=True)
def shop() -> Iterator[None]:
    workflow(name="live_ship")(ship)
    with override_settings(
        WORKFLOW={"DISPATCHER": "embedded", "MAY_FOLLOW": f"{__name__}.has_the_word"}
    ):
        yield
    registry.remove("live_ship")


@pytest.fixture
def run() -> Iterator[Run]:
    with WorkflowSandbox():
        yield registry.get("live_ship").trigger({"card": "the payload"}, workflow_run_id="order/1")


@pytest.fixture
def customer() -> Client:
    client = Client()
    client.cookies["word"] = "sesame"
    return client


def url_in(content: bytes) -> str:
    found = re.search(rb'hx-get="([^"]+)"', content)
    assert found is not None, content
    return found[1].decode()


def test_the_page_shows_how_far_it_is_and_nothing_internal(customer: Client, run: Run) -> None:
    content = customer.get(f"/page/{run.id}/").content
    assert b'value="25' in content
    assert b"&lt;b&gt;packing" in content
    for internal in (b"the payload", b"the state", b"fetched", b"live_ship"):
        assert internal not in content


def test_what_has_not_changed_is_not_sent_again(customer: Client, run: Run) -> None:
    url = url_in(customer.get(f"/page/{run.id}/").content)

    same = customer.get(url, headers={"HX-Request": "true"})
    whole = customer.get(url.partition("?")[0])
    cached = customer.get(url.partition("?")[0], headers={"If-None-Match": whole["ETag"]})

    assert (same.status_code, same.content) == (204, b"")
    assert (whole.status_code, cached.status_code, cached.content) == (200, 304, b"")
    assert set(whole["Cache-Control"].split(", ")) == {"private", "no-cache"}

    notify("fetched")
    ended = customer.get(url)
    assert ended.status_code == 200
    # It asks no more.
    assert b"hx-get" not in ended.content
    assert b'value="100' in ended.content
    assert b"the result" not in ended.content


def test_who_may_not_follow_sees_nothing(run: Run) -> None:
    stranger = Client()
    assert b"workflow-live" not in stranger.get(f"/page/{run.id}/").content
    assert stranger.get(f"/workflows/live/{run.id}/").status_code == 404
    refused = stranger.get(f"/workflows/live/{run.id}/", headers={"HX-Request": "true"})
    assert (refused.status_code, refused.content, refused["HX-Reswap"]) == (286, b"", "none")


def test_unknown_runs(customer: Client) -> None:
    assert customer.get("/workflows/live/none/").status_code == 404
    assert customer.get("/workflows/live/a%00b/").status_code == 404
    assert customer.post("/workflows/live/none/").status_code == 405
    assert b"workflow-live" not in customer.get("/page/none/").content


@pytest.mark.parametrize("answer", [None, f"{__name__}.is_async"])
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
def test_nobody_may_where_the_project_has_not_said_so(
    customer: Client, run: Run, answer: str | None
) -> None:
    with override_settings(WORKFLOW={"DISPATCHER": "embedded", "MAY_FOLLOW": answer}):
        assert customer.get(f"/workflows/live/{run.id}/").status_code == 404


def test_a_url_that_is_missing_is_told(run: Run, settings: Any) -> None:
    settings.ROOT_URLCONF = "tests.urls"
    request = RequestFactory().get("/")
    request.COOKIES["word"] = "sesame"
    with pytest.raises(ImproperlyConfigured, match=r"django_workflow\.urls"):
        engines["django"].from_string(PAGE).render({"run": run}, request)


@pytest.mark.serial
@pytest.mark.django_db(transaction=True)
def test_a_browser_follows_it_to_the_end(
    chromium: str, live_server: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    registry.get("live_ship").trigger(workflow_run_id="order-1")
    drain()
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        context = browser.new_context()
        context.add_cookies([{"name": "word", "value": "sesame", "url": live_server.url}])
        context.route("**/favicon.ico", lambda route: route.fulfill(status=204))
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.goto(f"{live_server.url}/page/order-1/")
        assert "packing" in page.locator(".workflow-live-message").inner_text()

        notify("fetched")
        drain()
        # Beside playwright's loop this thread has a connection of its own.
        connections.close_all()
        page.locator(".workflow-live-completed").wait_for(timeout=15_000)

        assert page.locator(".workflow-live-message").inner_text() == "there"
        assert page.locator("[hx-get]").count() == 0
        browser.close()
    assert complaints == []


@pytest.mark.serial
@pytest.mark.django_db(transaction=True)
def test_a_hidden_tab_asks_nothing(
    chromium: str, live_server: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    registry.get("live_ship").trigger(workflow_run_id="order-1")
    drain()
    asked: list[str] = []
    hide = "Object.defineProperty(document, 'hidden', {configurable: true, get: () => %s})"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        context = browser.new_context()
        context.add_cookies([{"name": "word", "value": "sesame", "url": live_server.url}])
        page = context.new_page()
        page.clock.install(time=datetime(2030, 1, 1, tzinfo=UTC))
        page.on("request", lambda made: asked.append(made.url) if "/live/" in made.url else None)
        page.goto(f"{live_server.url}/page/order-1/")
        # From now on time stands still between the lines.
        with page.expect_response("**/live/**"):
            page.clock.pause_at(datetime(2030, 1, 1, 1, tzinfo=UTC))
        with page.expect_response("**/live/**"):
            page.clock.run_for(2_500)
        before = len(asked)

        page.evaluate(hide % "true")
        page.clock.run_for(20_000)
        page.evaluate("fetch('/none/')")
        hidden = len(asked)
        page.evaluate(hide % "false")
        with page.expect_response("**/live/**"):
            page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        shown = len(asked)
        browser.close()
    assert (before, hidden, shown) == (before, before, before + 1)


def test_examples_of_the_how_to(customer: Client, run: Run) -> None:
    text = HOW_TO.read_text()
    namespace: dict[str, Callable[..., Any]] = {}
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile("\n".join(blocks), str(HOW_TO), "exec"), namespace)  # noqa: S102  our own page
    [html] = re.findall(r"```html\n(.*?)```", text, re.DOTALL)

    request = RequestFactory().get("/")
    request.COOKIES["word"] = "sesame"
    shown = engines["django"].from_string(html).render({"run": run}, request)

    assert 'role="status"' in shown
    assert namespace["may_follow"](_asking(1), _about(1)) is True
    assert namespace["may_follow"](_asking(1), _about(2)) is False
    assert namespace["may_follow"](_asking(1), _about(None)) is False
    assert json.dumps(namespace["WORKFLOW"]) == '{"MAY_FOLLOW": "shop.access.may_follow"}'


def _asking(customer: int) -> Any:
    return type("Asking", (), {"user": type("User", (), {"pk": customer})})


def _about(customer: int | None) -> Any:
    order = None if customer is None else type("Order", (), {"customer_id": customer})
    return type("Run", (), {"about": order})
