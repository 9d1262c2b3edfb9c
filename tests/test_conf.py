"""One dict, read in one place; what is wrong with it is said with the setting's name."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import override_settings

from django_workflow import InvalidOptionError, RetryPolicy
from django_workflow.conf import defaults, problems, settings


def test_defaults_hold_where_nothing_is_set() -> None:
    with override_settings(WORKFLOW={}):
        found = settings()

    assert found.DATABASE == "default"
    assert timedelta(seconds=30) == found.LEASE
    assert found.default_transport == "inline"


def test_override_settings_is_seen_and_taken_back() -> None:
    with override_settings(WORKFLOW={"LEASE": "5s"}):
        inside = settings().LEASE

    assert inside == timedelta(seconds=5)
    assert inside != settings().LEASE


def test_base_url_makes_http_the_default_transport() -> None:
    with override_settings(WORKFLOW={"BASE_URL": "https://example.org/"}):
        found = settings()

    assert (found.BASE_URL, found.default_transport) == ("https://example.org", "http")


def test_an_int_is_a_retry_policy() -> None:
    with override_settings(WORKFLOW={"RETRIES": 7}):
        assert RetryPolicy(max_retries=7) == settings().RETRIES


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (None, None),
        ("2d", {"completed": timedelta(days=2), "cancelled": timedelta(days=2)}),
        ({"failed": "2d", "completed": None}, {"failed": timedelta(days=2)}),
        ({"completed": None}, None),
    ],
)
def test_retention_is_read_by_state(given: Any, kept: Any) -> None:
    with override_settings(WORKFLOW={"RETENTION": given}):
        assert kept == settings().RETENTION


def test_unknown_setting_is_an_error_with_the_nearest_name() -> None:
    with (
        override_settings(WORKFLOW={"LAESE": 1}),
        pytest.raises(InvalidOptionError, match='Did you mean "LEASE"'),
    ):
        settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE", ""),
        ("BASE_URL", "example.org"),
        ("TRANSPORT", "smoke"),
        ("DISPATCHER", "pigeon"),
        ("QUEUE", 3),
        ("BEAT", "yes"),
        ("RETENTION", "-1d"),
        ("RETENTION", 0),
        ("RETENTION", {"running": "1d"}),
        ("RETENTION", {"completed": "soon"}),
        ("RETRIES", -1),
        ("LEASE", 0),
        ("STEP_TIMEOUT", "soon"),
        ("PASS_BUDGET", None),
        ("STEPS_PER_PASS", 0),
        ("CLAIM_BATCH", True),
        ("CALL_TIMEOUT", 0),
        ("CALL_ALLOW", "10.0.0.0/8"),
        ("CALL_ALLOW", ["10.0.0.1/8"]),
        ("CALL_ALLOW", ["10.0.0.256"]),
        ("CALL_ALLOW", ["localhost:8000"]),
        ("CALL_ALLOW", ["https://erp.internal/"]),
        ("CALL_ALLOW", [""]),
        ("CALL_ALLOW", 3),
        ("CALL_PROXY", "proxy:3128"),
        ("CALL_MAX_BYTES", 0),
        ("CALLS_AT_ONCE", 0),
        ("MAX_PAYLOAD_BYTES", 1.5),
        ("SIGNING_KEYS", ["short"]),
        ("SIGNING_KEYS", "one text instead of a list of them, which is long"),
        ("ISSUER", None),
    ],
)
def test_value_that_cannot_work_is_named(name: str, value: Any) -> None:
    with override_settings(WORKFLOW={name: value}):
        found = problems()

    assert [setting for setting, _ in found] == [name]


def test_workflow_must_be_a_dict() -> None:
    with override_settings(WORKFLOW=["LEASE"]):
        assert problems() == [("WORKFLOW", "WORKFLOW must be a dict, not list.")]


def test_every_setting_has_a_default_that_passes_its_own_reader() -> None:
    given = {name: value for name, value in defaults().items() if value not in (None, ())}

    with override_settings(WORKFLOW=given):
        assert problems() == []
