"""A trigger that a singleton skips makes no run, and every door says so."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.test import RequestFactory, override_settings

from django_workflow import Singleton, WorkflowContext, workflow
from django_workflow.models import Run
from django_workflow.testing import WorkflowSandbox
from tests.rest.conftest import Api

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.rest.urls")]
NO_RUN = {"workflow_run_id": None, "created": False}


@workflow(
    name="rest.skips",
    singleton=Singleton(key="one", on_conflict="skip"),
    trigger_permission=lambda request: True,
)
def skips(ctx: WorkflowContext[Any]) -> Any:
    return ctx.wait_for_event("word", "skips", timeout="1d").event_data


def test_no_door_makes_a_run_or_an_error(api: Api, box: WorkflowSandbox) -> None:
    skips.trigger()

    one = api.post("workflows/rest.skips/runs/", {})
    assert (one.status_code, one.json()) == (200, NO_RUN)
    assert "Location" not in one
    many = api.post("workflows/rest.skips/runs/bulk/", {"payloads": [1, 2]})
    assert many.json() == {"results": [NO_RUN, NO_RUN]}

    with override_settings(ROOT_URLCONF="tests.urls"):
        request = RequestFactory().post("/", b"{}", content_type="application/json")
        viewed = skips(request)
    assert (viewed.status_code, json.loads(viewed.content)) == (202, NO_RUN)

    out = StringIO()
    call_command("workflow_trigger", "rest.skips", json=True, stdout=out)
    assert json.loads(out.getvalue()) == NO_RUN
    out = StringIO()
    call_command("workflow_trigger", "rest.skips", wait=True, stdout=out)
    assert out.getvalue().startswith("Triggered nothing: ")
    assert Run.objects.count() == 1
