"""Who may open what in the admin: every URL of the package, for every role. A URL that is not in the table fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import URLPattern, URLResolver, reverse

from django_workflow import NonRetryableError, WorkflowContext, flow_control, workflow
from django_workflow.core.workflow import registry
from django_workflow.models import (
    Action,
    AlertState,
    Approval,
    Delivery,
    Event,
    FlowKey,
    Run,
    Schedule,
)
from django_workflow.runtime.dead_letters import dead_letters
from django_workflow.runtime.redriving import start_redrive
from django_workflow.runtime.worker import drain
from django_workflow.workflows import act_on_all

pytestmark = pytest.mark.django_db(transaction=True)

#: Nobody may, a superuser neither.
NOBODY = "nobody"
#: Everybody who may enter the admin.
STAFF = ""


@dataclass(frozen=True)
class Page:
    """What a page needs: permissions, separated by blanks; and from whom it takes a POST, where it does."""

    get: str
    post: str | None = None
    #: Which row it is about, by name.
    row: str = ""
    more: tuple[str, ...] = ()
    query: str = ""


def lists(model: str, row: str, view: str | None = None, delete: str = NOBODY) -> dict[str, Page]:
    """Return the pages that Django itself makes for a model."""
    view = f"view_{model}" if view is None else view
    return {
        f"{model}_changelist": Page(view),
        f"{model}_add": Page(NOBODY, NOBODY),
        f"{model}_history": Page(view, row=row),
        f"{model}_delete": Page(delete, delete, row=row),
        f"{model}_change": Page(view, NOBODY, row=row),
    }


def asks(name: str, needs: str, row: str, *more: str) -> dict[str, Page]:
    """Return a page that asks, and does it by POST."""
    return {name: Page(needs, needs, row, more)}


EXPECTED: dict[str, Page] = {
    **lists("delivery", "delivery"),
    **lists("event", "event"),
    **lists("action", "action"),
    # Runs
    **lists("run", "run", delete="delete_run"),
    "run_story": Page("view_run", row="run"),
    **asks("run_cancel", "view_run cancel_run", "run"),
    **asks("run_pause", "view_run pause_run", "run"),
    **asks("run_resume", "view_run resume_run", "run"),
    **asks("run_restart", "view_run restart_run", "run"),
    **asks("run_notify", "view_run notify_run", "run"),
    **asks("run_retry", "view_run retry_run", "run"),
    **asks("run_skip", "view_run skip_run", "run"),
    **asks("run_extend", "view_run extend_run", "run"),
    **asks("run_prioritise", "view_run prioritise_run", "run"),
    **asks("run_edit", "view_run edit_run", "run"),
    **asks("run_fork", "view_run fork_run", "run"),
    **asks("run_trigger", "view_run trigger_run", "run"),
    "run_step": Page("view_run", row="run", query="?key=refuse"),
    "run_happened": Page("view_run", row="run"),
    "run_value": Page("view_run view_payload", row="run", query="?of=payload"),
    "run_compare": Page("view_run view_payload", row="run"),
    "run_columns": Page(NOBODY, "view_run"),
    "run_export": Page("view_run", more=("csv",)),
    "overview": Page("view_run"),
    # Verbs for all runs that match
    **asks("bulk", "view_run cancel_run", "", "cancel"),
    "bulk_run": Page("view_run", row="bulk"),
    "bulk_stop": Page(NOBODY, "view_run cancel_run", row="bulk"),
    # Alerts
    **lists("alertstate", "alert"),
    # Dead letters
    "dead_letters": Page("view_run"),
    **asks("dead_letters_group", "view_run resume_run", "error", "resume"),
    **asks("dead_letters_rate", "view_run resume_run", "error", "resume"),
    **asks("dead_letters_stop", "view_run resume_run", "redrive"),
    **asks("dead_letters_note", "view_run change_deadletternote", "error"),
    **asks("dead_letters_dry_retry", "view_run resume_run", "error"),
    # Workflows
    "definitions": Page("view_run"),
    "definition": Page("view_run", "view_run resume_run", "workflow"),
    # Waiters and webhooks
    **lists("waiter", "waiter"),
    **asks("waiter_notify", "view_waiter notify_run", ""),
    **lists("webhook", "webhook"),
    # Approvals: what one may decide. This one is the clerk's own.
    **lists("approval", "approval", view=STAFF),
    "approval_change": Page(STAFF, STAFF, row="approval"),
    **asks("approval_delegate", STAFF, "approval"),
    # Schedules
    **lists("schedule", "schedule"),
    **asks("schedule_pause", "view_schedule change_schedules", "schedule"),
    **asks("schedule_resume", "view_schedule change_schedules", "schedule"),
    **asks("schedule_run_now", "view_schedule change_schedules", "schedule"),
    **asks("schedule_remove", "view_schedule change_schedules", "schedule"),
    # Flow control: to Django, who may change may see.
    **lists("flowkey", "flowkey"),
    **asks("flowkey_set", "change_flowkey", "flowkey"),
    **asks("flowkey_pause", "change_flowkey", "flowkey"),
    **asks("flowkey_resume", "change_flowkey", "flowkey"),
    **asks("flowkey_pin", "change_flowkey", "flowkey"),
    **asks("flowkey_unpin", "change_flowkey", "flowkey"),
    **asks("flowkey_reset", "change_flowkey", "flowkey"),
}


def names_of(patterns: list[Any]) -> Iterator[str]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from names_of(pattern.url_patterns)
        elif isinstance(pattern, URLPattern) and pattern.name:
            yield pattern.name


def ours() -> list[str]:
    """Return the names of all URLs of this package in the admin."""
    found = {
        name for name in names_of(admin.site.get_urls()) if name.startswith("django_workflow_")
    }
    return sorted(name.removeprefix("django_workflow_") for name in found)


def test_every_permission_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "reference" / "permissions.md").read_text()
    needed = {one for page in EXPECTED.values() for one in f"{page.get} {page.post or ''}".split()}

    assert {one for one in needed - {NOBODY} if f"`django_workflow.{one}`" not in text} == set()


def refuse() -> None:
    raise NonRetryableError("no")


def role_run(ctx: WorkflowContext[str]) -> None:
    if ctx.request_payload == "fail":
        ctx.run("refuse", refuse)
    if ctx.request_payload == "wait":
        ctx.parallel(
            lambda: ctx.wait_for_event("e", "e"),
            lambda: ctx.wait_for_approval("sign", assignees=["user:clerk"]),
        )


@pytest.fixture
def rows(settings: Any) -> Iterator[Callable[[str], list[str]]]:
    """Make a row of each kind, and tell the arguments of its URL."""
    settings.WORKFLOW = {**settings.WORKFLOW, "APPROVAL_MAILER": None}
    made = workflow(name="role_run", transport="inline")(role_run)
    made.trigger("fail", workflow_run_id="failed")
    waiting = made.trigger("wait", workflow_run_id="waiting")
    drain()
    made.schedule("0 3 * * *", schedule_id="nightly")
    flow_control("key").set(parallelism=1)
    moment = datetime.now(UTC)
    event = Event.objects.create(
        event_id="x", data_text="null", created_at=moment, expires_at=moment + timedelta(days=1)
    )
    action = Action.objects.create(run_id="failed", verb="note", door="code", at=moment)
    group = dead_letters().groups[0]
    redrive = start_redrive("resume", ["failed"], per_minute=1, actor=None)
    job = {"asked": {"verb": "cancel", "filters": {}, "why": "", "user": "0", "given": {}}}
    asked = act_on_all.trigger(job, workflow_run_id="bulk1")
    keys: dict[str, Any] = {
        "run": "failed",
        "delivery": Delivery.objects.filter(run_id="waiting")[0].pk,
        "event": event.pk,
        "action": action.pk,
        "error": group.fingerprint,
        "redrive": redrive.pk,
        "workflow": "role_run",
        "schedule": Schedule.objects.get().pk,
        "flowkey": FlowKey.objects.get().pk,
        "approval": Approval.objects.get().pk,
        "waiter": waiting.waiters.get(event_id="e").pk,
        "alert": AlertState.objects.create(key="lag", seen_until=moment).pk,
        "bulk": asked.pk,
    }
    hook = waiting.webhooks.create(step_key="h", event_id="h", digest="d", created_at=moment)
    keys["webhook"] = hook.pk
    yield lambda name: [quote(str(keys[name]))] if name else []
    registry.remove("role_run")


def client_of(name: str, *permissions: str, **fields: Any) -> Client:
    user = User.objects.create_user(name, is_staff=True, **fields)
    user.user_permissions.set(
        Permission.objects.filter(
            content_type__app_label="django_workflow", codename__in=permissions
        )
    )
    client = Client()
    client.force_login(user)
    return client


def path_of(name: str, rows: Callable[[str], list[str]]) -> str:
    page = EXPECTED[name]
    address = reverse(f"admin:django_workflow_{name}", args=[*rows(page.row), *page.more])
    return address + page.query


def test_every_url_has_its_expectation() -> None:
    assert ours() == sorted(EXPECTED), "say in EXPECTED who may open the new page"


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_permissions_decide(name: str, rows: Callable[[str], list[str]]) -> None:
    page, path = EXPECTED[name], path_of(name, rows)
    customer = Client()
    customer.force_login(User.objects.create_user("customer"))
    boss, forged = client_of("boss", is_superuser=True), Client(enforce_csrf_checks=True)
    forged.force_login(User.objects.get(username="boss"))
    users: dict[str, Client] = {}

    for method, needs in (("get", page.get), ("post", page.post)):
        for client in (Client(), customer):
            response = getattr(client, method)(path)
            assert (response.status_code, "/login/" in response["Location"]) == (302, True)
        if method == "post":
            assert forged.post(path).status_code == 403, "without a token"
        if needs is None:
            # It answers a POST as a GET, or refuses the method.
            continue
        if needs == NOBODY:
            assert getattr(boss, method)(path).status_code in (403, 405)
            continue
        wanted = set(needs.split())
        for lacking in sorted(wanted):
            others = {*wanted, "view_payload"} - {lacking}
            client = users.setdefault(f"not-{lacking}", client_of(f"{method}-{lacking}", *others))
            assert getattr(client, method)(path).status_code == 403, f"without {lacking}"
        if page.row != "approval":
            assert getattr(boss, method)(path).status_code in (200, 302, 422)
        name_of_user = "clerk" if method == "get" else "clerk2"
        if page.row == "approval":
            name_of_user = "clerk"
        given = users.get(name_of_user) or client_of(name_of_user, *wanted)
        users[name_of_user] = given
        assert getattr(given, method)(path).status_code in (200, 302, 422)


def test_looking_changes_nothing(rows: Callable[[str], list[str]]) -> None:
    boss = client_of("boss", is_superuser=True)
    before = list(Run.objects.order_by("pk").values()), Action.objects.count()

    for name in EXPECTED:
        boss.get(path_of(name, rows))

    assert (list(Run.objects.order_by("pk").values()), Action.objects.count()) == before


def test_others_approvals_are_not_found(rows: Callable[[str], list[str]]) -> None:
    stranger = client_of("stranger")

    for name in ("approval_change", "approval_delegate"):
        path = path_of(name, rows)
        for response in (stranger.get(path), stranger.post(path, {"workflow_decision": "approve"})):
            assert response.status_code == 302
            assert response["Location"] == reverse("admin:index")
    viewer = client_of("viewer", "view_approval")
    assert viewer.get(path_of("approval_change", rows)).status_code == 200
    assert viewer.post(path_of("approval_change", rows)).status_code == 403
    assert viewer.get(path_of("approval_delegate", rows)).status_code == 403
    assert Approval.objects.get().decision == ""
