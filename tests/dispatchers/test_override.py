"""What `workflow_dev` puts over the project's settings: the address at which it serves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from django_workflow import conf
from django_workflow.core.exceptions import InvalidOptionError


@pytest.fixture(autouse=True)
def no_override() -> Iterator[None]:
    yield
    conf.override()


def test_an_override_wins_over_the_projects_setting_and_leaves_the_others(settings: Any) -> None:
    settings.WORKFLOW = {"BASE_URL": "https://example.org", "QUEUE": "durable"}

    conf.override(BASE_URL="http://127.0.0.1:8000")

    assert conf.settings().BASE_URL == "http://127.0.0.1:8000"
    assert conf.settings().QUEUE == "durable"
    assert conf.settings().default_transport == "http"


def test_an_override_without_values_takes_the_last_one_away(settings: Any) -> None:
    settings.WORKFLOW = {}
    conf.override(BASE_URL="http://127.0.0.1:8000")

    conf.override()

    assert conf.settings().BASE_URL is None


def test_an_override_is_checked_as_the_setting_is() -> None:
    conf.override(BASE_URL="127.0.0.1:8000")

    with pytest.raises(InvalidOptionError, match="must start with http"):
        conf.settings()
