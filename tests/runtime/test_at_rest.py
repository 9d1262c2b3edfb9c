"""Texts at rest: encrypted, in files, and what happens when a key or a file is not there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.contrib.auth.models import User
from django.core import checks
from django.core.files.storage import FileSystemStorage
from django.core.management import CommandError, call_command
from django.db import models, transaction
from django.test import Client, override_settings
from django.urls import reverse

from django_workflow import (
    AtRestError,
    InvalidOptionError,
    NonRetryableError,
    RunExistsError,
    Undone,
    WorkflowContext,
    notify,
    register_type,
    workflow,
)
from django_workflow.at_rest import sealing, spilling
from django_workflow.core.at_rest import is_kept, mark_of, opened
from django_workflow.core.workflow import registry
from django_workflow.models import Delivery, Event, MapItem, Run, Schedule, Step
from django_workflow.runtime.journals import journals
from django_workflow.runtime.spilled_files import collect_files
from django_workflow.runtime.worker import drain
from django_workflow.store.at_rest import COLUMNS
from django_workflow.store.claims import now

pytestmark = pytest.mark.django_db(transaction=True)

OLD, NEW = "the first key of the tests, 32 bytes or more", "another key of the tests, 32 bytes long"
CANARY = "canary-4111"
LONG = [CANARY, "x" * 5000]
bodies: list[Any] = []
undone: list[Any] = []


def refuse(value: Any) -> None:
    raise NonRetryableError(f"{CANARY} was refused")


def take_back(step: Undone) -> None:
    undone.append((step.result, step.args))


@workflow(name="at_rest_all", transport="inline", redact=["card"])
def everything(ctx: WorkflowContext[Any]) -> Any:
    ctx.set_state({"at": CANARY})
    ctx.set_progress(50, message=CANARY)
    ctx.log(f"said {CANARY}", what=CANARY)
    result = ctx.run("look", lambda: {"found": CANARY})
    items = ctx.map("items", lambda item: [item, CANARY], [f"{CANARY} {n}" for n in range(3)])
    both = ctx.parallel(lambda: ctx.run("a", lambda: CANARY), lambda: ctx.run("b", lambda: CANARY))
    child = ctx.invoke("child", echo, CANARY)
    try:
        ctx.using(retries=0).run("refused", refuse, CANARY)
    except Exception:
        ctx.log("refused")
    told = ctx.wait_for_event("told", f"told:{ctx.workflow_run_id}", timeout="1h").event_data
    more = ctx.wait_for_event("two", ["two:1", "two:2"], count=2, timeout="1h")
    return [result, items, list(both), child, told, [one.event_data for one in more.events]]


@workflow(name="at_rest_echo", transport="inline")
def echo(ctx: WorkflowContext[Any]) -> Any:
    return ctx.request_payload


@workflow(name="at_rest_two", transport="inline", retries=0)
def two(ctx: WorkflowContext[Any]) -> Any:
    found = ctx.run("long", lambda: bodies.append("long") or LONG)
    ctx.wait_for_event("gate", f"gate:{ctx.workflow_run_id}", timeout="1h")
    return [found == LONG, ctx.run("after", lambda: bodies.append("after") or "after")]


@workflow(name="at_rest_undo", transport="inline", retries=0)
def undoing(ctx: WorkflowContext[Any]) -> Any:
    ctx.using(undo=take_back).run("book", lambda value: [value, LONG], CANARY)
    ctx.wait_for_event("gate", f"gate:{ctx.workflow_run_id}", timeout="1h")
    raise NonRetryableError("no")


@pytest.fixture(autouse=True)
def clean() -> None:
    bodies.clear()
    undone.clear()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    spilled = {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": str(tmp_path)},
    }
    with override_settings(STORAGES={**settings.STORAGES, "spilled": spilled}):
        yield tmp_path / "django_workflow"


def at_rest(*keys: str, spills: int | None = None) -> Any:
    """Return settings with these keys, and texts longer than that in files."""
    if keys:
        pytest.importorskip("cryptography")
    given = {**settings.WORKFLOW, "ENCRYPTION_KEYS": list(keys), "SPILL_ABOVE": spills}
    return override_settings(WORKFLOW={**given, "SPILL_STORAGE": "spilled" if spills else None})


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*/*") if path.is_file())


def go_on() -> None:
    """Carry out what is due, and what was put off, in a process that remembers nothing."""
    journals.clear()
    Delivery.objects.filter(leased_by="", due_at__isnull=False).update(
        due_at=now() - timedelta(seconds=1)
    )
    drain()


def everything_ran() -> Run:
    run = everything.trigger({"card": CANARY}, headers={"X-A": CANARY})
    drain()
    notify(f"told:{run.id}", {"told": CANARY})
    notify("two:1", CANARY, workflow_run_id=run.id)
    notify("two:2", CANARY, workflow_run_id=run.id)
    drain()
    found = Run.objects.get(pk=run.id)
    assert found.status == "completed", [one.failure for one in found.attempts.all()]
    return found


EXPECTED = [
    {"found": CANARY},
    [[f"{CANARY} {n}", CANARY] for n in range(3)],
    [CANARY, CANARY],
    CANARY,
    {"told": CANARY},
    [CANARY, CANARY],
]


def where_is(text: str) -> list[str]:
    """Return the columns of our tables that hold a text."""
    found = []
    for model in apps.get_app_config("django_workflow").get_models():
        for field in model._meta.concrete_fields:
            if isinstance(field, models.CharField | models.TextField):
                rows = model._base_manager.filter(**{f"{field.name}__contains": text})
                found += [f"{model.__name__}.{field.name}"] * rows.exists()
    return found


def test_nothing_of_a_user_can_be_read_where_it_is_encrypted() -> None:
    with at_rest(OLD):
        run = everything_ran()

        assert run.result == EXPECTED
        assert run.payload == {"card": CANARY}
        assert run.headers == {"X-A": CANARY}
        assert run.state == {"at": CANARY}
        assert run.progress is not None
        assert run.progress.message == CANARY
        [said] = [line for line in run.logs.all() if line.message != "refused"]
        assert (said.message, said.fields) == (f"said {CANARY}", {"what": CANARY})
        refused = run.steps.get(name="refused").failure
        assert refused is not None
        assert refused.message == f"{CANARY} was refused"
        assert where_is(CANARY) == []


def test_everything_is_as_ever_where_it_is_encrypted_and_in_files(folder: Path) -> None:
    with at_rest(OLD, spills=60):
        assert everything_ran().result == EXPECTED
        assert where_is(CANARY) == []
        assert not any(CANARY in path.read_text() for path in files(folder))
        assert Run.objects.all().stuck().count() == 0


def test_a_long_result_is_in_a_file_and_loaded_when_replay_returns_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with at_rest(spills=1000):
        run = two.trigger({"long": LONG})
        drain()
        step = Step.objects.get(run_id=run.id, name="long")

        assert len(files(folder)) == 2
        assert len(step.result_text or "") < 200
        assert step.result == LONG
        assert Run.objects.get(pk=run.id).payload == {"long": LONG}

        loaded: list[str] = []
        load = spilling.load
        monkeypatch.setattr(spilling, "load", lambda value: loaded.append(value) or load(value))
        boss, client = User.objects.create_superuser("boss"), Client()
        client.force_login(boss)
        pages = [
            reverse("admin:django_workflow_run_changelist"),
            reverse("admin:django_workflow_run_change", args=[run.id]),
        ]
        shown = [client.get(page).content.decode() for page in pages]
        call_command("workflow_runs", stdout=StringIO())
        assert loaded == []
        assert "bytes in a file" in shown[1]

        notify(f"gate:{run.id}", None)
        go_on()
        assert Run.objects.get(pk=run.id).result == [True, "after"]


@pytest.mark.parametrize("broken", ["missing", "changed"])
def test_a_file_that_cannot_be_read_is_the_trouble_of_the_delivery(
    folder: Path, broken: str
) -> None:
    with at_rest(spills=1000):
        run = two.trigger()
        drain()
        [path] = files(folder)
        content = path.read_bytes()
        if broken == "missing":
            path.unlink()
        else:
            path.write_bytes(content[:-1])
        notify(f"gate:{run.id}", None)
        for _ in range(5):
            go_on()

        found = Run.objects.get(pk=run.id)
        assert found.status == "running"
        assert found.deliveries.get().deaths == 0
        reason = Run.objects.with_reason().get(pk=run.id).reason
        assert all(part in reason for part in ('"long"', run.id, path.name, "backup")), reason
        assert found.attempts.count() == 0
        assert Run.objects.all().stuck().count() == 0

        path.write_bytes(content)
        go_on()
        assert Run.objects.get(pk=run.id).result == [True, "after"]
        assert bodies == ["long", "after"]


def test_a_key_that_is_missing_is_the_trouble_of_the_delivery() -> None:
    with at_rest(OLD):
        run = two.trigger({"a": 1})
        drain()
        notify(f"gate:{run.id}", None)
    with at_rest(NEW):
        for _ in range(4):
            go_on()
        found = Run.objects.with_reason().get(pk=run.id)
        assert found.status == "running"
        assert sealing.name_of(OLD) in found.reason
        assert "ENCRYPTION_KEYS" in found.reason
        assert found.deliveries.get().deaths == 0
        with pytest.raises(AtRestError, match=sealing.name_of(OLD)):
            _ = found.payload
        assert "not readable" in str(found.shown_payload)
    with at_rest(NEW, OLD):
        go_on()
        assert Run.objects.get(pk=run.id).result == [True, "after"]


def test_what_was_changed_does_not_open() -> None:
    with at_rest(OLD):
        run = echo.trigger("some text")
        text = Run.objects.get(pk=run.id).payload_text or ""
        Run.objects.filter(pk=run.id).update(payload_text=f"{text[:-20]}AAAA{text[-16:]}")

        with pytest.raises(AtRestError, match="changed"):
            _ = Run.objects.get(pk=run.id).payload


def test_a_storage_that_is_away_keeps_the_run_alive(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(self: Any, name: str, content: Any) -> str:
        raise OSError("no space left")

    with at_rest(spills=1000):
        run = two.trigger()
        with monkeypatch.context() as patched:
            patched.setattr(FileSystemStorage, "_save", away)
            for _ in range(4):
                go_on()
            with pytest.raises(AtRestError, match="no space left"):
                echo.trigger(LONG)
        found = Run.objects.with_reason().get(pk=run.id)
        assert found.status == "running"
        assert "no space left" in found.reason
        assert found.attempts.count() == 0

        go_on()
        notify(f"gate:{run.id}", None)
        go_on()
        assert Run.objects.get(pk=run.id).result == [True, "after"]
    assert not Run.objects.filter(workflow="at_rest_echo").exists()


def test_a_file_without_row_when_the_trigger_is_rolled_back(folder: Path) -> None:
    with at_rest(spills=1000):
        with transaction.atomic():
            echo.trigger(LONG)
            transaction.set_rollback(True)

        assert not Run.objects.exists()
        assert len(files(folder)) == 1


@pytest.mark.parametrize("spills", [None, 1000])
def test_a_used_id_with_the_same_and_with_another_payload(folder: Path, spills: int | None) -> None:
    with at_rest(OLD, spills=spills):
        first = echo.trigger(LONG, workflow_run_id="once")
        again = echo.trigger(LONG, workflow_run_id="once")
        assert (first.created, again.created) == (True, False)
        with pytest.raises(RunExistsError):
            echo.trigger("another", workflow_run_id="once")


def test_undo_is_told_what_it_needs_when_it_can_be_read(folder: Path) -> None:
    with at_rest(OLD, spills=1000):
        run = undoing.trigger()
        drain()
        [path] = files(folder)
        path.rename(path.with_suffix(".away"))
        notify(f"gate:{run.id}", None)
        go_on()
        go_on()
        found = Run.objects.get(pk=run.id)
        assert undone == []
        assert not found.steps.filter(branch__startswith="undo.", sequence__isnull=False).exists()

        path.with_suffix(".away").rename(path)
        go_on()
        go_on()
        assert undone == [([CANARY, LONG], (CANARY,))]
        assert Run.objects.get(pk=run.id).undo_status == "completed"


def rekeyed(**options: Any) -> dict[str, Any]:
    out = StringIO()
    call_command("workflow_rekey", json=True, stdout=out, **options)
    answer: dict[str, Any] = json.loads(out.getvalue())
    return answer


@pytest.mark.parametrize("spills", [None, 60])
@pytest.mark.parametrize("before", [(), (OLD,)])
def test_rekey(folder: Path, before: tuple[str, ...], spills: int | None) -> None:
    with at_rest(*before, spills=spills):
        run = everything_ran()
        texts = sum(column.rows.exclude(**{column.name: None}).count() for column in COLUMNS)
    with at_rest(NEW, *before, spills=spills):
        counted = rekeyed(dry_run=True)["would_encrypt"]
        done = rekeyed(batch=2)
        assert 20 < done["encrypted"] == counted < texts
        assert rekeyed()["encrypted"] == 0
    with at_rest(NEW, spills=spills):
        assert Run.objects.get(pk=run.id).result == EXPECTED
        assert where_is(CANARY) == []
        assert where_is(f"{sealing.name_of(OLD)}.") == []
        assert [item.result[1] for item in MapItem.objects.all()] == [CANARY] * 3


def test_rekey_tells_what_it_cannot_read() -> None:
    with at_rest(OLD):
        run = echo.trigger("lost")
    with at_rest(NEW):
        with pytest.raises(CommandError, match=r"1 texts cannot be read.*payload_text") as caught:
            call_command("workflow_rekey", stdout=StringIO())
        assert caught.value.returncode == 1
    with override_settings(WORKFLOW={}), pytest.raises(CommandError, match="is empty"):
        call_command("workflow_rekey")
    with at_rest(NEW, OLD):
        assert rekeyed()["encrypted"] == 1
        assert Run.objects.get(pk=run.id).payload == "lost"


def test_rekey_goes_on_where_the_files_of_some_are_missing(folder: Path) -> None:
    with at_rest(OLD, spills=1000):
        echo.trigger(LONG)
        echo.trigger("short")
        files(folder)[0].unlink()
    with at_rest(NEW, OLD, spills=1000):
        out = StringIO()
        with pytest.raises(CommandError, match="cannot be read"):
            call_command("workflow_rekey", json=True, stdout=out)
        assert json.loads(out.getvalue())["encrypted"] == 1


def test_files_that_nothing_refers_to_are_collected_after_a_day(folder: Path) -> None:
    with at_rest(spills=1000):
        kept, gone = echo.trigger(LONG), echo.trigger(LONG)
        notify("nobody", LONG)
        drain()
        assert len(files(folder)) == 5
        long_ago = folder / f"{datetime.now(UTC) - timedelta(days=2):%Y-%m-%d}"
        files(folder)[0].parent.rename(long_ago)
        for column in COLUMNS:
            for pk, text in column.rows.values_list("pk", column.name):
                if text and is_kept(text):
                    today = f"{datetime.now(UTC):%Y-%m-%d}"
                    moved = text.replace(today, long_ago.name)
                    column.rows.filter(pk=pk).update(**{column.name: moved})
        assert collect_files() == 0
        fresh = echo.trigger(LONG)
        Run.objects.get(pk=gone.id).delete()

        assert collect_files(apply=False) == 2
        out = StringIO()
        call_command("workflow_prune", files=True, stdout=out)
        assert out.getvalue() == "2 files were deleted.\n"
        assert Run.objects.get(pk=kept.id).result == LONG
        assert Run.objects.get(pk=fresh.id).payload == LONG
        assert Event.objects.get(event_id="nobody").event_data == LONG
        assert collect_files() == 0


def test_a_schedule_is_kept_encrypted_and_fires() -> None:
    with at_rest(OLD):
        echo.schedule("0 9 * * *", payload=CANARY, schedule_id="daily")
        assert where_is(CANARY) == []
        run = Schedule.objects.get(pk="daily").run_now()
        drain()
        assert Run.objects.get(pk=run.id).result == CANARY


def test_a_schema_is_asked_of_what_is_in_a_file(folder: Path) -> None:
    @workflow(name="at_rest_schema", transport="inline")
    def waits(ctx: WorkflowContext[Any]) -> Any:
        return ctx.wait_for_event(
            "form", "form", timeout="1h", schema="tests.runtime.test_at_rest.upper"
        ).event_data

    with at_rest(OLD, spills=1000):
        run = waits.trigger()
        drain()
        notify("form", LONG)
        drain()
        assert Run.objects.get(pk=run.id).result == [part.upper() for part in LONG]
        assert where_is(CANARY.upper()) == []


def upper(data: Any) -> Any:
    return [part.upper() for part in data]


def test_names_of_marks_are_taken() -> None:
    for name in ("sealed", "spilled"):
        with pytest.raises(InvalidOptionError, match="taken"):
            register_type(name, Path, str, Path)


def test_a_users_own_dict_is_no_mark() -> None:
    for forged in ({"$": "sealed", "v": "x.y"}, '{"$":"spilled","v":"a/b:1"}', {"$": "spilled"}):
        run = echo.trigger(forged)
        drain()
        assert Run.objects.get(pk=run.id).result == forged
        with at_rest(OLD):
            run = echo.trigger(forged)
            drain()
            assert Run.objects.get(pk=run.id).result == forged


def test_texts_sealed_alike_differ() -> None:
    with at_rest(OLD):
        sealed = {sealing.seal("text", OLD) for _ in range(100)}
        assert len(sealed) == 100
        assert {sealing.unseal(value) for value in sealed} == {"text"}
        assert opened(f'{{"a":[{mark_of("sealed", sealing.seal("[1]", OLD))}]}}') == '{"a":[[1]]}'


def problems(**options: Any) -> list[str]:
    messages = checks.run_checks(tags=["django_workflow"], **{"databases": [], **options})
    return [f"{message.id}: {message.msg}" for message in messages]


def test_checks_tell_what_would_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not any("E02" in told for told in problems())
    with override_settings(WORKFLOW={"SPILL_ABOVE": 100}):
        assert any("E021" in told and "no place to go" in told for told in problems())
    with override_settings(WORKFLOW={"SPILL_STORAGE": "nowhere"}):
        assert any("E022" in told and '"nowhere"' in told for told in problems())
    for wrong in ({"ENCRYPTION_KEYS": ["short"]}, {"SPILL_ABOVE": 0}, {"SPILL_STORAGE": ""}):
        with override_settings(WORKFLOW=wrong):
            assert any("E001" in told for told in problems())
    with at_rest(OLD):
        assert not any("E02" in told for told in problems())
        monkeypatch.setattr(sealing, "AESGCM", None)
        assert any("E020" in told and "cryptography" in told for told in problems())
        with pytest.raises(AtRestError, match="encryption"):
            echo.trigger("some text")


def test_a_check_tells_of_keys_that_are_missing(folder: Path) -> None:
    with at_rest(OLD, spills=1000):
        echo.trigger(LONG)
        echo.trigger("short")
    with at_rest(NEW, spills=1000):
        [told] = [told for told in problems(databases=["default"]) if "E023" in told]
        assert sealing.name_of(OLD) in told
        assert not any("E023" in told for told in problems())
    with at_rest(NEW, OLD, spills=1000):
        assert not any("E023" in told for told in problems(databases=["default"]))


def test_the_page_says_what_works(tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    page = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "data-at-rest.md"
    code = page.read_text().replace("/srv/workflow", str(tmp_path)).replace("<the key>", OLD)
    found: list[dict[str, Any]] = []
    for block in re.findall(r"```python\n(.*?)```", code, re.DOTALL):
        namespace: dict[str, Any] = {}
        exec(compile(block, str(page), "exec"), namespace)  # noqa: S102  our own page
        found.append(namespace)
    together = {**found[0]["WORKFLOW"], **found[1]["WORKFLOW"], "SPILL_ABOVE": 1000}
    with override_settings(STORAGES=found[0]["STORAGES"], WORKFLOW=together):
        assert not any("E02" in told for told in problems())
        run = echo.trigger(LONG)
        drain()
        assert Run.objects.get(pk=run.id).result == LONG
        assert where_is(CANARY) == []
        assert len(files(tmp_path / "django_workflow")) == 2


@pytest.mark.parametrize("way", ["inline", "http"])
def test_a_missing_file_over_every_transport(
    folder: Path, way: str, request: pytest.FixtureRequest
) -> None:
    if way == "http":
        request.getfixturevalue("http_transport")

    @workflow(name="at_rest_way", transport=way, retries=0)
    def flow(ctx: WorkflowContext[Any]) -> Any:
        return len(str(ctx.request_payload))

    try:
        with at_rest(OLD, spills=1000):
            run = flow.trigger(LONG)
            [path] = files(folder)
            content = path.read_bytes()
            path.unlink()
            for _ in range(4):
                go_on()
            found = Run.objects.with_reason().get(pk=run.id)
            assert found.status == "running"
            assert path.name in found.reason
            assert found.deliveries.get().deaths == 0

            path.write_bytes(content)
            go_on()
            go_on()
            assert Run.objects.get(pk=run.id).result == len(str(LONG))
    finally:
        registry.remove("at_rest_way")


@pytest.mark.urls("tests.rest.urls")
def test_doors_say_that_something_is_away(folder: Path) -> None:
    boss, client = User.objects.create_superuser("boss"), Client()
    client.force_login(boss)
    with at_rest(spills=1000):
        run = echo.trigger(LONG)
        path = f"/api/workflows/runs/{run.id}/"
        found = client.get(path)
        assert found.status_code == 200, found.content
        assert found.json()["payload"] == LONG
        listed = client.get("/api/workflows/runs/").json()
        assert "bytes in a file" in str(listed)
        assert CANARY not in str(listed)

        files(folder)[0].unlink()
        assert "not readable" in client.get(path).json()["payload"]
    with override_settings(WORKFLOW={**settings.WORKFLOW, "SPILL_ABOVE": 1000}):
        body = {"payload": LONG}
        refused = client.post(
            "/api/workflows/workflows/at_rest_echo/runs/", body, content_type="application/json"
        )
        assert refused.status_code == 503
        assert refused.json()["type"].endswith("unavailable")
        assert "storage" in refused.json()["detail"]
