"""The OpenAPI document is valid, is made without a warning, and says what the API does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
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
    assert document["paths"]


def test_the_api_is_there_without_drf_spectacular() -> None:
    """It is an extra: without it there is no document, and all else."""
    code = """
import sys
sys.modules.update({"drf_spectacular": None, "drf_spectacular.openapi": None, "drf_spectacular.utils": None})
import django
django.setup()
from django.test import RequestFactory
from django_workflow.rest.runs import Workflows
print(Workflows.as_view()(RequestFactory().get("/")).status_code)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"},
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "403", done.stderr


def test_every_handler_says_what_it_gives(document: Any) -> None:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            answers = set(operation["responses"])
            assert answers & {"200", "201", "204"}, (path, method)
            assert answers >= {"400", "401", "403", "404", "406", "429", "500", "503"}
            for status, answer in operation["responses"].items():
                if status >= "400":
                    assert list(answer["content"]) == ["application/problem+json"]


def test_names_are_ours_alone(document: Any) -> None:
    """A project's own serializers stand in the same document."""
    for name in document["components"]["schemas"]:
        assert name.removeprefix("Patched").startswith("Workflow") or name.endswith("Enum")
