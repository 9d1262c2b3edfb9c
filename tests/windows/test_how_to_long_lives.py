"""The how-tos about long runs and changed code do what they say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from django_workflow.core.workflow import registry
from django_workflow.testing import WorkflowSandbox

PAGES = Path(__file__).resolve().parents[2] / "docs" / "how-to"


def run_page(name: str) -> dict[str, Any]:
    page = PAGES / name
    namespace: dict[str, Any] = {"__name__": "how_to_long_lives"}
    code = "\n".join(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
    exec(compile(code, str(page), "exec"), namespace)  # noqa: S102  our own page
    return namespace


@pytest.mark.django_db
def test_examples_of_long_runs() -> None:
    try:
        run_page("long-runs.md")["test_watch"]()
    finally:
        registry.remove("import_all")
        registry.remove("watch")


@pytest.mark.django_db
def test_examples_of_changed_code() -> None:
    try:
        order = run_page("change-code.md")["order"]
        with WorkflowSandbox() as box:
            first, second = order.trigger(version="1"), order.trigger()
            box.advance("3d")
            assert box.steps(first) == ["charge", "check fraud", "let it travel"]
            assert box.steps(second) == ["let it travel", "charge"]
    finally:
        registry.remove("order")

    assert (first.refresh().result, second.refresh().result) == ("done", "done")
