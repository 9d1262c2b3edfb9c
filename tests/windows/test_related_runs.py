"""``WORKFLOW["VISIBLE_RUNS"]``: of a run that is hidden nothing shows beside its parent, children and the rest.

Somebody sees one of two runs that belong together. At no door does the ID of the other one show; a superuser meets it at
the doors named, so that the test would fail.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.urls.base import set_urlconf

from django_workflow import Singleton, WorkflowContext, workflow
from django_workflow.models import Approval, Run, Schedule
from django_workflow.runtime.veils import HIDDEN
from django_workflow.testing import WorkflowSandbox
from tests.rest.visible import CHOSEN

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.windows.all_urls")]

OWN = {"DISPATCHER": "embedded", "VISIBLE_RUNS": "tests.rest.visible.chosen"}
API = "/api/workflows/"
KID: dict[str, str | None] = {}
COLUMNS = ["state", "workflow", "labels", "created", "parent", "error"]


@workflow(name="kin_child", retries=0)
def child(ctx: WorkflowContext[Any]) -> Any:
    if ctx.request_payload == "fail":
        raise ValueError(f'run "{ctx.workflow_run_id}" went wrong')
    if ctx.request_payload == "ask":
        return ctx.wait_for_approval("sign", assignees=["user:bob"], title="Sign").decision
    return ctx.wait_for_event("word", f"kin:{ctx.request_payload}", timeout="1d").event_data


@workflow(name="kin_parent", retries=0)
def parent(ctx: WorkflowContext[Any]) -> Any:
    # Not of the payload: that is the project's, and shown as it is.
    return ctx.invoke("kid", child, ctx.request_payload, workflow_run_id=KID.get("id"))


@workflow(name="kin_alone", singleton=Singleton(key="one", on_conflict="queue"))
def alone(ctx: WorkflowContext[Any]) -> Any:
    return ctx.wait_for_event("word", "kin:alone", timeout="1d").event_data


@workflow(name="kin_only", singleton=Singleton(key="only"))
def only(ctx: WorkflowContext[Any]) -> Any:
    return ctx.wait_for_event("word", "kin:only", timeout="1d").event_data


@pytest.fixture(autouse=True)
def box(db: None) -> Iterator[WorkflowSandbox]:
    CHOSEN.clear()
    KID.clear()
    with override_settings(WORKFLOW=OWN), WorkflowSandbox() as box:
        yield box
    set_urlconf(None)


@pytest.fixture
def boss() -> Client:
    return entered(User.objects.create_superuser("boss"))


@pytest.fixture
def bob() -> Client:
    user = User.objects.create_user("bob", is_staff=True)
    user.user_permissions.set(Permission.objects.all())
    return entered(user)


def entered(user: User) -> Client:
    client = Client()
    client.force_login(user)
    client.post(reverse("admin:django_workflow_run_columns"), {"column": COLUMNS, "back": "/"})
    return client


def of_run(run_id: str, *steps: str) -> dict[str, str]:
    """Return the doors through which a run is looked at, by name."""
    change = reverse("admin:django_workflow_run_change", args=[run_id])
    base = change.removesuffix("change/")
    found = {
        "page": change,
        "story": f"{base}story/",
        "history": f"{base}happened/",
        "history as JSON": f"{base}happened/?format=json",
        "list": reverse("admin:django_workflow_run_changelist"),
        "csv": reverse("admin:django_workflow_run_export", args=["csv"]),
        "json": reverse("admin:django_workflow_run_export", args=["json"]),
        "actions": reverse("admin:django_workflow_action_changelist"),
        "overview": reverse("admin:django_workflow_overview"),
        "dead letters": reverse("admin:django_workflow_dead_letters"),
        "api runs": f"{API}runs/",
        "api dead letters": f"{API}dead-letters/",
        "api groups": f"{API}dead-letters/groups/",
        "api run": f"{API}runs/{run_id}/",
        "api result": f"{API}runs/{run_id}/result/",
    }
    for part in ("steps", "attempts", "actions", "logs"):
        found[f"api {part}"] = f"{API}runs/{run_id}/{part}/"
    for step in steps:
        found[f"step {step}"] = f"{base}step/?key={step}"
    return found


def read(client: Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code in (200, 202), (path, answer.status_code)
    if answer.streaming:
        return b"".join(answer).decode()
    return answer.content.decode()


def where(client: Client, text: str, doors: dict[str, str]) -> set[str]:
    """Return the doors that show a text."""
    return {name for name, path in doors.items() if text in read(client, path)}


def check(
    boss: Client, bob: Client, seen: str, hidden: str, shown_at: set[str], *steps: str
) -> set[str]:
    """Look at a run through all doors; return those at which something is said in the place of an ID."""
    CHOSEN.add(seen)
    doors = of_run(seen, *steps)
    assert shown_at <= where(boss, hidden, doors)
    assert where(bob, hidden, doors) == set()
    return where(bob, HIDDEN, doors)


def action_pages(*ids: Any) -> dict[str, str]:
    return {str(one): reverse("admin:django_workflow_action_change", args=[one]) for one in ids}


@pytest.mark.parametrize("child_id", [None, "kid-of-order-7"])
def test_a_child_that_is_waited_for(boss: Client, bob: Client, child_id: str | None) -> None:
    KID["id"] = child_id
    run = parent.trigger("x")
    kid = run.children.get()

    told = check(
        boss, bob, run.id, kid.id,
        {"page", "story", "list", "api run", "api runs", "api steps", "step kid"}, "kid",
    )  # fmt: skip

    assert {"page", "list", "api run", "api runs", "api steps", "step kid"} <= told
    assert bob.get(f"{API}runs/{kid.id}/").status_code == 404


@pytest.mark.parametrize("child_id", [None, "kid-of-order-7"])
def test_a_child_that_failed(boss: Client, bob: Client, child_id: str | None) -> None:
    KID["id"] = child_id
    run = parent.trigger("fail")
    kid = run.children.get()
    assert run.refresh().status == "failed"

    at = {"page", "csv", "json", "api run", "api runs", "api steps", "api result", "step kid"}
    at |= {"api dead letters", "api groups", "dead letters", "overview", "list"}
    told = check(boss, bob, run.id, kid.id, at, "kid")

    assert at - {"overview"} <= told


def test_a_child_that_is_being_cancelled(boss: Client, bob: Client) -> None:
    KID["id"] = "kid-of-order-7"
    run = parent.trigger("x")
    Run.objects.filter(pk=run.id).update(status="cancelling")

    told = check(boss, bob, run.id, "kid-of-order-7", {"page", "api run", "list"})

    assert {"page", "api run", "list"} <= told


@pytest.mark.parametrize("parent_id", [None, "order-7"])
def test_a_parent(boss: Client, bob: Client, parent_id: str | None) -> None:
    run = parent.trigger("fail", workflow_run_id=parent_id)
    kid = run.children.get()
    run.resume()

    told = check(
        boss, bob, kid.id, run.id,
        {"page", "story", "list", "csv", "json", "api run", "api runs", "api actions", "history", "actions"},
    )  # fmt: skip

    assert {"page", "list", "csv", "json", "api run", "api runs", "api actions", "history"} <= told
    page = read(bob, of_run(kid.id)["page"])
    assert f'href="{reverse("admin:django_workflow_run_change", args=[run.id])}"' not in page
    [action] = kid.actions.values_list("pk", flat=True)[:1]
    assert where(boss, run.id, action_pages(action)) == {str(action)}
    assert where(bob, run.id, action_pages(action)) == set()


def test_a_filter_by_a_hidden_run_finds_nothing(boss: Client, bob: Client) -> None:
    run = parent.trigger("x")
    kid = run.children.get()
    again = run.restart()
    CHOSEN.update({kid.id, again.id})

    for name, found in (("parent", kid), ("restarted_from", again)):
        path = f"{API}runs/?{name}={run.id}"
        assert [one["workflow_run_id"] for one in boss.get(path).json()["results"]] == [found.id]
        assert bob.get(path).json()["results"] == []
        body = {"filter": {name: run.id}, "dry_run": True}
        asked = {"data": body, "content_type": "application/json"}
        assert boss.post(f"{API}bulk/cancel/", **asked).json()["results"] != []
        assert bob.post(f"{API}bulk/cancel/", **asked).json()["results"] == []
    listed = reverse("admin:django_workflow_run_changelist")
    assert kid.id in read(boss, f"{listed}?parent={run.id}")
    assert kid.id not in read(bob, f"{listed}?parent={run.id}")


@pytest.mark.parametrize("verb", ["restart", "fork"])
def test_what_a_run_was_made_of_and_what_was_made_of_it(
    boss: Client, bob: Client, verb: str
) -> None:
    run = parent.trigger("x", workflow_run_id="order-7")
    made = run.restart() if verb == "restart" else run.fork("kid")

    told = check(boss, bob, made.id, run.id, {"page", "api run", "api runs"})
    assert {"page", "api run", "api runs"} <= told

    CHOSEN.clear()
    doors = {"page"}
    check(boss, bob, run.id, made.id, doors)
    if verb == "fork":
        action = run.actions.get(verb="fork").pk
        assert where(boss, made.id, action_pages(action)) == {str(action)}
        assert where(bob, made.id, action_pages(action)) == set()


def test_the_run_that_holds_a_line(boss: Client, bob: Client) -> None:
    first = alone.trigger(workflow_run_id="order-7")
    second = alone.trigger()
    assert first.id in second.refresh().reason

    told = check(boss, bob, second.id, first.id, {"page", "list", "api run", "api runs"})

    assert {"page", "list", "api run", "api runs"} <= told


def test_the_run_of_a_singleton_key(boss: Client, bob: Client) -> None:
    first = only.trigger(workflow_run_id="order-7")
    path = f"{API}workflows/kin_only/runs/"

    for client, told in ((boss, first.id), (bob, HIDDEN)):
        answer = client.post(path, {}, content_type="application/json")
        assert answer.status_code == 200
        assert answer.json() == {"workflow_run_id": told, "created": False}
        assert (first.id in answer.headers.get("Location", "")) is (client is boss)


def test_the_last_run_of_a_schedule(boss: Client, bob: Client) -> None:
    run = parent.trigger("x", workflow_run_id="order-7")
    child.schedule("0 9 * * *", payload="x", schedule_id="daily")
    note = f"The slot of 2026-01-01 09:00 UTC was skipped: run {run.id} had not ended."
    Schedule.objects.update(last_run_id=run.id, note=note)
    doors = {
        "list": reverse("admin:django_workflow_schedule_changelist"),
        "page": reverse("admin:django_workflow_schedule_change", args=["daily"]),
        "api list": f"{API}schedules/",
        "api": f"{API}schedules/daily/",
    }

    assert where(boss, run.id, doors) == set(doors)
    assert where(bob, run.id, doors) == set()
    assert where(bob, HIDDEN, doors) == set(doors)
    assert bob.get(doors["api"]).json()["last_run"] == HIDDEN


def test_the_run_of_an_approval_that_one_is_asked_for(boss: Client, bob: Client) -> None:
    run = child.trigger("ask", workflow_run_id="order-7")
    approval = Approval.objects.get()
    doors = {
        "list": reverse("admin:django_workflow_approval_changelist"),
        "page": reverse("admin:django_workflow_approval_change", args=[approval.pk]),
        "api list": f"{API}approvals/",
        "api": f"{API}approvals/{approval.pk}/",
    }

    assert where(bob, run.id, doors) == set()
    assert where(bob, HIDDEN, doors) == set(doors)
    CHOSEN.add(run.id)
    assert where(bob, run.id, doors) == set(doors)


def test_a_child_that_stands_in_the_way_of_an_edit(boss: Client, bob: Client) -> None:
    @workflow(name="kin_edit", retries=0)
    def edited(ctx: WorkflowContext[Any]) -> Any:
        ctx.run("first", lambda: 1)
        return ctx.invoke("kid", child, "x", workflow_run_id="kid-of-order-7")

    run = edited.trigger()
    run.pause()
    CHOSEN.add(run.id)
    body = {"step": "first", "value": 2}
    told = [
        client.post(f"{API}runs/{run.id}/edit-result/", body, content_type="application/json")
        for client in (boss, bob)
    ]

    assert [answer.status_code for answer in told] == [409, 409]
    assert "kid-of-order-7" in told[0].content.decode()
    assert "kid-of-order-7" not in told[1].content.decode()
    assert HIDDEN in told[1].json()["detail"]
    page = reverse("admin:django_workflow_run_edit", args=[run.id])
    form = {"step": "first", "value": "2", "results": "2", "why": "so"}
    shown = [client.post(page, form).content.decode() for client in (boss, bob)]
    assert "kid-of-order-7" in shown[0]
    assert "kid-of-order-7" not in shown[1]
    assert HIDDEN in shown[1]


def test_where_nothing_is_hidden_nothing_is_asked(boss: Client) -> None:
    """The same number of queries as without ``VISIBLE_RUNS``."""
    run = parent.trigger("x")
    path = f"{API}runs/{run.id}/"
    boss.get(path)
    with CaptureQueriesContext(connection) as with_it:
        boss.get(path)
    with override_settings(WORKFLOW={"DISPATCHER": "embedded"}):
        boss.get(path)
        with CaptureQueriesContext(connection) as without:
            boss.get(path)
    assert len(with_it) == len(without)
