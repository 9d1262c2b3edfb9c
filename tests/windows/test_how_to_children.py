"""The how-to about children does what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from django_workflow.core.workflow import registry
from django_workflow.testing import WorkflowSandbox

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "children.md"


@pytest.mark.django_db
def test_examples_run() -> None:
    namespace: dict[str, Any] = {"__name__": "how_to_children"}
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL))
    try:
        exec(compile(code, str(PAGE), "exec"), namespace)  # noqa: S102  our own page
        namespace["test_fulfil"]()
        with WorkflowSandbox() as box:
            namespace["nightly"].trigger()
    finally:
        for name in ("deliver_parcel", "fulfil", "remind", "nightly"):
            registry.remove(name)

    assert len(box.run_ids) == 4
