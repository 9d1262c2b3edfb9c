"""Parents and children find each other in every window."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import reverse

from django_workflow import WorkflowContext, workflow
from django_workflow.testing import WorkflowSandbox
from tests.windows.test_commands import call

pytestmark = pytest.mark.django_db


@workflow(name="windows_child")
def child(ctx: WorkflowContext[Any]) -> None:
    ctx.sleep("rest", "1h")


@workflow(name="windows_parent")
def parent(ctx: WorkflowContext[Any]) -> None:
    ctx.invoke("child", child, workflow_run_id="inner")


@pytest.fixture(autouse=True)
def outer() -> None:
    with WorkflowSandbox():
        parent.trigger(workflow_run_id="outer")


@pytest.mark.parametrize("command", [["workflow_show", "outer"], ["workflow_runs"]])
def test_json_names_the_children(command: list[str]) -> None:
    found = json.loads(call(*command, "--json"))
    run = found if isinstance(found, dict) else next(r for r in found if r["parent"] is None)

    assert (run["workflow_run_id"], run["children"]) == ("outer", ["inner"])
    assert '"child" is waiting for run inner of "windows_child" since' in run["reason"]


def test_json_names_the_parent() -> None:
    found = json.loads(call("workflow_show", "inner", "--json"))

    assert (found["parent"], found["children"]) == ("outer", [])


def test_show_names_both() -> None:
    assert "invoked by: outer, step child" in call("workflow_show", "inner")
    assert "invoked: inner of windows_child: running" in call("workflow_show", "outer")


def test_pages_in_the_admin_link_to_each_other(client: Client) -> None:
    client.force_login(get_user_model().objects.create_superuser("root"))
    inner, outer = (
        reverse("admin:django_workflow_run_change", args=[run_id]) for run_id in ("inner", "outer")
    )

    assert inner in client.get(outer).content.decode()
    assert outer in client.get(inner).content.decode()
