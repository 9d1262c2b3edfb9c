"""The pytest plugin: the fixture ``sandbox``. Found by pytest through its entry point; nothing of it is autouse.

Loaded before Django's settings are known, so it imports no model: what needs them is imported when a test asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.utils.module_loading import import_string

MARK = "workflow_sandbox"


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known, for those who are strict with marks, and the fixture."""
    config.addinivalue_line(
        "markers",
        f"{MARK}(**options): options of the WorkflowSandbox that the fixture sandbox returns, as now or steps_per_pass.",
    )
    plugins = config.pluginmanager
    # pytest-django looks at the fixtures that a test names to find out which databases are needed.
    fixtures = _WithDatabase() if plugins.hasplugin("django") else _Fixtures()
    plugins.register(fixtures, "django_workflow_sandbox")


def _open(request: pytest.FixtureRequest) -> Iterator[Any]:
    mark = request.node.get_closest_marker(MARK)
    options = {} if mark is None else mark.kwargs
    with import_string("django_workflow.testing.WorkflowSandbox")(**options) as box:
        yield box


class _Fixtures:
    @pytest.fixture
    def sandbox(self, request: pytest.FixtureRequest) -> Iterator[Any]:
        """An open `django_workflow.testing.WorkflowSandbox`."""
        yield from _open(request)


class _WithDatabase:
    @pytest.fixture
    def sandbox(self, request: pytest.FixtureRequest, db: None) -> Iterator[Any]:
        """An open `django_workflow.testing.WorkflowSandbox`; the database may be used, as with ``db``."""
        yield from _open(request)
