"""The how-to is done as it is written, and the reference is what the code makes of it."""

from __future__ import annotations

import json
import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import override_settings
from rest_framework.test import APIClient

from django_workflow.core.workflow import registry
from django_workflow.models import Run
from django_workflow.testing import WorkflowSandbox
from tests.rest.conftest import Api
from tests.rest.reference import PAGE, reference

HOW_TO = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "rest.md"

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.rest.urls")]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", HOW_TO.read_text(), re.DOTALL)


def asked(client: APIClient, command: str) -> Any:
    """Do what a line with curl does."""
    words = iter(shlex.split(command))
    assert next(words) == "curl"
    method, url, body = "GET", "", b""
    for word in words:
        if word == "--json":
            method, body = "POST", next(words).encode()
        elif word == "-X":
            method = next(words)
        elif word == "-u":
            assert next(words) == "demo:demo"
        else:
            url = word.removeprefix("http://localhost:8000")
    return client.generic(method, url, body, content_type="application/json").json()


def fits(told: Any, found: Any) -> bool:
    """Tell whether what is found has all that the page tells; an ellipsis stands for anything but nothing."""
    if told == "…":
        return bool(found)
    if isinstance(told, dict):
        return all(name in found and fits(told[name], found[name]) for name in told)
    if isinstance(told, list):
        return len(told) == len(found) and all(map(fits, told, found))
    return bool(told == found)


def test_examples_run() -> None:
    namespace: dict[str, Any] = {"__name__": "how_to_rest"}
    client = APIClient()
    client.force_login(User.objects.create_superuser("demo"))
    lines = [line for block in blocks("console") for line in block.splitlines()]
    examples = [
        (line[2:], json.loads(answer))
        for line, answer in pairwise(lines)
        if line.startswith("$ curl")
    ]
    try:
        exec(compile("\n".join(blocks("python")), str(HOW_TO), "exec"), namespace)  # noqa: S102  our own page
        with WorkflowSandbox() as box:
            for command, told in examples:
                box.settle()
                found = asked(client, command)
                assert fits(told, found), f"{command}\n{json.dumps(found)}"
    finally:
        registry.remove("ship")
    assert len(examples) == 16


def test_runs_of_the_tenant(box: WorkflowSandbox) -> None:
    namespace: dict[str, Any] = {}
    exec(next(one for one in blocks("python") if "VISIBLE_RUNS" in one), namespace)  # noqa: S102  our own page
    api = Api(User.objects.create_user("acme"))

    class Asking:
        user = api.user

    assert not namespace["of_the_tenant"](Asking(), Run.objects.all()).exists()
    Asking.user.is_superuser = True
    runs = Run.objects.all()
    assert namespace["of_the_tenant"](Asking(), runs) is runs


def test_rates_of_the_page_are_those_of_the_scopes() -> None:
    page = PAGE.read_text()
    [block] = [one for one in blocks("python") if "THROTTLE" in one]
    scopes = re.findall(r"`(workflow_(?:read|write|wait|trigger))`", page)
    assert set(re.findall(r'"(workflow_\w+)"', block)) == set(scopes)


def test_reference_is_made_of_the_code() -> None:
    with override_settings(ROOT_URLCONF="tests.rest.urls"):
        assert PAGE.read_text() == reference(), "Run `make rest-reference`."
