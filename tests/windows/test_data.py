"""What windows show of a run's data: never a secret, and always who did what."""

from __future__ import annotations

import getpass
import io
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import AnonymousUser, Group, User
from django.contrib.sessions.models import Session
from django.core.management import CommandError, call_command
from django.db import models, transaction
from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone

from django_workflow import InvalidOptionError, Workflow, WorkflowContext, cancel_runs, workflow
from django_workflow.core.actors import Actor
from django_workflow.core.workflow import registry
from django_workflow.models import Action, Run
from django_workflow.models.about import find_row, reference
from django_workflow.runtime.worker import drain

pytestmark = pytest.mark.django_db(transaction=True)

SECRETS = ("4111-secret", "tok-secret", "Bearer-secret", "result-secret", "long-secret")


def charging(ctx: WorkflowContext[Any]) -> Any:
    ctx.run("charge", lambda: {"token": "tok-secret", "amount": 5, "log": ["long-secret"] * 5000})
    ctx.run("look", lambda: "seen")
    if ctx.request_payload.get("sleeps"):
        ctx.sleep("rest", "2h")
    return {"token": "result-secret", "card": ctx.request_payload["card"]}


@pytest.fixture(autouse=True)
def charge() -> Iterator[Workflow[Any, Any]]:
    redact = ["card", "steps.charge.token", "steps.charge.log", "result"]
    made = workflow(name="data_charge", redact=redact, transport="inline")(charging)
    yield made
    registry.remove("data_charge")


@pytest.fixture
def boss() -> User:
    return User.objects.create_superuser("boss")


@pytest.fixture
def admin(boss: User) -> Client:
    client = Client()
    client.force_login(boss)
    return client


def made(charge: Workflow[Any, Any], run_id: str = "one", **options: Any) -> Run:
    payload = {"card": "4111-secret", "order": 42, "sleeps": options.pop("sleeps", False)}
    headers = {"Authorization": "Bearer-secret", "X-Plain": "plain"}
    run: Run = charge.trigger(payload, workflow_run_id=run_id, headers=headers, **options)
    drain()
    return run.refresh()


def call(*args: str) -> str:
    stdout = io.StringIO()
    call_command(*args, stdout=stdout, stderr=io.StringIO())
    return stdout.getvalue()


def page(run_id: str = "one") -> str:
    return reverse("admin:django_workflow_run_change", args=[run_id])


# Redaction


def shows_no_secret(text: str) -> bool:
    return not any(secret in text for secret in SECRETS)


@pytest.mark.parametrize(
    "command",
    [
        ["workflow_show", "one"],
        ["workflow_show", "one", "--json"],
        ["workflow_runs"],
        ["workflow_runs", "--json"],
    ],
)
def test_commands_show_marks(command: list[str], charge: Workflow[Any, Any]) -> None:
    made(charge)
    said = call(*command)

    assert shows_no_secret(said)
    if command != ["workflow_runs"]:
        assert "REDACTED:" in said
        assert "plain" in said


def test_the_admin_shows_marks(charge: Workflow[Any, Any], admin: Client) -> None:
    made(charge)
    text = admin.get(page()).content.decode()

    assert shows_no_secret(text)
    assert "REDACTED:" in text
    assert "plain" in text
    assert "42" in text
    assert shows_no_secret(
        admin.get(reverse("admin:django_workflow_run_changelist")).content.decode()
    )


def test_a_payload_too_long_to_be_shown_whole_is_redacted_too(
    charge: Workflow[Any, Any], admin: Client
) -> None:
    charge.trigger({"card": "4111-secret", "fill": "x" * 50_000}, workflow_run_id="one")

    assert shows_no_secret(admin.get(page()).content.decode())


def test_marks_hold_where_the_workflow_is_unknown(
    charge: Workflow[Any, Any], admin: Client
) -> None:
    run = made(charge)
    registry.remove("data_charge")

    assert shows_no_secret(admin.get(page()).content.decode())
    assert run.payload["card"] == "4111-secret"


def test_what_a_workflow_hides_today_is_hidden_of_old_runs(charge: Workflow[Any, Any]) -> None:
    run = made(charge)
    assert run.shown_payload["order"] == 42

    workflow(name="data_charge", redact=["order"])(charging)
    shown = run.shown_payload
    assert shown["order"].startswith("REDACTED:")
    assert shown["card"].startswith("REDACTED:")


def test_equal_values_are_told_equal_until_the_key_changes(charge: Workflow[Any, Any]) -> None:
    one, two = made(charge, "one"), made(charge, "two")

    assert one.shown_payload["card"] == two.shown_payload["card"]
    usual = one.shown_payload["card"]
    with override_settings(WORKFLOW={"SIGNING_KEYS": ["k" * 32]}):
        assert one.shown_payload["card"] == two.shown_payload["card"] != usual


# About and by


def session(key: str) -> Session:
    return Session.objects.create(session_key=key, session_data="", expire_date=timezone.now())


@pytest.mark.parametrize("make", [lambda name: Group.objects.create(name=name), session])
def test_a_run_is_about_a_row_of_any_model(make: Any, charge: Workflow[Any, Any]) -> None:
    obj, other = make("a"), make("b")
    run = made(charge, about=obj)

    assert run.about == obj
    assert Run.objects.about(obj).get() == run
    assert not Run.objects.about(other).exists()


def test_keys_of_any_kind_are_texts() -> None:
    class Place(models.Model):
        pk = models.CompositePrimaryKey("shelf", "serial")
        shelf = models.IntegerField()
        serial = models.UUIDField()

        class Meta:
            app_label = "data_nowhere"

        def __str__(self) -> str:
            return "here"

    serial = UUID(int=7)
    place = Place(shelf=3, serial=serial)
    place._state.adding = False

    label, key = reference(place)
    assert label == "data_nowhere.place"
    assert key == f'["3", "{serial}"]'
    assert tuple(Place._meta.pk.to_python(key)) == (3, serial)
    assert find_row(label, key) is None


def test_about_is_none_where_there_is_nothing(charge: Workflow[Any, Any]) -> None:
    assert made(charge).about is None

    gone = made(charge, "two", about=Group.objects.create(name="g"))
    Run.objects.filter(pk="two").update(about_type="no.model")
    assert gone.refresh().about is None
    Run.objects.filter(pk="two").update(about_type="auth.group", about_id="no number")
    assert gone.refresh().about is None


def test_about_is_fetched_once(charge: Workflow[Any, Any], django_assert_num_queries: Any) -> None:
    run = made(charge, about=Group.objects.create(name="g"))

    with django_assert_num_queries(1):
        assert run.about is run.about


@pytest.mark.parametrize("wrong", [Group(name="new"), Group(pk=5), "shop.order", 5, Group])
def test_about_nothing_that_is_saved_is_refused(wrong: Any, charge: Workflow[Any, Any]) -> None:
    with pytest.raises(InvalidOptionError, match="about"):
        charge.trigger({}, about=wrong)
    with pytest.raises(InvalidOptionError, match="about"):
        Run.objects.about(wrong)
    assert not Run.objects.exists()


def test_windows_tell_what_a_run_is_about_and_who_began_it(
    charge: Workflow[Any, Any], admin: Client, boss: User
) -> None:
    group = Group.objects.create(name="g")
    made(charge, about=group, by=boss)
    text, said = admin.get(page()).content.decode(), call("workflow_show", "one")
    found = json.loads(call("workflow_show", "one", "--json"))

    assert reverse("admin:auth_group_change", args=[group.pk]) in text
    assert f"auth.group {group.pk}" in said
    assert "triggered by: boss" in said
    assert found["about"] == {"type": "auth.group", "id": str(group.pk)}
    assert found["triggered_by"] == "boss"
    boss.delete()
    assert Run.objects.get().triggered_by == "boss"


def test_who_began_a_run_is_a_user_or_a_name(charge: Workflow[Any, Any], boss: User) -> None:
    assert made(charge, "1", by=boss).triggered_by_id == str(boss.pk)
    assert made(charge, "2", by="cron").triggered_by == "cron"
    assert made(charge, "3", by=AnonymousUser()).triggered_by == ""
    with pytest.raises(InvalidOptionError, match="not saved"):
        charge.trigger({}, by=User(username="new"))
    # Code that triggers is no person that acts.
    assert not Action.objects.exists()


# Actions


@override_settings(ROOT_URLCONF="tests.doors.urls")
def test_the_http_door_knows_who_triggers(
    charge: Workflow[Any, Any], admin: Client, boss: User
) -> None:
    url = "/workflows/data_charge/"
    answer = admin.post(url, {"card": "1"}, content_type="application/json")

    assert answer.status_code == 202, answer.content
    run = Run.objects.get()
    assert (run.triggered_by, run.triggered_by_id) == ("boss", str(boss.pk))
    action = run.actions.get()
    assert (action.verb, action.actor, action.door, action.after) == (
        "trigger", "boss", "http", "pending",
    )  # fmt: skip


def test_commands_act_as_the_user_of_the_operating_system(charge: Workflow[Any, Any]) -> None:
    call("workflow_trigger", "data_charge", "--data", '{"card": 1, "sleeps": true}', "--id", "one")
    drain()
    for verb in ("pause", "resume", "cancel", "restart"):
        call(f"workflow_{verb}", "one", "--why", f"to {verb}")

    run = Run.objects.get(pk="one")
    assert [(a.verb, a.why) for a in run.actions] == [
        ("trigger", ""),
        *[(verb, f"to {verb}") for verb in ("pause", "resume", "cancel", "restart")],
    ]
    assert {(a.actor, a.door) for a in run.actions} == {(getpass.getuser(), "command")}
    assert run.restarts.get().triggered_by == getpass.getuser()


def test_actions_are_shown(charge: Workflow[Any, Any], admin: Client, boss: User) -> None:
    made(charge, sleeps=True).cancel(actor=Actor.of(boss, "admin"), why="<b>the bank</b> called")

    text = admin.get(page()).content.decode()
    [action] = json.loads(call("workflow_show", "one", "--json"))["actions"]
    assert "&lt;b&gt;the bank&lt;/b&gt; called" in text
    assert "cancel by boss (admin), running -> cancelled" in call("workflow_show", "one")
    assert action.pop("at")
    assert action == {
        "verb": "cancel", "actor": "boss", "user_id": str(boss.pk), "door": "admin",
        "why": "<b>the bank</b> called", "before": "running", "after": "cancelled",
    }  # fmt: skip


def test_deletion_in_the_admin_is_an_action(
    charge: Workflow[Any, Any], admin: Client, boss: User
) -> None:
    made(charge)
    admin.post(reverse("admin:django_workflow_run_delete", args=["one"]), {"post": "yes"})

    action = Action.objects.get()
    assert (action.verb, action.run_id, action.before, action.user_id, action.door) == (
        "delete", "one", "completed", str(boss.pk), "admin",
    )  # fmt: skip
    assert LogEntry.objects.exists()


def test_a_run_under_an_old_id_has_no_actions_of_the_other(charge: Workflow[Any, Any]) -> None:
    made(charge, sleeps=True).cancel(actor="Ann")
    Run.objects.all().delete()

    assert not made(charge).actions.exists()


def test_many_that_are_cancelled_are_many_actions(charge: Workflow[Any, Any]) -> None:
    made(charge, "one", sleeps=True, label="x")
    made(charge, "two", sleeps=True, label="x")
    made(charge, "done", label="x")

    assert cancel_runs(label="x", actor="Ann", why="all") == 2
    assert sorted(Action.objects.values_list("run_id", "actor", "why")) == [
        ("one", "Ann", "all"),
        ("two", "Ann", "all"),
    ]


def test_a_verb_that_is_rolled_back_was_not_done(charge: Workflow[Any, Any]) -> None:
    run = made(charge, sleeps=True)
    with transaction.atomic():
        run.cancel(actor="Ann")
        transaction.set_rollback(True)

    assert run.refresh().status == "running"
    assert not run.actions.exists()


# workflow_prune


def aged(charge: Workflow[Any, Any], *run_ids: str, **changes: Any) -> None:
    for run_id in run_ids:
        made(charge, run_id)
    old = timezone.now() - timedelta(days=40)
    Run.objects.filter(pk__in=run_ids).update(created_at=old, finished_at=old, **changes)


def status_of(*args: str) -> tuple[int, str]:
    with pytest.raises(CommandError) as raised:
        call("workflow_prune", *args)
    return raised.value.returncode, str(raised.value)


def test_prune_deletes_what_is_old(charge: Workflow[Any, Any]) -> None:
    aged(charge, "old")
    aged(charge, "dead", status="failed")
    made(charge, "new")

    said = call("workflow_prune", "--older-than", "30d", "--dry-run", "--json")
    assert json.loads(said) == {"would_delete": 1, "by_status": {"completed": 1, "cancelled": 0}}
    assert Run.objects.count() == 3

    said = call("workflow_prune", "--older-than", "30d", "--yes")
    assert said == "1 runs were deleted: 0 cancelled, 1 completed.\n"
    action = Action.objects.get(verb="prune")
    assert (action.actor, action.door) == (getpass.getuser(), "command")

    said = call("workflow_prune", "--older-than", "30d", "--dead-letters", "--yes", "--json")
    assert json.loads(said)["by_status"]["failed"] == 1
    assert Run.objects.get().pk == "new"


@override_settings(WORKFLOW={"RETENTION": {"failed": "30d"}})
def test_prune_goes_by_retention(charge: Workflow[Any, Any]) -> None:
    aged(charge, "old")
    aged(charge, "dead", status="failed")

    assert status_of("--yes")[0] == 2
    call("workflow_prune", "--status", "failed", "--yes")
    assert Run.objects.get().pk == "old"


def test_prune_of_a_workflow_leaves_others(charge: Workflow[Any, Any]) -> None:
    aged(charge, "mine")
    aged(charge, "yours", workflow="another")

    call("workflow_prune", "--older-than", "1d", "--workflow", "another", "--yes", "--batch", "1")
    assert Run.objects.get().pk == "mine"


def test_prune_wants_to_know_how_old_and_whether() -> None:
    assert "--older-than" in status_of("--yes")[1]
    assert status_of("--older-than", "30d", "--json") == (
        2, "Say --yes to delete, or --dry-run to look.",
    )  # fmt: skip
    assert status_of("--older-than", "soon", "--yes")[0] == 2
    for wrong in (["--batch", "0"], ["--status", "running"]):
        with pytest.raises(CommandError, match="argument"):
            call("workflow_prune", "--older-than", "1d", *wrong)
