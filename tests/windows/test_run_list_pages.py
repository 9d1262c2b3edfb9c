"""The list of runs, the overview and the page of a verb for many in a real browser, under a strict content security policy."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import Browser, Page, sync_playwright
from pytest_django.live_server_helper import LiveServer

from django_workflow import NonRetryableError, WorkflowContext, workflow
from django_workflow.core.workflow import registry
from django_workflow.models import Run
from django_workflow.runtime.worker import drain

RUNS = "/admin/django_workflow/run/"
OVERVIEW = f"{RUNS}overview/"
ASKING = f"{RUNS}bulk/do/cancel/?workflow=list_page"
PAGES = [RUNS, f"{RUNS}?status=failed&q=broken", f"{RUNS}?label=none", OVERVIEW, ASKING]
NASTY = "<img src=x onerror=alert(1)>"

pytestmark = [pytest.mark.serial, pytest.mark.django_db(transaction=True)]


def refuse(text: str) -> None:
    raise NonRetryableError(f"{NASTY} {text}")


def listed(ctx: WorkflowContext[str]) -> None:
    if ctx.request_payload == "break":
        ctx.run(f"refuse {NASTY}", refuse, "a reason that is rather long, and then some more of it")
    if ctx.request_payload == "sleep":
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
def runs() -> Iterator[None]:
    made = workflow(name="list_page")(listed)
    for number in range(12):
        made.trigger("", workflow_run_id=f"order-{number}", label=["vip", f"customer-{number}"])
    made.trigger("sleep", workflow_run_id="asleep", label=NASTY)
    made.trigger("break", workflow_run_id="broken")
    drain()
    yield
    registry.remove("list_page")


@pytest.fixture
def open_page(
    browser: Browser, live_server: LiveServer, settings: LazySettings
) -> Iterator[Callable[..., tuple[Page, list[str]]]]:
    """Open a page as a superuser; also returns what the browser complains of."""
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "tests.windows.test_admin_pages.strict"]
    client = Client()
    client.force_login(User.objects.create_superuser("boss"))
    session = client.cookies["sessionid"].value
    contexts = []

    def open_(path: str, width: int = 1280, scheme: str = "light") -> tuple[Page, list[str]]:
        complaints: list[str] = []
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
        contexts.append(context)
        context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])
        context.route("**/favicon.ico", lambda route: route.fulfill(status=204))
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.goto(live_server.url + path)
        return page, complaints

    yield open_
    for context in contexts:
        context.close()


def picture(page: Page, name: str) -> None:
    """Keep what a page looks like, where somebody wants to look at it."""
    folder = os.environ.get("WORKFLOW_TESTS_PICTURES")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


def name_of(path: str) -> str:
    names = ["list", "list-failed", "list-none", "overview", "bulk-ask"]
    return names[PAGES.index(path)]


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_a_page_is_accessible_and_needs_nothing_inline(
    path: str, scheme: str, open_page: Any
) -> None:
    page, complaints = open_page(path, scheme=scheme)
    picture(page, f"{name_of(path)}-{scheme}")

    # The filters, tools and rows are ours; the form of the filters is the admin's nav.
    found = Axe().run(page, context="#content-main")

    assert [
        (one["help"], one["nodes"][0]["html"][:200]) for one in found.response["violations"]
    ] == []
    assert complaints == []


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_a_narrow_page_does_not_scroll_sideways(path: str, open_page: Any) -> None:
    page, _ = open_page(path, width=390)
    picture(page, f"{name_of(path)}-narrow")

    root = "document.documentElement"
    assert page.evaluate(f"{root}.scrollWidth <= {root}.clientWidth")


@pytest.mark.parametrize("path", [RUNS, OVERVIEW], ids=name_of)
def test_an_empty_page_says_what_to_do(path: str, open_page: Any) -> None:
    page, complaints = open_page(path)
    picture(page, f"{name_of(path)}-empty")

    page.get_by_text("No runs yet.").wait_for()
    assert complaints == []


@pytest.mark.usefixtures("runs")
def test_the_list_refreshes_by_itself_unless_something_is_chosen(open_page: Any) -> None:
    page, complaints = open_page(RUNS)
    row = page.locator("tr", has_text="asleep")

    Run.objects.get(pk="asleep").pause()
    row.get_by_text("paused").first.wait_for(timeout=15_000)
    facet = page.locator("#dw-facets li").filter(has=page.get_by_text("paused", exact=True))
    assert facet.inner_text().split() == ["paused", "1"]

    row.get_by_role("checkbox").check()
    assert page.locator(".dw-chosen").inner_text() == "1 of 14 selected"
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(6_000)
    assert asked == []
    assert complaints == []


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize("path", [RUNS, OVERVIEW])
def test_a_hidden_page_does_not_ask(path: str, open_page: Any) -> None:
    page, _ = open_page(path)
    page.evaluate("Object.defineProperty(document, 'hidden', {value: true})")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    page.wait_for_timeout(6_500)

    assert asked == []


@pytest.mark.usefixtures("runs")
def test_all_of_a_page_are_chosen_at_once_by_the_keyboard(open_page: Any) -> None:
    page, _ = open_page(f"{RUNS}?label=vip")

    page.get_by_label("Select all runs of this page").focus()
    page.keyboard.press("Space")

    assert page.locator(".dw-chosen").inner_text() == "12 of 12 selected"


@pytest.mark.usefixtures("runs")
def test_columns_are_chosen(open_page: Any) -> None:
    page, complaints = open_page(f"{RUNS}?status=running")

    page.get_by_text("Columns").click()
    page.get_by_label("open steps").check()
    page.get_by_role("button", name="Show these").click()

    assert page.locator("td.field-steps").inner_text() == "rest"
    assert "status=running" in page.url
    assert complaints == []


@pytest.mark.usefixtures("runs")
def test_the_overview_keeps_up(open_page: Any) -> None:
    page, complaints = open_page(OVERVIEW)

    Run.objects.get(pk="asleep").pause()
    page.locator(".dw-tile", has_text="paused").get_by_text("1", exact=True).wait_for(
        timeout=15_000
    )

    page.locator(".dw-tile", has_text="paused").click()
    page.locator("td.field-state").wait_for()
    assert page.locator("td.field-state").count() == 1
    assert complaints == []


@pytest.mark.usefixtures("runs")
def test_a_verb_for_all_that_match_is_followed_to_its_end(open_page: Any) -> None:
    page, complaints = open_page(f"{RUNS}?status=failed")

    page.get_by_label("Action:").select_option("resume_selected")
    page.get_by_role("button", name="Do it to all that match…").click()
    page.get_by_label("Reason").fill("mended")
    page.get_by_role("button", name="Resume: 1").click()
    page.get_by_text("Nothing yet.").wait_for()
    picture(page, "bulk-run-begun")
    drain()

    page.get_by_text("1 done, 0 not").wait_for(timeout=15_000)
    picture(page, "bulk-run-done")
    found = Axe().run(page, context="#content-main")
    assert [one["help"] for one in found.response["violations"]] == []
    assert complaints == []
