"""Who may: each address and method asks for the permission that is written here, and for no other.

A new address without a line here fails; so does a line without an address.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import override_settings
from django.urls import URLPattern
from rest_framework.test import APIClient

from django_workflow.rest import urls
from django_workflow.rest.base import ApiView
from django_workflow.testing import WorkflowSandbox
from tests.rest.conftest import ROOT, Api, is_problem, user_with
from tests.rest.workflows import waits

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.rest.urls")]

NEEDS = {
    ("workflows", "GET"): "view_run",
    ("workflow", "GET"): "view_run",
    ("trigger", "POST"): "trigger_run",
    ("trigger-many", "POST"): "trigger_run",
    ("runs", "GET"): "view_run",
    ("run", "GET"): "view_run",
    ("steps", "GET"): "view_run",
    ("attempts", "GET"): "view_run",
    ("logs", "GET"): "view_run",
    ("actions", "GET"): "view_run",
    ("webhooks", "GET"): "view_run view_webhook",
    ("result", "GET"): "view_run view_payload",
    ("cancel", "POST"): "cancel_run",
    ("retry", "POST"): "retry_run",
    ("skip-sleep", "POST"): "skip_run",
    ("extend", "POST"): "extend_run",
    ("priority", "POST"): "prioritise_run",
    ("edit-result", "POST"): "edit_run",
    ("fork", "POST"): "fork_run",
    ("pause", "POST"): "pause_run",
    ("resume", "POST"): "resume_run",
    ("restart", "POST"): "restart_run",
    ("rerun-handler", "POST"): "resume_run",
    ("rerun-handlers", "POST"): "resume_run",
    ("cancel-many", "POST"): "cancel_run",
    ("pause-many", "POST"): "pause_run",
    ("resume-many", "POST"): "resume_run",
    ("restart-many", "POST"): "restart_run",
    ("fork-many", "POST"): "fork_run",
    ("events", "GET"): "view_event",
    ("events", "POST"): "notify_run",
    ("waiters", "GET"): "view_waiter",
    ("dead-letters", "GET"): "view_run",
    ("dead-letter-groups", "GET"): "view_run",
    ("resume-letters", "POST"): "resume_run",
    ("restart-letters", "POST"): "restart_run",
    ("delete-letters", "POST"): "delete_run",
    ("schedules", "GET"): "view_schedule",
    ("schedule", "GET"): "view_schedule",
    ("schedule", "PUT"): "change_schedules trigger_run",
    ("schedule", "DELETE"): "change_schedules",
    ("fires", "GET"): "view_schedule",
    ("pause-schedule", "POST"): "change_schedules",
    ("resume-schedule", "POST"): "change_schedules",
    ("run-schedule", "POST"): "change_schedules",
    ("flow-keys", "GET"): "view_flowkey",
    ("flow-key", "GET"): "view_flowkey",
    ("flow-key", "PATCH"): "change_flowkey",
    ("pause-key", "POST"): "change_flowkey",
    ("resume-key", "POST"): "change_flowkey",
    ("pin-key", "POST"): "change_flowkey",
    ("unpin-key", "POST"): "change_flowkey",
    ("reset-key", "POST"): "change_flowkey",
    ("approvals", "GET"): "",
    ("approval", "GET"): "",
    ("decide", "POST"): "",
}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


def offered() -> Iterator[tuple[str, str]]:
    for pattern in urls.urlpatterns:
        assert isinstance(pattern, URLPattern)
        view: type[ApiView] = pattern.callback.view_class  # type: ignore[attr-defined]
        for method in METHODS:
            if pattern.name and hasattr(view, method.lower()):
                yield pattern.name, method


def path_of(name: str) -> str:
    route = next(str(one.pattern) for one in urls.urlpatterns if one.name == name)
    for converter, value in (
        ("<str:name>", "rest.plain"),
        ("<path:run_id>", "x"),
        ("<path:schedule_id>", "x"),
        ("<path:key>", "x"),
        ("<int:approval_id>", "1"),
    ):
        route = route.replace(converter, value)
    return ROOT + route


def ask(client: Any, name: str, method: str) -> Any:
    return getattr(client, method.lower())(path_of(name), {}, format="json")


def test_every_address_has_its_line_here() -> None:
    assert set(offered()) == set(NEEDS)


@pytest.mark.parametrize(("name", "method"), NEEDS)
def test_nobody_without_credentials(name: str, method: str) -> None:
    is_problem(ask(APIClient(), name, method), 403, "forbidden")


@pytest.mark.parametrize(("name", "method"), NEEDS)
def test_each_address_asks_for_its_permission_and_no_other(name: str, method: str) -> None:
    needed = NEEDS[name, method].split()

    if needed:
        nobody = Api(user_with("eve", "view_approval")).client
        assert needed[0] in is_problem(ask(nobody, name, method), 403, "forbidden")["detail"]
    for missing in needed if len(needed) > 1 else ():
        holds_less = Api(user_with(f"not {missing}", *(set(needed) - {missing}))).client
        assert missing in is_problem(ask(holds_less, name, method), 403, "forbidden")["detail"]
    holder = Api(user_with("bob", *needed)).client
    assert ask(holder, name, method).status_code != 403


@pytest.mark.parametrize(("name", "method"), NEEDS)
def test_other_methods_are_refused(name: str, method: str, api: Api) -> None:
    offered_here = {one for found, one in NEEDS if found == name}
    for other in set(METHODS) - offered_here:
        found = ask(api.client, name, other)
        is_problem(found, 405, "wrong-method")
        head = {"HEAD"} if "GET" in offered_here else set()
        assert set(found["Allow"].split(", ")) == {*offered_here, "OPTIONS", *head}


def test_a_wrong_password_is_challenged() -> None:
    User.objects.create_superuser("ann", password="right")
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION="Basic " + base64.b64encode(b"ann:wrong").decode())
    # The session comes first in DRF's own settings, and has no challenge.
    is_problem(client.get(f"{ROOT}runs/"), 403, "forbidden")
    with override_settings(
        REST_FRAMEWORK={
            "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.BasicAuthentication"]
        }
    ):
        client.credentials(HTTP_AUTHORIZATION="Basic " + base64.b64encode(b"ann:right").decode())
        assert client.get(f"{ROOT}runs/").status_code == 200


def test_rates_are_by_scope(api: Api, box: WorkflowSandbox) -> None:
    run = waits.trigger()
    rates = {"workflow_read": "1/day", "workflow_write": "1/day", "workflow_wait": "1/day"}
    with override_settings(REST_FRAMEWORK={"DEFAULT_THROTTLE_RATES": rates}):
        for path in ("runs/", f"runs/{run.id}/result/"):
            assert api.get(path).status_code in (200, 202)
            is_problem(api.get(path), 429, "too-often")
        assert api.post(f"runs/{run.id}/pause/").status_code == 200
        is_problem(api.post(f"runs/{run.id}/resume/"), 429, "too-often")
        assert api.post("workflows/rest.plain/runs/").status_code == 201


def test_there_is_nothing_at_other_addresses(api: Api) -> None:
    for path in ("nothing/", "runs/x/y\nz/nothing/", "workflows/a/b/"):
        is_problem(api.get(path), 404, "not-found")
    is_problem(APIClient().get(f"{ROOT}nothing/"), 403, "forbidden")
    # A forgotten slash is Django's to add.
    assert api.get("runs").status_code == 301


def test_an_unwanted_media_type(api: Api) -> None:
    found = api.client.get(f"{ROOT}runs/", headers={"Accept": "image/png"})
    is_problem(found, 406, "not-acceptable")
