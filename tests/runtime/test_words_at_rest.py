"""Words that people write, encrypted: comments, reasons, notes, lines of logs; and a decision about every column of texts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client, override_settings
from django.urls import reverse

from django_workflow import WorkflowContext, current_step, decide_approval, workflow
from django_workflow.at_rest import sealing
from django_workflow.core.at_rest import mark_of
from django_workflow.models import Action, Approval, DeadLetterNote, Run, RunLog, Step
from django_workflow.runtime.exporting import export_run
from django_workflow.runtime.importing import import_run
from django_workflow.runtime.steering import note_error
from django_workflow.runtime.worker import drain
from django_workflow.store.at_rest import COLUMNS
from tests.rest.conftest import Api
from tests.runtime.test_at_rest import CANARY, NEW, OLD, at_rest, files, folder, where_is

pytestmark = pytest.mark.django_db(transaction=True)

__all__ = ["folder"]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "data-at-rest.md"
TEXTS = {"CharField", "TextField", "JSONField", "EmailField", "SlugField", "URLField"}
FORGED = mark_of("sealed", "0123abcd.AAAA")
TRAP = mark_of("spilled", "2026-01-01/x.json:10")


@workflow(name="words_asks", transport="inline", retries=0)
def asks(ctx: WorkflowContext[Any]) -> Any:
    ctx.log(f"asks {CANARY}")
    ctx.run("look", tell)
    found = ctx.wait_for_approval(
        "sign",
        permission="django_workflow.decide_approval",
        title="Sign",
        description=f"about {CANARY}",
        form="tests.app.forms.BudgetForm",
    )
    return [found.comment, found.data]


def tell() -> None:
    current_step().log(f"body {CANARY}")


@pytest.fixture
def boss() -> User:
    return User.objects.create_superuser("boss")


def asked() -> Run:
    run: Run = asks.trigger(label="words")
    drain()
    return run.refresh()


def test_there_is_a_decision_about_every_column_of_texts() -> None:
    """Encrypted, or listed in the docs with the reason why not."""
    sealed = {f"{column.model.__name__}.{column.name}" for column in COLUMNS}
    table = PAGE.read_text().partition("### What stays readable")[2].partition("### ")[0]
    rows = [line.split("|") for line in table.splitlines() if line.startswith("| ")][1:]
    readable = [name for row in rows for name in re.findall(r"`(\w+\.\w+)`", row[2])]
    known = {
        f"{model.__name__}.{field.name}"
        for model in apps.get_app_config("django_workflow").get_models()
        for field in model._meta.local_concrete_fields
        if field.get_internal_type() in TEXTS
    }

    assert len(readable) == len(set(readable))
    assert not sealed & set(readable)
    assert known == sealed | set(readable)
    assert all(row[3].strip() for row in rows)


def test_words_are_encrypted_and_read_as_they_were_written(boss: User) -> None:
    with at_rest(OLD):
        run = asked()
        run.pause(actor=boss, why=f"why {CANARY}")
        run.resume(actor=boss, why="")
        note_error("0123456789abcdef", note=f"note {CANARY}", assignee="ann", is_ignored=False)
        approval = run.approvals.get()
        decide_approval(
            approval, approve=True, by=boss, comment=f"so {CANARY}",
            data={"amount": "5", "reason": CANARY},
        )  # fmt: skip
        drain()

        assert where_is(CANARY) == []
        assert {line.message for line in run.logs.all()} == {f"asks {CANARY}", f"body {CANARY}"}
        assert sorted(run.actions.values_list("why", flat=True)) == ["", f"why {CANARY}"]
        assert DeadLetterNote.objects.get().note == f"note {CANARY}"
        approval.refresh_from_db()
        assert (approval.description, approval.comment) == (f"about {CANARY}", f"so {CANARY}")
        assert run.refresh().status == "completed", run.failure
        assert run.result[0] == f"so {CANARY}"
    found = RunLog.objects.order_by("pk").first()
    assert found is not None
    assert found.message.startswith("(not readable: ")
    assert sealing.name_of(OLD) in found.message


@pytest.mark.urls("tests.windows.all_urls")
def test_windows_show_them_and_the_admin_s_log_does_not_keep_them(boss: User) -> None:
    client = Client()
    client.force_login(boss)
    with at_rest(OLD):
        run = asked()
        approval = run.approvals.get()
        page = reverse("admin:django_workflow_run_change", args=[run.id])
        pause = reverse("admin:django_workflow_run_pause", args=[run.id])
        assert client.post(pause, {"why": f"why {CANARY}", "confirmed": "yes"}).status_code == 302
        run.resume()
        html = client.get(page).content.decode()
        assert f"asks {CANARY}" in html
        assert f"why {CANARY}" in html
        html = client.get(reverse("admin:django_workflow_approval_change", args=[approval.pk]))
        assert f"about {CANARY}" in html.content.decode()
        listed = client.get(reverse("admin:django_workflow_action_changelist")).content.decode()
        assert f"why {CANARY}" in listed

        out = StringIO()
        call_command("workflow_show", run.id, stdout=out)
        assert out.getvalue().count(CANARY) >= 3

        entries = [entry.change_message for entry in LogEntry.objects.all()]
        assert entries
        assert not any(CANARY in entry for entry in entries)
        assert where_is(CANARY) == []
    with at_rest():
        client.post(pause, {"why": f"plain {CANARY}", "confirmed": "yes"})
        assert any(CANARY in entry.change_message for entry in LogEntry.objects.all())


@pytest.mark.urls("tests.rest.urls")
def test_the_api_shows_them(boss: User) -> None:
    api = Api(boss)
    with at_rest(OLD):
        run = asked()
        [approval] = api.get("approvals/").json()["results"]
        assert approval["description"] == f"about {CANARY}"
        body = {"approve": False, "comment": f"no {CANARY}"}
        assert api.post(f"approvals/{approval['id']}/decide/", body).status_code == 200
        assert api.get(f"approvals/{approval['id']}/").json()["comment"] == f"no {CANARY}"
        assert f"asks {CANARY}" in str(api.get(f"runs/{run.id}/logs/").json())
        assert where_is(CANARY) == []


@pytest.mark.parametrize("before", [(), (OLD,)])
def test_words_are_rekeyed(before: tuple[str, ...], boss: User) -> None:
    with at_rest(*before):
        run = asked()
        run.pause(why=f"why {CANARY}")
        note_error("0123456789abcdef", note=CANARY, assignee="", is_ignored=False)
        Approval.objects.update(comment=f"so {CANARY}")
        assert (where_is(CANARY) != []) is (before == ())
    with at_rest(NEW, *before):
        out = StringIO()
        call_command("workflow_rekey", json=True, stdout=out)
        done = json.loads(out.getvalue())["encrypted"]
        assert done >= 6
        out = StringIO()
        call_command("workflow_rekey", json=True, stdout=out)
        assert json.loads(out.getvalue())["encrypted"] == 0
    with at_rest(NEW):
        assert where_is(CANARY) == []
        assert where_is(f"{sealing.name_of(OLD)}.") == []
        assert {line.message for line in run.logs.all()} == {f"asks {CANARY}", f"body {CANARY}"}
        assert Action.objects.get(verb="pause").why == f"why {CANARY}"
        assert DeadLetterNote.objects.get().note == CANARY
        approval = Approval.objects.get()
        assert (approval.description, approval.comment) == (f"about {CANARY}", f"so {CANARY}")


def test_rekey_names_words_that_it_cannot_read() -> None:
    with at_rest(OLD):
        note_error("0123456789abcdef", note=CANARY, assignee="", is_ignored=False)
    with at_rest(NEW):
        with pytest.raises(CommandError, match=r"1 texts cannot be read.*deadletternote\.note"):
            call_command("workflow_rekey", stdout=StringIO())
        assert DeadLetterNote.objects.get().note.startswith("(not readable: ")
    with at_rest(OLD):
        assert DeadLetterNote.objects.get().note == CANARY


@pytest.mark.parametrize("keys", [(), (OLD,)])
@pytest.mark.parametrize(
    "words", [FORGED, TRAP, f"see {FORGED}", f"see {TRAP}", "null", "{}", '"', "a\nb", " "]
)
def test_words_that_look_like_a_mark_are_words(keys: tuple[str, ...], words: str) -> None:
    with at_rest(*keys):
        note_error("0123456789abcdef", note=words, assignee="", is_ignored=False)
        assert DeadLetterNote.objects.get().note.strip() == words.strip()
    with at_rest(NEW, *keys):
        out = StringIO()
        call_command("workflow_rekey", json=True, stdout=out)
        assert DeadLetterNote.objects.get().note.strip() == words.strip()


def test_without_keys_words_are_stored_as_they_are() -> None:
    asked()
    note_error("0123456789abcdef", note=CANARY, assignee="", is_ignored=False)
    with connection.cursor() as cursor:
        cursor.execute("SELECT note FROM django_workflow_deadletternote")
        assert cursor.fetchone() == (CANARY,)
    assert "RunLog.message" in where_is(CANARY)


def test_a_long_line_is_kept_in_its_row(folder: Path) -> None:
    with at_rest(OLD, spills=60):
        note_error("0123456789abcdef", note=CANARY * 100, assignee="", is_ignored=False)
        assert DeadLetterNote.objects.get().note == CANARY * 100
        assert files(folder) == []


@pytest.mark.parametrize("spills", [None, 60])
def test_an_export_is_plain_and_an_import_is_encrypted(folder: Path, spills: int | None) -> None:
    with at_rest(OLD, spills=spills):
        run = asked()
        document = json.loads(json.dumps(export_run(run, whole=True)))
    assert "sealed" not in json.dumps(document)
    assert "spilled" not in json.dumps(document)
    assert CANARY in json.dumps(document)
    Run.objects.all().delete()
    Action.objects.all().delete()
    with at_rest(NEW, spills=spills):
        made = import_run(document, run_id="again", why=CANARY)
        assert where_is(CANARY) == []
        assert {line.message for line in made.logs.all()} == {f"asks {CANARY}", f"body {CANARY}"}
        assert Action.objects.get(verb="import").why == CANARY
        assert Step.objects.filter(run_id="again", name="look").count() == 1


def test_an_export_without_the_key_is_refused() -> None:
    with at_rest(OLD):
        run = asked()
    with override_settings(WORKFLOW={}), pytest.raises(CommandError, match=sealing.name_of(OLD)):
        call_command("workflow_export", run.id, stdout=StringIO())


@pytest.fixture(autouse=True)
def none_left() -> Iterator[None]:
    yield
    assert Run.objects.all().stuck().count() == 0
