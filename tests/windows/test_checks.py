from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core import checks
from django.db import connections
from django.test import override_settings
from django.urls import path

from django_workflow import RetryPolicy, Workflow, workflow
from django_workflow.checks.databases import (
    collation_problems,
    mysql_problems,
    packet_problems,
)
from django_workflow.conf import defaults
from django_workflow.core.durations import format_duration
from django_workflow.core.workflow import registry

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs" / "reference"
urlpatterns: list[Any] = []


def found(deploy: bool = False) -> dict[str, checks.CheckMessage]:
    """Run our checks; one message of each id."""
    messages = checks.run_checks(
        tags=["django_workflow"], include_deployment_checks=deploy, databases=[]
    )
    return {str(message.id).removeprefix("django_workflow."): message for message in messages}


@pytest.fixture(autouse=True)
def no_other_workflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the checks see the workflows of the test alone, whatever other modules have registered."""
    monkeypatch.setattr(registry, "_workflows", {})
    monkeypatch.setattr(registry, "clashes", [])


@pytest.fixture
def over_http() -> Iterator[Workflow[Any, Any]]:
    made = workflow(name="check_http", transport="http")(lambda ctx: None)
    yield made
    registry.remove("check_http")


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The settings of the journal's database, to be changed by a test."""
    settings = {**connections["default"].settings_dict, "OPTIONS": {}}
    monkeypatch.setattr(connections["default"], "settings_dict", settings)
    return settings


class NoMiddleware:
    pass


def test_e008_schedule_whose_runs_would_not_fit_the_schema() -> None:
    def schema(payload: Any) -> Any:
        return payload["day"]

    workflow(name="check_schedule", schedule="@daily", payload_schema=schema)(lambda ctx: None)
    assert list(found()) == ["E008"]


def test_e009_schedule_whose_name_is_too_long() -> None:
    workflow(name="n" * 101, schedule="@daily")(lambda ctx: None)
    assert list(found()) == ["E009"]


@pytest.mark.parametrize("path", ["nowhere.at.All", f"{__name__}.NoMiddleware", "nodots"])
def test_e010_middleware_that_cannot_be_used(path: str) -> None:
    with override_settings(WORKFLOW={"MIDDLEWARE": [path]}):
        assert path in found()["E010"].msg


def test_a_sound_project_has_no_messages() -> None:
    assert found() == {}


@pytest.mark.parametrize(
    ("configured", "part"),
    [
        ({"RETENTON": 5}, 'Did you mean "RETENTION"?'),
        ({"RETENTION": {"running": "5d"}}, "Only runs that have ended are ever deleted"),
        ({"LEASE": "soon"}, "soon"),
        ({"TRANSPORT": "pigeon"}, "'pigeon'"),
        ({"SIGNING_KEYS": ["short"]}, "5 bytes"),
        (["no", "dict"], "must be a dict"),
    ],
)
def test_a_wrong_setting_is_an_error(configured: Any, part: str) -> None:
    with override_settings(WORKFLOW=configured):
        message = found()["E001"]

    assert part in message.msg
    assert message.is_serious()


def test_every_wrong_setting_is_told_at_once() -> None:
    with override_settings(WORKFLOW={"LEASE": "soon", "BEAT": 1, "QUEUE": ""}):
        messages = checks.run_checks(tags=["django_workflow"], databases=[])

    assert [message.id for message in messages] == ["django_workflow.E001"] * 3


def test_an_unknown_database_is_an_error_that_names_the_known_ones() -> None:
    with override_settings(WORKFLOW={"DATABASE": "elsewhere"}):
        message = found()["E002"]

    assert '"elsewhere"' in message.msg
    assert '"default"' in str(message.hint)


def test_naive_times_are_an_error() -> None:
    with override_settings(USE_TZ=False):
        assert found()["E003"].is_serious()


def test_two_workflows_of_one_name_are_an_error() -> None:
    def another(ctx: Any) -> None: ...

    workflow(name="check_twice")(lambda ctx: None)
    workflow(name="check_twice")(another)
    try:
        message = found()["E004"]
    finally:
        registry.remove("check_twice")
        registry.clashes.clear()

    assert '"check_twice"' in message.msg
    assert "another" in message.msg


@pytest.mark.sqlite_only
@pytest.mark.parametrize("options", [{}, {"transaction_mode": "DEFERRED"}, {"timeout": 20}])
def test_sqlite_without_immediate_transactions_is_an_error(
    options: dict[str, Any], database: dict[str, Any]
) -> None:
    database["OPTIONS"] = options

    assert "database is locked" in found()["E005"].msg


@pytest.mark.parametrize(
    "options",
    [
        {"isolation_level": "repeatable read"},
        {"isolation_level": "SERIALIZABLE"},
        {"isolation_level": None},
    ],
)
def test_mysql_with_snapshots_is_a_warning(
    options: dict[str, Any], database: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections["default"], "vendor", "mysql", raising=False)
    database["OPTIONS"] = options

    assert "isolation level" in found()["W002"].msg


def test_mysql_as_django_opens_it_is_fine(
    database: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections["default"], "vendor", "mysql", raising=False)

    assert found() == {}


def test_a_collation_that_ignores_case_is_a_warning() -> None:
    messages = collation_problems("default", "utf8mb4_general_ci")

    assert [message.id for message in messages] == ["django_workflow.W003"]


def test_a_mariadb_that_cannot_skip_locked_rows_is_an_error() -> None:
    [message] = mysql_problems("default", (10, 5, 29), is_mariadb=True)

    assert message.id == "django_workflow.E040"
    assert "10.5.29" in message.msg


def test_mysql_itself_is_a_warning() -> None:
    [message] = mysql_problems("default", (8, 4, 3), is_mariadb=False)

    assert message.id == "django_workflow.W040"


def test_packets_too_small_for_what_may_be_stored_are_a_warning() -> None:
    [message] = packet_problems("default", 16_777_216, 10_000_000)

    assert message.id == "django_workflow.W041"
    assert packet_problems("default", 20_000_000, 10_000_000) == []


def test_a_mariadb_that_skips_locked_rows_is_fine() -> None:
    assert mysql_problems("default", (10, 6, 0), is_mariadb=True) == []


def test_a_collation_that_tells_cases_apart_is_fine() -> None:
    assert collation_problems("default", "utf8mb4_bin") == []


def test_http_without_a_base_url_is_an_error(over_http: Workflow[Any, Any]) -> None:
    message = found()["E006"]

    assert message.obj is over_http


@override_settings(DEBUG=True)
def test_http_without_a_base_url_is_left_to_workflow_dev(over_http: Workflow[Any, Any]) -> None:
    assert "E006" not in found()


@override_settings(
    WORKFLOW={"BASE_URL": "https://example.org"}, ROOT_URLCONF="tests.windows.test_checks"
)
def test_http_without_a_url_is_an_error(over_http: Workflow[Any, Any]) -> None:
    message = found()["E007"]

    assert message.obj is over_http
    assert 'include("django_workflow.urls")' in str(message.hint)


@override_settings(
    WORKFLOW={"BASE_URL": "https://example.org"}, ROOT_URLCONF="tests.windows.test_checks"
)
def test_a_workflow_in_the_urlconf_can_be_reached(
    over_http: Workflow[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.windows.test_checks.urlpatterns", [path("pay/", over_http)])

    assert over_http not in [
        message.obj for message in checks.run_checks(tags=["django_workflow"], databases=[])
    ]


def test_a_workflow_with_a_url_of_its_own_needs_no_base_url() -> None:
    workflow(name="check_far", transport="http", url="https://far.example/")(lambda ctx: None)
    try:
        assert found() == {}
    finally:
        registry.remove("check_far")


@pytest.mark.pg_only
def test_http_with_a_connection_for_each_request_is_a_warning(
    over_http: Workflow[Any, Any], database: dict[str, Any]
) -> None:
    database["CONN_MAX_AGE"] = 0

    assert "CONN_MAX_AGE" in found()["W004"].msg


@pytest.mark.pg_only
@pytest.mark.parametrize("change", [{"CONN_MAX_AGE": 60}, {"OPTIONS": {"pool": True}}])
def test_http_with_connections_that_are_kept_is_fine(
    change: dict[str, Any], over_http: Workflow[Any, Any], database: dict[str, Any]
) -> None:
    database.update(change)

    assert "W004" not in found()


@override_settings(WORKFLOW={}, CELERY_BROKER_URL="redis://127.0.0.1/0")
def test_celery_that_closes_connections_is_a_warning() -> None:
    assert "CELERY_DB_REUSE_MAX" in found()["W005"].msg


@override_settings(WORKFLOW={}, CELERY_BROKER_URL="redis://127.0.0.1/0", CELERY_DB_REUSE_MAX=1000)
def test_celery_that_keeps_connections_is_fine() -> None:
    assert found() == {}


def test_calls_that_may_reach_what_cannot_be_checked_are_an_error() -> None:
    with override_settings(WORKFLOW={"CALL_ALLOW": ["64:ff9b::/96"]}):
        assert "64:ff9b::/96" in found()["E011"].msg


def test_calls_that_may_reach_metadata_are_a_warning() -> None:
    with override_settings(WORKFLOW={"CALL_ALLOW": ["0.0.0.0/0"]}):
        assert "169.254.169.254" in found()["W009"].msg


@pytest.mark.parametrize("secret", ["django-insecure-" + "x" * 50, "short"])
def test_a_weak_secret_is_told_at_deployment(secret: str) -> None:
    with override_settings(SECRET_KEY=secret):
        assert "W006" in found(deploy=True)
        assert "W006" not in found()


@override_settings(SECRET_KEY="short", WORKFLOW={"SIGNING_KEYS": ["k" * 32]})
def test_signing_keys_stand_in_for_a_weak_secret() -> None:
    assert "W006" not in found(deploy=True)


@override_settings(WORKFLOW={}, CELERY_BROKER_URL="memory://", CELERY_DB_REUSE_MAX=1000)
def test_a_broker_in_memory_is_told_at_deployment() -> None:
    assert list(found(deploy=True)) == ["W007"]


@override_settings(WORKFLOW={"DISPATCHER": "embedded"})
def test_the_embedded_dispatcher_is_told_at_deployment() -> None:
    assert list(found(deploy=True)) == ["W008"]


def test_the_admin_without_the_tags_of_its_pages_is_told() -> None:
    apps = ["django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes"]
    apps += ["django.contrib.messages", "django_workflow"]
    with override_settings(INSTALLED_APPS=apps):
        message = found()["E016"]
    assert "django_htmx is not in INSTALLED_APPS" in message.msg
    assert "E016" not in found()


def test_a_project_without_permissions_is_warned() -> None:
    with override_settings(INSTALLED_APPS=["django_workflow"]):
        message = found()["W001"]

    assert "django.contrib.auth" in message.msg


def test_every_check_is_documented() -> None:
    modules = (ROOT / "django_workflow" / "checks").glob("*.py")
    source = "".join(module.read_text() for module in modules)
    found = re.findall(r"\bas_(error|warning)\(\s*(\d+),", source)
    ids = sorted(f"django_workflow.{kind[0].upper()}{int(number):03}" for kind, number in found)

    documented = re.findall(r"^\| `([^`]+)`", (DOCS / "checks.md").read_text(), re.MULTILINE)

    # As lists: an id says one thing.
    assert sorted(documented) == ids


def as_documented(value: Any) -> str:
    """Return a default as the reference page writes it."""
    if isinstance(value, timedelta):
        return f'"{format_duration(value)}"'
    if isinstance(value, RetryPolicy):
        return "RetryPolicy()"
    return json.dumps(value) if isinstance(value, str) else repr(value)


def test_every_setting_is_documented_with_its_default() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| `([^`]+)` \|", (DOCS / "settings.md").read_text(), re.MULTILINE
    )

    assert dict(rows) == {name: as_documented(value) for name, value in defaults().items()}


@pytest.mark.parametrize(("name", "check"), [("VISIBLE_RUNS", "E013"), ("MAY_FOLLOW", "E014")])
def test_callables_of_access_must_be_there(name: str, check: str) -> None:
    with override_settings(WORKFLOW={name: "no.such.callable"}):
        assert "no.such.callable" in found()[check].msg
    with override_settings(WORKFLOW={name: "tests.rest.visible.own"}):
        assert check not in found()


def test_mailer_of_approvals_must_be_there() -> None:
    with override_settings(WORKFLOW={"APPROVAL_MAILER": "no.such.mailer"}):
        assert "no.such.mailer" in found()["E012"].msg
