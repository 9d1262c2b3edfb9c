"""The admin's pages in a real browser, under a strict content security policy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.test import Client
from playwright.sync_api import Browser, Page, sync_playwright
from pytest_django.live_server_helper import LiveServer

from django_workflow import NonRetryableError, WorkflowContext, workflow
from django_workflow.core.workflow import registry
from django_workflow.models import Run
from django_workflow.runtime.worker import drain

RUNS = "/admin/django_workflow/run/"
PAGES = [RUNS, f"{RUNS}told/change/", f"{RUNS}broken/change/", "/admin/django_workflow/delivery/"]

pytestmark = [pytest.mark.serial, pytest.mark.django_db(transaction=True)]


def strict(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Allow what is served from here, and nothing inline."""

    def answer(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response["Content-Security-Policy"] = "default-src 'self'"
        return response

    return answer


def tell(text: str) -> dict[str, Any]:
    return {"told": text, "to": ["Ann", "Bob"], "at": "a place whose name is rather long"}


def refuse() -> None:
    raise NonRetryableError("not <today>")


def telling(ctx: WorkflowContext[str]) -> None:
    ctx.run("tell", tell, ctx.request_payload)
    if ctx.request_payload == "break":
        ctx.run("refuse", refuse)
    ctx.sleep("rest", "2h")


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with pytest.MonkeyPatch.context() as environment, sync_playwright() as playwright:
        # playwright's sync API runs an event loop in this thread, from here to the end.
        environment.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        launched = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def open_page(
    browser: Browser,
    live_server: LiveServer,
    settings: LazySettings,
) -> Iterator[Callable[..., tuple[Page, list[str]]]]:
    """Open a page as a superuser; also returns what the browser complains of."""
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.strict"]
    made = workflow(name="page_tell")(telling)
    made.trigger("hello", workflow_run_id="told", label="vip")
    made.trigger("break", workflow_run_id="broken")
    drain()
    client = Client()
    client.force_login(User.objects.create_superuser("boss"))
    session = client.cookies["sessionid"].value
    contexts = []

    def open_(path: str, width: int = 1280, scheme: str = "light") -> tuple[Page, list[str]]:
        complaints: list[str] = []
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
        contexts.append(context)
        context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])
        # A browser asks for a favicon, which the admin does not have.
        context.route("**/favicon.ico", lambda route: route.fulfill(status=204))
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(live_server.url + path)
        return page, complaints

    yield open_
    registry.remove("page_tell")
    for context in contexts:
        context.close()


@pytest.mark.parametrize("path", PAGES)
def test_nothing_inline_is_needed(path: str, open_page: Any) -> None:
    page, complaints = open_page(path)

    page.locator("#content").wait_for()
    assert complaints == []


@pytest.mark.parametrize("path", PAGES)
def test_a_narrow_page_does_not_scroll_sideways(path: str, open_page: Any) -> None:
    page, _ = open_page(path, width=390)

    root = "document.documentElement"
    assert page.evaluate(f"{root}.scrollWidth <= {root}.clientWidth")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("run_id", ["told", "broken"])
def test_the_page_of_a_run_is_accessible(run_id: str, scheme: str, open_page: Any) -> None:
    page, _ = open_page(f"{RUNS}{run_id}/change/", scheme=scheme)

    found = Axe().run(page, context=".dw-run")

    assert [one["help"] for one in found.response["violations"]] == []


def test_a_long_result_opens_without_a_script(open_page: Any) -> None:
    page, _ = open_page(f"{RUNS}told/change/")

    page.get_by_text("The result").click()

    page.locator(".dw-more pre").wait_for()


DEAD = f"{RUNS}dead-letters/"
ASKING = [DEAD, f"{RUNS}told/cancel/", f"{RUNS}told/notify/", f"{RUNS}broken/resume/"]


@pytest.mark.parametrize("path", ASKING)
def test_pages_that_ask_are_fit_for_everybody(path: str, open_page: Any) -> None:
    for scheme, width in [("light", 1280), ("dark", 390)]:
        page, complaints = open_page(path, width=width, scheme=scheme)

        root = "document.documentElement"
        assert page.evaluate(f"{root}.scrollWidth <= {root}.clientWidth")
        found = Axe().run(page, context=".dw-run")
        assert [one["help"] for one in found.response["violations"]] == []
        assert complaints == []


def test_a_run_is_cancelled_and_a_group_resumed(open_page: Any) -> None:
    page, complaints = open_page(f"{RUNS}told/change/")

    page.get_by_role("link", name="Cancel").click()
    page.get_by_label("Reason").fill("not today")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("Run told was cancelled.").wait_for()
    page.get_by_text("not today").wait_for()

    page.goto(page.url.replace("told/change/", "dead-letters/"))
    page.get_by_role("link", name="Resume").first.click()
    page.get_by_role("button", name="Resume").click()
    page.get_by_text("resumed", exact=True).wait_for()
    assert complaints == []
    assert Run.objects.get(pk="broken").status == "running"


def test_selected_runs_are_paused(open_page: Any) -> None:
    page, complaints = open_page(RUNS)

    page.locator("tr", has_text="told").get_by_role("checkbox").check()
    page.get_by_label("Action:").select_option("pause_selected")
    page.get_by_role("button", name="Go").click()
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("link", name="Back").click()

    page.locator("tr", has_text="told").get_by_text("paused").first.wait_for()
    assert complaints == []


def test_the_page_grows_while_the_run_goes_on_and_then_rests(open_page: Any) -> None:
    page, complaints = open_page(f"{RUNS}told/change/")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.get_by_text("The result").click()

    Run.objects.get(pk="told").pause()
    page.locator(".dw-lead .dw-paused").wait_for(timeout=10_000)
    assert page.locator(".dw-more pre").is_visible(), "what was open stays open"

    Run.objects.get(pk="told").cancel()
    page.locator(".dw-lead .dw-cancelled").wait_for(timeout=10_000)
    count = len(asked)
    page.wait_for_timeout(3_000)
    assert len(asked) == count
    assert complaints == []


def test_a_hidden_page_does_not_ask(open_page: Any) -> None:
    page, _ = open_page(f"{RUNS}told/change/")
    page.evaluate("Object.defineProperty(document, 'hidden', {value: true})")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    page.wait_for_timeout(3_000)

    assert asked == []
