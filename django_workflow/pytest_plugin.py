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
    """Make the mark known, for those who are strict with marks."""
    config.addinivalue_line(
        "markers",
        f"{MARK}(**options): options of the sandbox that the fixture of this name returns, as now or steps_per_pass.",
    )


@pytest.fixture
def sandbox(request: pytest.FixtureRequest) -> Iterator[Any]:
    """An open `django_workflow.testing.WorkflowSandbox`; the test may use the database, as with pytest-django's ``db``."""
    if request.config.pluginmanager.hasplugin("django"):
        request.getfixturevalue("db")
    mark = request.node.get_closest_marker(MARK)
    options = {} if mark is None else mark.kwargs
    with import_string("django_workflow.testing.WorkflowSandbox")(**options) as box:
        yield box
