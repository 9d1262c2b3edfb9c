"""The how-to about events does what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from django_workflow import notify
from django_workflow.core.workflow import registry
from django_workflow.testing import WorkflowSandbox

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "events.md"


@pytest.mark.django_db
def test_examples_run() -> None:
    namespace: dict[str, Any] = {"__name__": "how_to_events"}
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL))
    try:
        exec(compile(code, str(PAGE), "exec"), namespace)  # noqa: S102  our own page
        namespace["test_deliver"]()
        with WorkflowSandbox():
            run = namespace["vote"].trigger()
            notify("vote:cem")
            notify("vote:ann")
    finally:
        registry.remove("deliver")
        registry.remove("vote")

    assert run.refresh().result == ["vote:cem", "vote:ann"]
