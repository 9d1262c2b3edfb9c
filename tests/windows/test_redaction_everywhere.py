"""One run with a secret wherever it can have one: no window shows it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.core.management import call_command, get_commands
from django.test import Client, override_settings
from django.urls import URLPattern, reverse
from rest_framework.test import APIClient

from django_workflow import NonRetryableError, WorkflowContext, notify, workflow
from django_workflow.core.redaction import MARK
from django_workflow.core.workflow import registry
from django_workflow.models import Approval, Event, Run
from django_workflow.rest.urls import urlpatterns
from django_workflow.testing import WorkflowSandbox
from tests.cases.outside import reachable

pytestmark = pytest.mark.django_db

URL = "https://partner.example/x"
ROOT = "/api/workflows/"
REDACT = [
    "token",
    "headers.X-Plain",
    "result",
    "steps.*.token",
    "steps.*.body.token",
    "steps.*.event_data.token",
    "steps.*.data.token",
    "steps.hook call.request.content",
    "state.token",
    "progress",
    "logs.token",
    "logs.message",
    "events.token",
    "events.content",
]


def take_back(undone: Any) -> None:
    raise NonRetryableError("cannot")


def tell(place: str) -> str:
    """Return a secret that says where it was found."""
    return f"secret-{place}"


def many(number: int) -> dict[str, Any]:
    return {"token": tell("map item"), "number": number}


def told(ctx: WorkflowContext[Any]) -> Any:
    ctx.set_state({"token": tell("state"), "phase": "one"})
    ctx.set_progress(50, message=tell("progress"))
    ctx.log(tell("log message"), token=tell("log field"), plain="plain")
    hook = ctx.create_webhook("hook")
    ctx.using(undo=take_back).run("body", dict, token=tell("body"), kept="kept")
    headers = {"Authorization": tell("request header"), "X-Api-Key": tell("request key")}
    ctx.call("call", f"{URL}?token={tell('query')}", method="POST", json={"a": 1}, headers=headers)
    ctx.map("map", many, [1, 2])
    ctx.wait_for_event("event", "redacted", timeout="1d")
    ctx.wait_for_webhook("hook call", hook, timeout="1d")
    ctx.wait_for_approval("approval", assignees="a@example.org", timeout="1d")
    ctx.invoke("child", "redacted_child", {"token": tell("child payload")})
    if ctx.request_payload["fails"]:
        raise NonRetryableError("failed")
    ctx.sleep("rest", "1d")
    return {"token": tell("result")}


@pytest.fixture
def box() -> Iterator[WorkflowSandbox]:
    workflow(name="redacted_child", redact=["token", "result"])(lambda ctx: ctx.request_payload)
    workflow(name="redacted", redact=REDACT, retries=0)(told)
    with (
        reachable(),
        override_settings(ROOT_URLCONF="tests.windows.all_urls"),
        WorkflowSandbox() as found,
    ):
        yield found
    for name in ("redacted", "redacted_child"):
        registry.remove(name)


def played(box: WorkflowSandbox, *, fails: bool = False) -> tuple[Run, list[str]]:
    """Return the run, and what must not be found anywhere."""
    answer = {"token": tell("call body"), "ok": True}
    box.respond("POST", URL, json=answer, headers={"Set-Cookie": tell("answer header")})
    box.respond("POST", f"{URL}?token={tell('query')}", json=answer, headers={"Set-Cookie": tell("answer header")})  # fmt: skip
    run: Run = registry.get("redacted").trigger(
        {"token": tell("payload"), "fails": fails},
        workflow_run_id="run",
        headers={"Authorization": tell("header"), "X-Plain": tell("own header")},
    )
    notify("redacted", {"token": tell("event"), "plain": 1}, workflow_run_id="run")
    url = run.steps.get(name="hook").result["webhook_url"].removeprefix("http://testserver")
    Client().post(
        url, {"token": tell("webhook body")}, content_type="application/json",
        headers={"Authorization": tell("webhook header")},
    )  # fmt: skip
    box.approve(run, "approval", by="a@example.org")
    box.settle()
    if not fails:
        assert box.waiting_on(run) == ["rest"]
        box.advance("2d")
    secret_urls = [url.rstrip("/").rpartition("/")[2]]
    assert len(secret_urls[0]) > 30
    return run.refresh(), ["secret-", *secret_urls]


def leaks(text: str, secrets: list[str]) -> list[str]:
    """Return what is around each secret that is found."""
    return [text[max(0, text.find(s) - 80) : text.find(s) + 60] for s in secrets if s in text]


def commands() -> dict[str, str]:
    found = {}
    for line in (
        "workflow_show run", "workflow_show run --json", "workflow_runs", "workflow_runs --json",
        "workflow_dlq", "workflow_dlq --json", "workflow_check --against --json",
    ):  # fmt: skip
        name, *arguments = line.split()
        if name not in get_commands():
            continue
        stdout = io.StringIO()
        call_command(name, *arguments, stdout=stdout, stderr=stdout)
        found[line] = stdout.getvalue()
    return found


def admin_pages() -> list[str]:
    """Return the lists of all our models, and the page of each row, as far as they are registered."""
    pages = []
    for model, registered in admin.site._registry.items():
        if model._meta.app_label != "django_workflow":
            continue
        name = f"admin:django_workflow_{model._meta.model_name}"
        pages.append(reverse(f"{name}_changelist"))
        pages += [reverse(f"{name}_change", args=[row.pk]) for row in model._base_manager.all()]
        if model is Run:
            pages.append(reverse(f"{name}_story", args=["run"]))
        assert registered is not None
    return pages


def rest_paths() -> list[str]:
    """Return every path of the API that is read, for the run and what belongs to it."""
    known = {
        "run_id": "run", "name": "redacted", "approval_id": Approval.objects.get().pk,
        "schedule_id": "none", "key": "none",
    }  # fmt: skip
    paths = []
    for pattern in urlpatterns:
        assert isinstance(pattern, URLPattern)
        view: Any = pattern.callback.view_class  # type: ignore[attr-defined]
        if hasattr(view, "get"):
            text = str(pattern.pattern)
            for name, value in known.items():
                for kind in ("str", "path", "int"):
                    text = text.replace(f"<{kind}:{name}>", str(value))
            assert "<" not in text
            paths.append(ROOT + text)
    return paths


@pytest.mark.parametrize("fails", [False, True])
def test_no_window_shows_what_is_hidden(box: WorkflowSandbox, fails: bool) -> None:
    run, secrets = played(box, fails=fails)
    assert run.status == ("failed" if fails else "completed")
    boss = User.objects.create_superuser("boss")
    client, api = Client(), APIClient()
    client.force_login(boss)
    api.force_login(boss)

    shown = commands()
    for path in admin_pages():
        answer = client.get(path, follow=True)
        assert answer.status_code == 200, path
        shown[path] = answer.content.decode()
    for path in rest_paths():
        answer = api.get(path, {"event_id": "redacted"} if path.endswith("waiters/") else {})
        assert answer.status_code == 200 or "none" in path, (path, answer.content)
        shown[path] = answer.content.decode()

    assert {where: found for where, text in shown.items() if (found := leaks(text, secrets))} == {}
    assert any(path.endswith("/story/") for path in shown)
    # And what nobody hides is there.
    for where in ("workflow_show run --json", f"{ROOT}runs/run/steps/"):
        assert "kept" in shown[where]
        assert MARK in shown[where]


def test_what_is_stored_and_handed_over_is_whole(box: WorkflowSandbox) -> None:
    run, _ = played(box)

    assert run.payload["token"] == tell("payload")
    assert run.state == {"token": tell("state"), "phase": "one"}
    assert run.steps.get(name="call").result["body"]["token"] == tell("call body")
    assert Event.objects.get(event_id="redacted").event_data["token"] == tell("event")
    assert run.steps.get(name="map").result["results"][0]["token"] == tell("map item")


def test_marks_of_equal_values_are_equal_across_places(box: WorkflowSandbox) -> None:
    run, _ = played(box)
    mask = run.mask
    assert mask.state({"token": 7})["token"] == mask.event({"token": 7})["token"] == mask.mark(7)


def test_call_answers_that_are_cut_show_no_headers(box: WorkflowSandbox) -> None:
    box.respond("POST", f"{URL}?token={tell('query')}", json={"long": ["x"] * 9000}, headers={"Set-Cookie": tell("answer header")})  # fmt: skip
    registry.get("redacted").trigger({"token": 1, "fails": False}, workflow_run_id="run")
    boss = User.objects.create_superuser("boss")
    client = Client()
    client.force_login(boss)

    page = client.get(reverse("admin:django_workflow_run_change", args=["run"])).content.decode()

    assert "secret-answer header" not in page


def test_a_path_of_what_is_told_hides_the_payloads_field_too(box: WorkflowSandbox) -> None:
    box.respond("POST", f"{URL}?token={tell('query')}")
    run = registry.get("redacted").trigger({"state": {"token": "x", "b": 1}, "fails": False})
    found = json.loads(json.dumps(run.shown_payload))
    assert found["state"]["token"].startswith(MARK)
    assert found["state"]["b"] == 1
