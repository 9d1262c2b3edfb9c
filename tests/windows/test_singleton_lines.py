"""The line of a queueing singleton, as the admin and the command line show it."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin.utils import quote
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from django_workflow import Singleton, WorkflowContext, flow_control, workflow
from django_workflow.models import FlowKey, Run
from django_workflow.runtime.worker import drain

pytestmark = pytest.mark.django_db(transaction=True)

LINE = "singleton/window_queue/ann"


@workflow(name="window_queue", singleton=Singleton("ann", on_conflict="queue"))
def queueing(ctx: WorkflowContext[Any]) -> None:
    ctx.sleep("wait", "1h")


@pytest.fixture
def admin() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("Ann", "ann@example.com", "x"))
    return client


@pytest.fixture
def runs() -> list[Run]:
    found: list[Run] = queueing.trigger_many([1, 2, 3])
    drain()
    return found


def url(name: str) -> str:
    return reverse(f"admin:django_workflow_flowkey_{name}", args=[quote(LINE)])


def test_admin_lists_the_line_with_who_waits_and_who_is_at_work(
    admin: Client, runs: list[Run]
) -> None:
    listed = admin.get(reverse("admin:django_workflow_flowkey_changelist")).content.decode()
    html = admin.get(url("change")).content.decode()

    assert "singleton: one run at a time" in listed
    assert '<td class="field-in_line">2</td>' in listed
    assert '<td class="field-holds">1</td>' in listed
    assert all(run.id in html for run in runs)
    assert html.count("the whole run") == 3
    assert "#run" not in html


@pytest.mark.parametrize("verb", ["set", "pin", "unpin", "reset"])
def test_admin_refuses_limits_that_a_line_does_not_have(
    verb: str, admin: Client, runs: list[Run]
) -> None:
    given = {"why": "more", "parallelism": "5", "period": "1s"}
    html = admin.post(url(verb), given, follow=True).content.decode()

    assert "one run at a time" in html
    key = FlowKey.objects.get()
    assert (key.parallelism, key.pinned) == (1, False)


def test_admin_pauses_and_resumes_the_line(admin: Client, runs: list[Run]) -> None:
    admin.post(url("pause"), {"why": "audit"})
    runs[0].cancel()
    drain()
    assert runs[1].refresh().reason == 'waits for singleton key "ann" (paused; place 1 of 2)'

    admin.post(url("resume"), {"why": "done"})
    drain()
    assert runs[1].refresh().status == "running"


def test_run_page_says_behind_which_run_it_waits(admin: Client, runs: list[Run]) -> None:
    page = reverse("admin:django_workflow_run_change", args=[quote(runs[2].id)])

    html = admin.get(page).content.decode()

    assert f"behind run {runs[0].id} of singleton key" in html


def test_command_line_refuses_its_limits(runs: list[Run]) -> None:
    with pytest.raises(CommandError, match="line of a singleton"):
        call_command("workflow_flow", "set", LINE, "--parallelism", "2")
    assert flow_control(LINE).state().parallelism == 1
