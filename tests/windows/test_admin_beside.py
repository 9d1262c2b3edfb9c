"""The pages beside those of runs, in a real browser under a strict content security policy: with axe, in both themes,
narrow, empty and full. WORKFLOW_SCREENSHOTS names a folder for pictures of all of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from playwright.sync_api import Browser, Page, sync_playwright
from pytest_django.live_server_helper import LiveServer

from django_workflow import (
    FlowControl,
    NonRetryableError,
    WorkflowContext,
    flow_control,
    notify,
    workflow,
)
from django_workflow.core.workflow import registry
from django_workflow.models import Approval, Event, Run, Schedule
from django_workflow.runtime.dead_letters import dead_letters
from django_workflow.runtime.redriving import NAME, start_redrive
from django_workflow.runtime.steering import note_error
from django_workflow.runtime.worker import drain
from tests.app.models import Note

pytestmark = [
    pytest.mark.serial,
    pytest.mark.django_db(transaction=True),
    pytest.mark.urls("tests.windows.admin_urls"),
]

XSS = "<img src=x onerror=\"console.error('xss')\"><script>console.error('xss')</script>"
LOOKS = [("light", 1280), ("dark", 1280), ("light", 390)]
broken = True


def refuse(text: str) -> str:
    if broken:
        raise NonRetryableError(text)
    return text


def beside(ctx: WorkflowContext[Any]) -> Any:
    payload = ctx.request_payload or {}
    if "fails" in payload:
        return ctx.run(f"charge {payload['fails'][:30]}", refuse, payload["fails"])
    if "waits" in payload:
        form = "tests.app.forms.BudgetForm"
        return ctx.wait_for_event("pickup", payload["waits"], schema=form).event_data
    if "asks" in payload:
        return ctx.wait_for_approval(
            "sign",
            assignees=["user:boss"],
            title=payload["asks"],
            description="It stands in the hall, and is needed by Monday.",
            form="tests.app.forms.BudgetForm",
        ).decision
    return None


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
    browser: Browser, live_server: LiveServer, settings: LazySettings
) -> Iterator[Callable[..., tuple[Page, list[str]]]]:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "tests.windows.test_admin_pages.strict"]
    settings.WORKFLOW = {**settings.WORKFLOW, "APPROVAL_MAILER": None}
    made = workflow(name="beside", transport="inline")(beside)
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
    if registry.find(made.name) is not None:
        registry.remove("beside")


def fill() -> None:
    """Make a row of everything, some of it with names that would do harm."""
    made = registry.get("beside")
    note = Note.objects.create(text="a note")
    for number in range(3):
        made.trigger({"fails": XSS}, workflow_run_id=f"failed-{number}", about=note)
    made.trigger({"fails": "The bank is closed"}, workflow_run_id="other")
    made.trigger({"waits": XSS}, workflow_run_id="waiting")
    made.trigger({"asks": f"Buy {XSS}?"}, workflow_run_id="asking")
    flow_control(XSS[:60]).set(parallelism=1)
    flow_control("reports").set(parallelism=1, rate=5, period="1m")
    flow_control("reports").pause()
    for number in range(2):
        control = FlowControl("reports", parallelism=1)
        made.trigger({}, workflow_run_id=f"line-{number}", flow_control=control)
    made.schedule("0 3 * * MON-FRI", schedule_id="nightly", timezone="Europe/Paris")
    made.schedule("*/5 * * * *", schedule_id="paused <b>one</b>").pause()
    drain()
    Schedule.objects.get(pk="nightly").run_now()
    notify("nobody waits for this", {"a": 1})
    looped = Run.objects.get(pk="other")
    assert looped.failure is not None
    text = str(looped.failure_text).replace(looped.failure.error_class, "CrashLoopError")
    Run.objects.filter(pk="other").update(status="blocked", failure_text=text)
    mark = dead_letters().groups[0].fingerprint
    note_error(mark, note=XSS, assignee="Ann", is_ignored=False)
    for number in range(3):
        week = datetime.now(UTC) - timedelta(days=2 * number)
        Run.objects.filter(pk=f"failed-{number}").update(finished_at=week)
    start_redrive("resume", ["failed-0", "failed-1"], per_minute=1, actor="Ann")
    moment = datetime.now(UTC)
    run = Run.objects.get(pk="waiting")
    run.webhooks.create(
        step_key="carrier", event_id="webhook:1", digest="d", created_at=moment, calls=1
    )
    Event.objects.create(
        event_id="webhook:1",
        run=run,
        created_at=moment,
        data_text='{"is_base64": false, "content": "hi"}',
    )


def pages() -> dict[str, str]:
    """Return every page beside those of runs, by name."""
    mark = next(one.fingerprint for one in dead_letters().groups if not one.is_quarantined)
    approval = str(Approval.objects.get().pk)
    waiter = str(Run.objects.get(pk="waiting").waiters.get().pk)
    webhook = str(Run.objects.get(pk="waiting").webhooks.get().pk)
    named: dict[str, tuple[str, ...]] = {
        "dead letters": ("dead_letters",),
        "rate": ("dead_letters_rate", mark, "resume"),
        "note": ("dead_letters_note", mark),
        "dry retry": ("dead_letters_dry_retry", mark),
        "workflows": ("definitions",),
        "workflow": ("definition", "beside"),
        "waiters": ("waiter_changelist",),
        "waiter": ("waiter_change", waiter),
        "webhooks": ("webhook_changelist",),
        "webhook": ("webhook_change", webhook),
        "events": ("event_changelist",),
        "actions": ("action_changelist",),
        "approvals": ("approval_changelist",),
        "approval": ("approval_change", approval),
        "hand on": ("approval_delegate", approval),
        "schedules": ("schedule_changelist",),
        "schedule": ("schedule_change", "nightly"),
        "schedule remove": ("schedule_remove", "nightly"),
        "limits": ("flowkey_changelist",),
        "limit": ("flowkey_change", "reports"),
        "limit set": ("flowkey_set", "reports"),
    }
    found = {
        name: reverse(f"admin:django_workflow_{page}", args=args)
        for name, (page, *args) in named.items()
    }
    found["notify"] = f"{reverse('admin:django_workflow_waiter_notify')}?event_id=nobody"
    found["panel"] = reverse("office:tests_app_note_change", args=[Note.objects.get().pk])
    return found


def keep(page: Page, name: str, look: str) -> None:
    folder = os.environ.get("WORKFLOW_SCREENSHOTS")
    if folder:
        file = Path(folder) / f"{name.replace(' ', '-')}-{look}.png"
        page.screenshot(path=str(file), full_page=True)


def assert_fit(page: Page, complaints: list[str], name: str) -> None:
    root = "document.documentElement"
    assert page.evaluate(f"{root}.scrollWidth <= {root}.clientWidth"), f"{name} scrolls sideways"
    scope = "#changelist" if page.locator("#changelist").count() else ".dw-run"
    # The lists are Django's own: of those, what we put there.
    if scope == ".dw-run":
        found = Axe().run(page, context=scope)
        assert [
            (one["help"], one["nodes"][0]["html"]) for one in found.response["violations"]
        ] == [], name
    assert complaints == [], name


@pytest.mark.timeout(400)
@pytest.mark.parametrize(("scheme", "width"), LOOKS)
def test_pages_are_fit_for_everybody(scheme: str, width: int, open_page: Any) -> None:
    fill()
    for name, path in pages().items():
        page, complaints = open_page(path, width=width, scheme=scheme)
        keep(page, name, f"{scheme}-{width}")
        assert_fit(page, complaints, name)
        page.context.close()


def test_empty_pages_say_what_to_do_next(open_page: Any) -> None:
    for name, says in {
        "dead_letters": "No dead letters",
        "waiter_changelist": "Nobody waits for an event",
        "webhook_changelist": "ctx.create_webhook()",
        "approval_changelist": "Nothing waits for your decision",
        "schedule_changelist": "No schedules yet",
        "flowkey_changelist": "No flow control yet",
        "event_changelist": "sent by notify()",
        "action_changelist": "Nobody has done anything yet",
    }.items():
        page, complaints = open_page(reverse(f"admin:django_workflow_{name}"))
        keep(page, name, "empty")
        assert page.get_by_text(says).is_visible(), name
        assert complaints == [], name


def see(page: Page, text: str) -> None:
    """Wait until it is there: what was clicked may still be on its way."""
    page.get_by_text(text).first.wait_for(timeout=10_000)


def test_a_waiter_is_notified_by_its_own_form(open_page: Any) -> None:
    registry.get("beside").trigger({"waits": "pickup:42"}, workflow_run_id="one")
    drain()
    page, complaints = open_page(reverse("admin:django_workflow_waiter_changelist"))

    page.get_by_role("link", name="pickup:42").click()
    page.get_by_role("link", name="Send this event").click()
    see(page, "It would reach 1 step")
    page.get_by_label("Amount").fill("12.5")
    page.get_by_label("Reason").fill("Ann called")
    keep(page, "notify-form", "light")
    page.get_by_role("button", name="Send").click()

    see(page, "reached 1 run")
    drain()
    assert str(Run.objects.get(pk="one").result["amount"]) == "12.5"
    assert complaints == []


def test_an_approval_is_given_from_the_inbox(open_page: Any) -> None:
    registry.get("beside").trigger({"asks": "Buy a desk?"}, workflow_run_id="one")
    drain()
    page, complaints = open_page(reverse("admin:django_workflow_approval_changelist"))

    page.get_by_role("link", name="Buy a desk?").click()
    page.get_by_role("button", name="Approve").click()
    see(page, "This field is required")
    page.get_by_label("Amount").fill("12")
    page.get_by_label("Comment").fill("fine")
    page.get_by_role("button", name="Approve").click()

    see(page, "Nothing waits for your decision")
    drain()
    assert Run.objects.get(pk="one").result == "approved"
    # The browser says that the form came back with 422.
    assert [text for text in complaints if "422" not in text] == []


def test_a_rate_is_begun_and_stopped(open_page: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = registry.get("beside")
    for number in range(4):
        made.trigger({"fails": "x"}, workflow_run_id=f"r{number}")
    drain()
    monkeypatch.setattr(f"{__name__}.broken", False)
    page, complaints = open_page(reverse("admin:django_workflow_dead_letters"))

    page.get_by_role("link", name="Resume at a rate").click()
    page.get_by_label("A minute").fill("1")
    page.get_by_role("button", name="Resume").click()
    drain()
    page.reload()
    see(page, "1 of 4")
    page.get_by_role("link", name="Stop").click()
    page.get_by_role("button", name="Stop").click()

    see(page, "Stopped: ")
    drain()
    assert Run.objects.get(workflow=NAME).status == "cancelled"
    assert Run.objects.filter(workflow="beside", status="failed").count() == 3
    assert complaints == []


def test_a_dry_retry_is_made_by_keyboard_alone(open_page: Any) -> None:
    registry.get("beside").trigger({"fails": "x"}, workflow_run_id="one")
    drain()
    page, complaints = open_page(reverse("admin:django_workflow_dead_letters"))

    page.get_by_role("link", name="Dry retry").focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Try 1 run").focus()
    page.keyboard.press("Enter")

    see(page, "1 of 1 would go on")
    assert complaints == []


def test_a_schedule_is_paused(open_page: Any) -> None:
    registry.get("beside").schedule("0 3 * * *", schedule_id="nightly")
    page, complaints = open_page(reverse("admin:django_workflow_schedule_changelist"))

    page.get_by_role("link", name="nightly").click()
    page.get_by_role("link", name="Pause").click()
    page.get_by_label("Reason").fill("audit")
    page.get_by_role("button", name="Pause").click()

    see(page, "It is paused. Resumed, it would fire at:")
    assert complaints == []
