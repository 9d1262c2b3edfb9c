"""Requests made up from the OpenAPI document: none is answered with a server error, or with what is not documented.

Each operation is asked a few dozen times, with data that fit the document and with data that do not; seeded, so that a
run is as the one before. Known IDs stand in the document as the only ones, or nearly every request would be a 404.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from django.urls import include, path
from drf_spectacular.generators import SchemaGenerator
from hypothesis import HealthCheck, Phase, given, seed, settings

from django_workflow.models import Approval
from django_workflow.rest import runs
from django_workflow.testing import WorkflowSandbox
from tests.rest.workflows import asks, fails, limited, plain, waits

schemathesis = pytest.importorskip("schemathesis", reason="missing: schemathesis")

checks = import_module("schemathesis.specs.openapi.checks")
LEFT_OUT = [
    # A document cannot say all that is asked of a request: that a cron fires, that one of three fields is given.
    checks.positive_data_acceptance,
    # It makes the cookie wrong and leaves the header right; test_access asks without either.
    checks.ignored_auth,
]

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.rest.urls")]

EXAMPLES = 6
IDS = {
    "name": ["rest.plain", "rest.waits", "none"],
    "run_id": ["known", "waiting", "dead", "none"],
    "schedule_id": ["nightly", "new one", "none"],
    "key": ["rest/limited", "none"],
    "approval_id": [1, 2],
}


def document() -> Any:
    mounted = [path("api/workflows/", include("django_workflow.rest.urls"))]
    found = SchemaGenerator(patterns=mounted).get_schema(public=True)
    for item in found["paths"].values():
        for operation in item.values():
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path":
                    parameter["schema"]["enum"] = IDS[parameter["name"]]
    return found


SCHEMA = schemathesis.openapi.from_dict(document())
SCHEMA.app = WSGIHandler()
OPERATIONS = {
    f"{operation.method.upper()} {operation.path}": operation
    for operation in (found.ok() for found in SCHEMA.get_all_operations())
}


@pytest.fixture
def credentials(db: None) -> dict[str, str]:
    User.objects.create_superuser("ann", password="ann")
    return {"Authorization": "Basic " + base64.b64encode(b"ann:ann").decode()}


@pytest.fixture
def populated(credentials: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for signal in (request_started, request_finished):
        # The requests are made in the test's own transaction.
        signal.disconnect(close_old_connections)
    monkeypatch.setattr(runs, "LONGEST_WAIT_SECONDS", 0.0)
    with WorkflowSandbox():
        plain.trigger({"n": 1}, workflow_run_id="known", label="vip")
        waits.trigger(workflow_run_id="waiting")
        fails.trigger(workflow_run_id="dead")
        limited.trigger()
        asks.trigger()
        plain.schedule("0 9 * * *", schedule_id="nightly")
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=str)
def test_every_answer_is_documented(
    name: str, mode: Any, populated: None, credentials: dict[str, str]
) -> None:
    operation = OPERATIONS[name]
    approval_id = Approval.objects.get().pk

    @seed(1)
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate],
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        if case.path_parameters.get("approval_id") == 1:
            case.path_parameters["approval_id"] = approval_id
        case.call_and_validate(headers=credentials, excluded_checks=LEFT_OUT)

    ask()
