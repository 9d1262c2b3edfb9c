"""The OpenAPI document is valid, is made without a warning, and says what the API does."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import override_settings
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema


@pytest.fixture
def document() -> Any:
    GENERATOR_STATS.reset()
    with override_settings(ROOT_URLCONF="tests.rest.urls"):
        return SchemaGenerator(urlconf="django_workflow.rest.urls").get_schema(public=True)


def test_document_is_valid_and_made_without_a_warning(document: Any, capsys: Any) -> None:
    validate_schema(document)

    assert not GENERATOR_STATS._warn_cache
    assert not GENERATOR_STATS._error_cache
    assert capsys.readouterr().err == ""
    assert len(document["paths"]) == 49
