"""Every page of the admin as unfold shows it; run by `tests.windows.test_unfold` in a process of its own."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from playwright.sync_api import Browser, Page
from pytest_django.live_server_helper import LiveServer
from unfold.sites import UnfoldAdminSite

from django_workflow import (
    NonRetryableError,
    WorkflowContext,
    flow_control,
    notify,
    workflow,
)
from django_workflow.models import Approval, Run, Waiter, Webhook
from django_workflow.runtime.dead_letters import dead_letters
from django_workflow.runtime.worker import drain
from tests.app.models import Note
from tests.windows import start_types
from tests.windows.test_admin_pages import browser
from tests.windows.test_start_form import FULL

__all__ = ["browser"]

pytestmark = pytest.mark.django_db(transaction=True)

#: What is ours on a page; the rest is unfold's.
OURS = ".dw-run, .dw-heading, #dw-rows, nav#changelist-filter, .dw-tools, .dw-doing"
CONTRAST = {"runOnly": {"type": "rule", "values": ["color-contrast", "label", "button-name"]}}


def refuse(text: str) -> None:
    raise NonRetryableError(text)


@workflow(name="unfold_run", transport="inline")
def unfold_run(ctx: WorkflowContext[str]) -> None:
    ctx.run("tell", dict, told=ctx.request_payload)
    if ctx.request_payload == "wait":
        ctx.parallel(
            lambda: ctx.wait_for_event("event", "e"),
            lambda: ctx.wait_for_approval("sign", assignees=["user:boss"]),
            lambda: ctx.wait_for_webhook("hook", ctx.create_webhook("make"), "2d"),
        )
    ctx.run("refuse", refuse, ctx.request_payload)


typed = workflow(name="unfold_typed", transport="inline")(start_types.everything)


@pytest.fixture
def pages(settings: Any) -> list[str]:
    """The address of every page, with a row for each."""
    settings.WORKFLOW = {
        **settings.WORKFLOW,
        "APPROVAL_MAILER": None,
        "BASE_URL": "https://example.org",
    }
    note = Note.objects.create(text="a")
    unfold_run.trigger("wait", workflow_run_id="waiting", about=note, label=["vip", "eu"])
    unfold_run.trigger("fail", workflow_run_id="failed", about=note)
    unfold_run.schedule("0 3 * * *", schedule_id="nightly")
    flow_control("key").set(parallelism=1)
    notify("for-nobody", {"n": 1})
    typed.trigger(FULL, workflow_run_id="typed")
    drain()
    mark = dead_letters().groups[0].fingerprint
    approval = str(Approval.objects.get().pk)
    found = [
        ("overview",),
        ("run_changelist",),
        ("run_change", "waiting"),
        ("run_change", "failed"),
        *((f"run_{verb}", "failed") for verb in ("resume", "edit", "trigger", "happened")),
        *((f"run_{verb}", "waiting") for verb in ("cancel", "notify")),
        ("run_trigger", "typed"),
        ("dead_letters",),
        ("dead_letters_group", mark, "resume"),
        ("dead_letters_rate", mark, "resume"),
        ("dead_letters_note", mark),
        ("dead_letters_dry_retry", mark),
        ("definitions",),
        ("definition", "unfold_5Frun"),
        ("waiter_changelist",),
        ("waiter_notify",),
        ("waiter_change", str(Waiter.objects.get(event_id="e").pk)),
        ("webhook_changelist",),
        ("webhook_change", str(Webhook.objects.get().pk)),
        ("event_changelist",),
        ("delivery_changelist",),
        ("action_changelist",),
        ("alertstate_changelist",),
        ("approval_changelist",),
        ("approval_change", approval),
        ("approval_delegate", approval),
        ("schedule_changelist",),
        ("schedule_change", "nightly"),
        ("schedule_pause", "nightly"),
        ("flowkey_changelist",),
        ("flowkey_change", "key"),
        ("flowkey_set", "key"),
    ]
    paths = [reverse(f"admin:django_workflow_{name}", args=args) for name, *args in found]
    step = reverse("admin:django_workflow_run_step", args=["failed"]) + "?key=tell"
    return [*paths, step, reverse("admin:tests_app_note_change", args=[note.pk])]


@pytest.fixture
def look(browser: Browser, live_server: LiveServer) -> Iterator[Any]:
    """Open a tab as a superuser; also returns what the browser complains of."""
    client = Client()
    client.force_login(User.objects.create_superuser("boss", email="boss@example.org"))
    session = client.cookies["sessionid"].value
    contexts = []

    def open_(width: int, scheme: Any) -> tuple[Page, list[str]]:
        complaints: list[str] = []
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,
            base_url=live_server.url,
            reduced_motion="reduce",
        )
        contexts.append(context)
        context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])
        context.route("**/favicon.ico", lambda route: route.fulfill(status=204))
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        return page, complaints

    yield open_
    for context in contexts:
        context.close()


def shot(page: Page, name: str) -> None:
    """Keep a picture where somebody wants to look at them."""
    folder = os.environ.get("WORKFLOW_SCREENSHOTS")
    if folder:
        page.screenshot(path=str(Path(folder) / f"unfold-{name}.png"), full_page=True)


def test_the_admin_is_that_of_unfold() -> None:
    assert isinstance(admin.site, UnfoldAdminSite)
    assert admin.site.is_registered(Run)


def test_every_page_can_be_read_wide_and_narrow_light_and_dark(pages: list[str], look: Any) -> None:
    page, complaints = look(1280, "light")
    wrong: list[tuple[str, ...]] = []
    for number, path in enumerate(pages):
        page.set_viewport_size({"width": 1280, "height": 900})
        response = page.goto(path)
        assert response.status == 200, path
        page.locator("html:not(.dark)").wait_for()
        wrong += [(path, "light", *one) for one in faults(page)]
        shot(page, f"light-{number}")
        page.set_viewport_size({"width": 390, "height": 900})
        # What unfold's own switch does.
        page.evaluate("document.documentElement.classList.add('dark')")
        wrong += [(path, "dark", *one) for one in faults(page)]
        shot(page, f"dark-{number}")

    assert wrong == []
    assert complaints == []


def faults(page: Page) -> list[tuple[str, ...]]:
    """Return what cannot be read, and whether the page has to be scrolled sideways."""
    root = "document.documentElement"
    is_wide = page.evaluate(f"{root}.scrollWidth > {root}.clientWidth")
    if not page.locator(OURS).count():
        return [("too wide",)] * is_wide
    found = Axe().run(page, context=OURS, options=CONTRAST).response["violations"]
    nodes = [(one["id"], node["html"][:120]) for one in found for node in one["nodes"]]
    return [*nodes, *[("too wide",)] * is_wide]


def test_on_a_site_of_ones_own_they_lead_nowhere_else(pages: list[str]) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("boss"))
    for path in pages:
        if "/django_workflow/" not in path:
            continue
        response = client.get(path.replace("/admin/", "/back/office/", 1))
        assert response.status_code == 200, path
        ours = response.content.decode().partition('id="content"')[2]
        links = re.findall(r'(?:href|action)="(/[^"]*)"', ours)
        assert [link for link in links if not link.startswith(("/static/", "/back/office/"))] == []


def test_pages_have_their_title_and_the_way_back(look: Any, pages: list[str]) -> None:
    page, _ = look(1280, "light")
    page.goto(reverse("admin:django_workflow_run_cancel", args=["waiting"]))

    assert page.get_by_role("heading", name="Cancel this run?").is_visible()
    page.locator(".dw-heading").get_by_role("link", name="waiting").click()

    page.locator(".dw-lead").wait_for()
    page.get_by_role("link", name="tell", exact=True).first.click()
    page.locator("#dw-drawer-body .dw-step-name").wait_for()
    shot(page, "drawer")


def test_a_verb_is_done_and_the_page_goes_on_asking_once(look: Any, pages: list[str]) -> None:
    """Unfold brings htmx of its own: the page must not be refreshed by both."""
    page, complaints = look(1280, "light")
    page.goto(reverse("admin:django_workflow_run_change", args=["waiting"]))
    times = page.evaluate("""() => new Promise(done => {
        const at = []; const watch = new PerformanceObserver(list => list.getEntries().forEach(one => at.push([one.name, one.startTime])));
        watch.observe({type: 'resource'}); setTimeout(() => done(at), 5000);
    })""")
    assert times, "a run that has not ended is asked for"
    assert all(after[1] - before[1] > 500 for before, after in pairwise(times))

    page.get_by_role("link", name="Cancel", exact=True).click()
    page.get_by_label("Reason").fill("not today")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("Run waiting was cancelled.").first.wait_for()
    assert complaints == []
    assert Run.objects.get(pk="waiting").status == "cancelled"
