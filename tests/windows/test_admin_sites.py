"""The pages under a sub-path and on an admin site of a project's own, and the panel for other models."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core import checks
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import clear_script_prefix, reverse, set_script_prefix

from django_workflow import (
    FlowControl,
    NonRetryableError,
    Workflow,
    WorkflowContext,
    flow_control,
    notify,
    workflow,
)
from django_workflow.admin.inline import RUNS_SHOWN
from django_workflow.core.workflow import registry
from django_workflow.models import (
    Approval,
    ApprovalAssignee,
    Delivery,
    Event,
    Run,
    Schedule,
    Waiter,
)
from django_workflow.runtime.dead_letters import dead_letters
from django_workflow.runtime.redriving import NAME, start_redrive
from django_workflow.runtime.worker import drain
from tests.app.models import Note
from tests.windows.admin_urls import NoteAdmin, office

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.urls("tests.windows.admin_urls"),
]

SECRET = "<script>alert('s3cret')</script>"


def refuse(text: str) -> None:
    raise NonRetryableError(text)


def site_run(ctx: WorkflowContext[str]) -> None:
    if ctx.request_payload == "wait":
        ctx.parallel(
            lambda: ctx.wait_for_event("e", "e"),
            lambda: ctx.wait_for_approval("sign", assignees=["user:boss"]),
        )
    ctx.run("refuse", refuse, ctx.request_payload)


@pytest.fixture(autouse=True)
def runs(settings: Any) -> Iterator[Workflow[Any, Any]]:
    settings.WORKFLOW = {**settings.WORKFLOW, "APPROVAL_MAILER": None}
    made = workflow(name="site_run", transport="inline")(site_run)
    yield made
    registry.remove("site_run")


@pytest.fixture
def boss() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("boss"))
    return client


@pytest.fixture
def paths(runs: Workflow[Any, Any]) -> list[str]:
    """Names and arguments of the pages, with a row for each."""
    runs.trigger("wait", workflow_run_id="waiting")
    runs.trigger("fail", workflow_run_id="failed")
    runs.schedule("0 3 * * *", schedule_id="nightly")
    flow_control("key").set(parallelism=1)
    drain()
    mark = dead_letters().groups[0].fingerprint
    approval = str(Approval.objects.get().pk)
    found = [
        ("run_changelist",),
        ("run_change", "failed"),
        ("dead_letters",),
        ("dead_letters_group", mark, "resume"),
        ("dead_letters_rate", mark, "resume"),
        ("dead_letters_note", mark),
        ("dead_letters_dry_retry", mark),
        ("definitions",),
        ("definition", "site_5Frun"),
        ("waiter_changelist",),
        ("waiter_notify",),
        ("webhook_changelist",),
        ("event_changelist",),
        ("action_changelist",),
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
    return [reverse(f"office:django_workflow_{name}", args=args) for name, *args in found]


LINK = re.compile(r'(?:href|action)="(/[^"]*)"')


def test_a_site_of_ones_own_leads_nowhere_else(boss: Client, paths: list[str]) -> None:
    for path in paths:
        html = boss.get(path).content.decode()
        links = {link for link in LINK.findall(html) if not link.startswith("/static/")} - {"/"}
        assert links, path
        assert {link for link in links if not link.startswith("/back/office/")} == set(), path


def test_pages_work_under_a_sub_path(boss: Client, paths: list[str]) -> None:
    # As the WSGI handler does; the test client leaves it out.
    set_script_prefix("/sub/")
    try:
        for path in paths:
            response = boss.get(path)
            assert response.status_code == 200, path
            links = LINK.findall(response.content.decode())
            inside = ("/sub/", "/static/")
            assert [link for link in links if link != "/" and not link.startswith(inside)] == [], (
                path
            )
    finally:
        clear_script_prefix()


def test_a_verb_leads_back_to_the_site_it_came_from(boss: Client, paths: list[str]) -> None:
    path = next(path for path in paths if path.endswith("nightly/pause/"))

    response = boss.post(path, {"why": ""})

    assert response["Location"] == reverse(
        "office:django_workflow_schedule_change", args=["nightly"]
    )


# The panel


def about(runs: Workflow[Any, Any], note: Note, *ids: str, payload: str = "x") -> None:
    for run_id in ids:
        runs.trigger(payload, workflow_run_id=run_id, about=note)
    drain()


def change(note: Note) -> str:
    return reverse("office:tests_app_note_change", args=[note.pk])


def test_the_panel_shows_the_runs_about_a_row(boss: Client, runs: Workflow[Any, Any]) -> None:
    note, other = Note.objects.create(text="a"), Note.objects.create(text="b")
    about(runs, note, "mine", payload=SECRET)
    about(runs, other, "other")

    html = boss.get(change(note)).content.decode()

    assert ">mine</a>" in html
    assert ">other</a>" not in html
    assert "s3cret" in html
    assert SECRET not in html


def test_the_panel_does_not_stand_in_the_way_of_saving(
    boss: Client, runs: Workflow[Any, Any]
) -> None:
    note = Note.objects.create(text="a")
    about(runs, note, "mine")
    before = list(Run.objects.values())

    response = boss.post(change(note), {"text": "b"})

    assert response.status_code == 302, response.content.decode()
    assert Note.objects.get().text == "b"
    assert list(Run.objects.values()) == before
    added = boss.post(reverse("office:tests_app_note_add"), {"text": "c"})
    assert added.status_code == 302
    assert (
        "No run is about this yet" in boss.get(change(Note.objects.get(text="c"))).content.decode()
    )


def test_the_panel_is_for_those_who_may_see_runs(runs: Workflow[Any, Any]) -> None:
    note = Note.objects.create(text="a")
    about(runs, note, "mine", payload="s3cret")
    clients = {}
    for name, permissions in {
        "clerk": ["change_note"],
        "viewer": ["change_note", "view_run"],
        "reader": ["change_note", "view_run", "view_payload"],
    }.items():
        user = User.objects.create_user(name, is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        clients[name] = Client()
        clients[name].force_login(user)
    pages = {name: client.get(change(note)).content.decode() for name, client in clients.items()}

    assert "mine" not in pages["clerk"]
    assert "mine" in pages["viewer"]
    assert "s3cret" not in pages["viewer"]
    assert "s3cret" in pages["reader"]


def test_the_panel_is_as_quick_for_many(boss: Client, runs: Workflow[Any, Any]) -> None:
    note = Note.objects.create(text="a")
    about(runs, note, "r0")
    boss.get(change(note))
    with CaptureQueriesContext(connection) as few:
        boss.get(change(note))
    about(runs, note, *(f"n{number}" for number in range(RUNS_SHOWN + 5)))
    about(runs, Note.objects.create(text="b"), "of-another")

    with CaptureQueriesContext(connection) as many:
        html = boss.get(change(note)).content.decode()

    assert len(many) <= len(few) + 1
    assert "All runs about this" in html
    listed = re.search(r'href="([^"]*about=[^"]*)"', html)
    assert listed is not None
    response = boss.get(listed.group(1).replace("&amp;", "&"))
    assert response.status_code == 200
    assert "r0" in response.content.decode()
    assert "of-another" not in response.content.decode()


def test_the_line_that_a_project_writes_passes_the_checks() -> None:
    assert [
        found for found in NoteAdmin(Note, office).check() if isinstance(found, checks.Error)
    ] == []


# Runs that a project hides


def only_some(request: Any, runs: Any) -> Any:
    return runs.exclude(pk__startswith="hidden")


def only_shown(request: Any, runs: Any) -> Any:
    return runs.filter(pk__startswith="shown")


def all_of_them(request: Any, runs: Any) -> Any:
    return runs


def test_hidden_runs_are_on_no_page(boss: Client, runs: Workflow[Any, Any], settings: Any) -> None:
    note = Note.objects.create(text="a")
    for kind in ("shown", "hidden"):
        runs.trigger("wait", workflow_run_id=f"{kind}-waits", about=note)
        runs.trigger("fail", workflow_run_id=f"{kind}-failed", about=note)
        runs.trigger(
            "wait", workflow_run_id=f"{kind}-line", flow_control=FlowControl("key", parallelism=1)
        )
    drain()
    settings.WORKFLOW = {**settings.WORKFLOW, "VISIBLE_RUNS": f"{__name__}.only_some"}
    # What one is asked oneself one sees; these are others'.
    ApprovalAssignee.objects.update(value="somebody")
    mark = dead_letters().groups[0].fingerprint
    pages = [
        ("dead_letters",),
        ("dead_letters_group", mark, "resume"),
        ("waiter_changelist",),
        ("delivery_changelist",),
        ("event_changelist",),
        ("action_changelist",),
        ("approval_changelist",),
        ("flowkey_change", "key"),
        ("definition", "site_5Frun"),
    ]
    for name, *args in pages:
        html = boss.get(reverse(f"office:django_workflow_{name}", args=args)).content.decode()
        assert "hidden-" not in html, name
    assert "shown-" in boss.get(change(note)).content.decode()
    assert "hidden-" not in boss.get(change(note)).content.decode()
    dry = reverse("office:django_workflow_dead_letters_dry_retry", args=[mark])
    assert "hidden-" not in boss.post(dry).content.decode()
    sending = reverse("office:django_workflow_waiter_notify")
    html = boss.get(f"{sending}?event_id=e").content.decode()
    assert "hidden-" not in html
    assert "that are not shown here" in html or "that is not shown here" in html
    rate = reverse("office:django_workflow_dead_letters_rate", args=[mark, "resume"])
    seen = boss.get(rate).content.decode().split('name="seen" value="')[1].split('"')[0]
    boss.post(rate, {"per_minute": "60", "why": "", "seen": seen})
    assert Run.objects.get(workflow=NAME).payload["ids"] == ["shown-failed"]


def test_lists_beside_runs_and_pages_by_address_hide_them_too(
    boss: Client, runs: Workflow[Any, Any], settings: Any
) -> None:
    for kind in ("shown", "hidden"):
        runs.trigger("wait", workflow_run_id=f"{kind}-waits")
        runs.trigger("fail", workflow_run_id=f"{kind}-failed")
        notify(f"{kind}-event", {"text": f"{kind}-data"}, workflow_run_id=f"{kind}-waits")
    notify("hidden-broadcast", {"text": "hidden-data"})
    drain()
    # A child, a restart and a schedule's run of what is shown.
    made = Run.objects.get(pk="hidden-failed")
    Run.objects.filter(pk=made.pk).update(parent="shown-waits", parent_step="e")
    Run.objects.filter(pk="hidden-waits").update(restarted_from="shown-failed")
    runs.schedule("0 3 * * *", schedule_id="nightly")
    Schedule.objects.update(last_run_id="hidden-failed")
    start_redrive("resume", ["hidden-failed"], per_minute=1, actor=User.objects.create_user("eve"))
    other = Run.objects.get(workflow=NAME)
    settings.WORKFLOW = {**settings.WORKFLOW, "VISIBLE_RUNS": f"{__name__}.only_shown"}
    ApprovalAssignee.objects.update(value="somebody")

    lists = [
        ("run_changelist",),
        ("overview",),
        ("run_change", "shown-waits"),
        ("run_change", "shown-failed"),
        ("event_changelist",),
        ("delivery_changelist",),
        ("waiter_changelist",),
        ("webhook_changelist",),
        ("schedule_changelist",),
        ("schedule_change", "nightly"),
        ("dead_letters",),
        ("definitions",),
    ]
    for name, *args in lists:
        response = boss.get(reverse(f"office:django_workflow_{name}", args=args))
        assert response.status_code == 200, name
        assert "hidden-" not in response.content.decode(), name
        assert other.pk not in response.content.decode(), name
    assert (
        "shown-event"
        in boss.get(reverse("office:django_workflow_event_changelist")).content.decode()
    )

    rows = [
        ("run_change", "hidden-waits"),
        ("delivery_change", Delivery.objects.get(run="hidden-waits", step_key="").pk),
        ("waiter_change", Waiter.objects.filter(run="hidden-waits").first().pk),  # type: ignore[union-attr]
        ("approval_change", Approval.objects.get(run="hidden-waits").pk),
        *(("event_change", row.pk) for row in Event.objects.filter(event_id__startswith="hidden-")),
        ("dead_letters_stop", other.pk),
    ]
    assert len(rows) == 7
    for name, key in rows:
        path = reverse(f"office:django_workflow_{name}", args=[key])
        assert boss.get(path).status_code in (302, 404), name
        assert boss.post(path, {"why": "", "post": "yes"}).status_code in (302, 403, 404, 405), name
    assert not other.refresh().is_finished


def test_who_sees_all_runs_sees_events_that_name_none(boss: Client, settings: Any) -> None:
    notify("for-anybody")
    path = reverse("office:django_workflow_event_changelist")
    settings.WORKFLOW = {**settings.WORKFLOW, "VISIBLE_RUNS": f"{__name__}.all_of_them"}
    assert "for-anybody" in boss.get(path).content.decode()
    settings.WORKFLOW = {**settings.WORKFLOW, "VISIBLE_RUNS": f"{__name__}.only_some"}
    assert "for-anybody" not in boss.get(path).content.decode()
