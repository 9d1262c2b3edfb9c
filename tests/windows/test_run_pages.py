"""The page of a run in a real browser: timeline, drawer, verbs; strict policy, light and dark, wide and narrow, long runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import Browser, Page
from pytest_django.live_server_helper import LiveServer

from django_workflow import RetryPolicy, WorkflowContext, workflow
from django_workflow.core.workflow import registry
from django_workflow.models import Run, Step
from django_workflow.runtime.worker import drain
from django_workflow.store.claims import now
from tests.windows.test_admin_pages import RUNS, browser

__all__ = ["browser"]

pytestmark = [pytest.mark.serial, pytest.mark.django_db(transaction=True)]

LATER = RetryPolicy(max_retries=3, first_delay=timedelta(hours=1), jitter=0)
#: Executes if any of it reaches a page as it is.
HOSTILE = [
    "<script>window.dwHurt = 1</script>",
    "<img src=x onerror='window.dwHurt = 1'>",
    '"><svg onload=window.dwHurt=1>',
    "javascript:window.dwHurt=1",
    "</pre></details><iframe srcdoc='<script>parent.dwHurt=1</script>'>",
    "{{ 7|add:7 }}{% now 'Y' %}",
    "'-alert(1)-'\u2028\u202e",
]
broken: list[str] = []


def body(name: str, value: Any = None) -> Any:
    if name in broken:
        raise ValueError(f"no {name}")
    return {"name": name, "value": value, "tags": ["a", "b"], "long": "a value of some length"}


def shipping(ctx: WorkflowContext[Any]) -> Any:
    ctx.run("charge card", body, "charge")
    ctx.parallel(
        lambda: [ctx.run("print label", body, "label"), ctx.run("stick label", body, "stick")],
        lambda: ctx.run("make invoice", body, "invoice"),
    )
    ctx.invoke("tell partner", "page_child", {"n": 1})
    ctx.sleep("let it travel", "3d")
    return ctx.run("ask for review", body, "review")


def child(ctx: WorkflowContext[Any]) -> Any:
    return ctx.run("say", body, "say")


def hostile(ctx: WorkflowContext[Any]) -> Any:
    for text in HOSTILE:
        ctx.run(text[:80], body, "hostile", ctx.request_payload)
        ctx.log(text, note=text)
    ctx.set_state({text: text for text in HOSTILE})
    ctx.run("last", body, "last", HOSTILE)
    ctx.wait_for_event(HOSTILE[0], HOSTILE[1], timeout="2h")


@pytest.fixture(autouse=True)
def workflows() -> Iterator[None]:
    broken.clear()
    made = {"page_ship": shipping, "page_child": child, "page_hostile": hostile}
    for name, function in made.items():
        workflow(name=name, retries=LATER)(function)
    yield
    for name in made:
        registry.remove(name)


@pytest.fixture
def look(
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
        page.goto(live_server.url + path)
        return page, complaints

    yield open_
    for context in contexts:
        context.close()


def started(name: str, run_id: str, payload: Any = None) -> Run:
    workflow_ = registry.get(name)
    run: Run = workflow_.trigger(payload, workflow_run_id=run_id)
    drain()
    return run.refresh()


def shot(page: Page, name: str) -> None:
    """Keep a picture where somebody wants to look at them."""
    folder = os.environ.get("WORKFLOW_SCREENSHOTS")
    if folder:
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


def is_fit(page: Page, complaints: list[str]) -> None:
    root = "document.documentElement"
    assert page.evaluate(f"{root}.scrollWidth <= {root}.clientWidth")
    found = Axe().run(page, context=".dw-run")
    wrong = [
        (one["help"], node["html"]) for one in found.response["violations"] for node in one["nodes"]
    ]
    assert wrong == []
    assert complaints == []


def prepare(state: str) -> str:
    """Bring a run into a state; return the address of its page."""
    if state == "failed":
        broken.append("invoice")
    if state == "retrying":
        broken.append("charge")
    run = started("page_ship", "one", {"order": 42, "card": "4111"})
    if state == "failed":
        for _ in range(3):
            run.retry_now()
            drain()
        run.refresh()
    if state == "blocked":
        Step.objects.filter(key="let it travel").update(name="rest", key="rest")
        run.skip_sleep()
        drain()
    if state == "done":
        run.skip_sleep()
        drain()
    expected = {"failed": "failed", "blocked": "blocked", "done": "completed"}.get(state, "running")
    assert run.refresh().status == expected
    return f"{RUNS}one/change/"


@pytest.mark.parametrize("state", ["waiting", "retrying", "failed", "blocked", "done"])
def test_the_page_of_a_run_is_fit_for_everybody(state: str, look: Any) -> None:
    path = prepare(state)

    for scheme, width in [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)]:
        page, complaints = look(path, width=width, scheme=scheme)
        shot(page, f"run-{state}-{scheme}-{width}")
        is_fit(page, complaints)
        assert page.locator(".dw-timeline .dw-bar").count() > 0


def test_a_step_opens_beside_the_timeline_and_closes_by_key(look: Any) -> None:
    page, complaints = look(prepare("failed"))

    page.locator(".dw-lines").get_by_role("link", name="make invoice").click()
    drawer = page.locator("#dw-drawer")
    drawer.get_by_text("no invoice").first.wait_for()
    shot(page, "drawer-failed")
    is_fit(page, complaints)
    page.keyboard.press("Escape")

    assert not drawer.is_visible()
    assert page.url.endswith("one/change/")


def test_a_step_has_a_page_without_a_script(look: Any) -> None:
    prepare("failed")

    page, complaints = look(f"{RUNS}one/step/?key=p1.1/make%20invoice", width=390)

    shot(page, "step-narrow")
    is_fit(page, complaints)
    page.get_by_text("retries").first.wait_for()


def test_zoom_and_idle_time_are_links(look: Any) -> None:
    page, complaints = look(prepare("done"))

    page.get_by_role("link", name="Closer").click()
    assert "zoom=25.00-75.00" in page.url
    page.get_by_role("link", name="Later").click()
    page.get_by_role("link", name="All of it").click()
    page.get_by_role("link", name="Show idle time").click()

    assert "fold=0" in page.url
    assert "zoom" not in page.url
    assert complaints == []


@pytest.mark.parametrize("name", ["happened", "compare"])
def test_the_other_pages_are_fit(name: str, look: Any) -> None:
    prepare("blocked")

    for scheme, width in [("light", 1280), ("dark", 390)]:
        page, complaints = look(f"{RUNS}one/{name}/", width=width, scheme=scheme)
        shot(page, f"{name}-{scheme}-{width}")
        is_fit(page, complaints)


def test_code_that_parts_from_its_journal_is_shown_beside_it(look: Any) -> None:
    page, _ = look(prepare("blocked"))

    page.get_by_role("link", name="Compare the code").click()

    row = page.locator("tr.dw-other")
    assert row.locator("td").first.inner_text() == 'sleep "rest"'
    assert "let it travel" in row.locator("td").nth(1).inner_text()


VERBS = ["retry", "skip", "extend", "prioritise", "fork", "edit", "trigger"]


@pytest.mark.parametrize("verb", VERBS)
def test_pages_that_ask_are_fit(verb: str, look: Any) -> None:
    run = started("page_ship", "one", {"order": 42})
    if verb == "edit":
        run.pause()

    for scheme, width in [("light", 1280), ("dark", 390)]:
        page, complaints = look(f"{RUNS}one/{verb}/", width=width, scheme=scheme)
        shot(page, f"ask-{verb}-{scheme}-{width}")
        is_fit(page, complaints)


def test_a_sleep_is_skipped_from_its_drawer_and_the_page_grows(look: Any) -> None:
    page, complaints = look(prepare("waiting"))
    page.locator(".dw-lines").get_by_role("link", name="let it travel").click()
    page.locator("#dw-drawer").get_by_role("link", name="Skip sleep").click()
    page.get_by_label("Reason").fill("the customer waits")
    page.get_by_role("button", name="Skip sleep").click()
    page.get_by_text("the customer waits").wait_for()

    drain()

    page.locator(".dw-lead .dw-completed").wait_for(timeout=10_000)
    page.locator(".dw-lines").get_by_role("link", name="ask for review").wait_for()
    assert complaints == []


def test_a_failed_step_is_put_right_and_the_run_resumed(look: Any) -> None:
    page, complaints = look(prepare("failed"))

    page.locator(".dw-lines").get_by_role("link", name="make invoice").click()
    page.locator("#dw-drawer").get_by_role("link", name="Edit a result").click()
    page.get_by_label("Result").fill('{"by": "hand"}')
    page.get_by_role("button", name="Edit a result").click()
    page.get_by_role("link", name="Resume", exact=True).click()
    page.get_by_role("button", name="Resume").click()
    drain()

    assert Step.objects.get(key="p1.1/make invoice").result == {"by": "hand"}
    assert Run.objects.get(pk="one").status == "running"
    assert complaints == []


def test_a_run_is_forked_with_another_payload(look: Any) -> None:
    page, complaints = look(prepare("done"))

    page.get_by_role("link", name="Fork from a step").click()
    page.get_by_label("Step:").select_option("tell partner")
    page.get_by_label("Payload").fill('{"order": 43}')
    page.get_by_role("button", name="Fork from a step").click()

    page.get_by_text("was forked").wait_for()
    new = Run.objects.get(forked_at="tell partner")
    assert new.payload == {"order": 43}
    page.get_by_text("Forked from").wait_for()
    assert complaints == []


def test_a_new_run_is_started_like_this_one_once(look: Any) -> None:
    page, complaints = look(prepare("done"))

    page.get_by_role("link", name="Start one like this").click()
    page.get_by_label("Labels").fill("again, vip")
    page.get_by_role("button", name="Start one like this").click()

    page.get_by_text("was taken as a model").wait_for()
    new = Run.objects.filter(workflow="page_ship").exclude(pk="one").get()
    assert new.payload == {"order": 42, "card": "4111"}
    assert (new.labels, new.triggered_by) == (["again", "vip"], "boss")
    assert complaints == []


@pytest.mark.parametrize("count", [1_000, 5_000])
def test_a_long_run_opens_fast(count: int, look: Any) -> None:
    started("page_child", "one")
    moment = now()
    Step.objects.bulk_create(
        Step(
            run_id="one", key=f"step {n}", name=f"step {n}", kind="run", status="completed", sequence=n + 10,
            result_text='{"n": 1}', attempts=1, created_at=moment + timedelta(seconds=n),
            started_at=moment + timedelta(seconds=n), finished_at=moment + timedelta(seconds=n + 0.5),
        )
        for n in range(count)
    )  # fmt: skip

    page, complaints = look(f"{RUNS}one/change/")
    timing = "performance.getEntriesByType('navigation')[0]"
    took = page.evaluate(f"{timing}.responseEnd - {timing}.requestStart")

    shot(page, f"run-{count}-steps")
    assert page.locator(".dw-lines .dw-line").count() == 200
    # Two busy cores: alone it takes a fifth of this.
    assert took < 5_000
    assert complaints == []


def test_nothing_that_a_run_says_is_executed(look: Any) -> None:
    broken.append("last")
    run = started("page_hostile", "one", HOSTILE)
    run.pause(why=HOSTILE[0], actor=HOSTILE[1])
    broken.clear()

    keys = list(run.steps.order_by("id").values_list("key", flat=True))
    paths = [
        "one/change/", "one/happened/", "one/fork/", "one/edit/", "one/trigger/",
        *(f"one/step/?key={quoted(key)}" for key in keys),
    ]  # fmt: skip
    for path in paths:
        page, complaints = look(RUNS + path)
        assert page.locator("#content").is_visible(), path
        assert page.evaluate("window.dwHurt") is None, path
        assert complaints == [], path
    page, complaints = look(f"{RUNS}one/change/")
    for name in keys[:2]:
        page.locator(".dw-lines").get_by_role("link", name=name, exact=True).click()
        page.locator("#dw-drawer h2").get_by_text(name, exact=True).wait_for()
        page.keyboard.press("Escape")
    assert page.evaluate("window.dwHurt") is None
    assert complaints == []


def quoted(key: str) -> str:
    return quote(key, safe="")
