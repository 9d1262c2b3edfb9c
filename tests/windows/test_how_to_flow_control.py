"""The how-to about flow control does what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from django_workflow.core.workflow import registry
from django_workflow.models import Run
from django_workflow.testing import WorkflowSandbox

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "flow-control.md"


@pytest.mark.django_db
def test_examples_run() -> None:
    namespace: dict[str, Any] = {"__name__": "how_to_flow_control"}
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL))
    try:
        exec(compile(code, str(PAGE), "exec"), namespace)  # noqa: S102  our own page
        namespace["test_report"]()
        namespace["test_imports_of_an_account_follow_one_another"]()
        with WorkflowSandbox() as box:
            namespace["at_night"]()
            first = namespace["synchronise"].trigger({"account": "ann"})
            second = namespace["synchronise"].trigger({"account": "ann"})
            namespace["document_saved"](1, "draft")
            namespace["document_saved"](1, "final")
            namespace["alarm"]("north")
            namespace["alarm"]("north")
            box.advance("3h")
    finally:
        registry.remove("report")
        registry.remove("synchronise")
        registry.remove("import_statement")

    assert (first.refresh().status, second.refresh().status) == ("cancelled", "completed")
    results = Run.objects.filter(workflow="report", pk__in=box.run_ids)
    assert sorted(run.payload for run in results) == ["final", "north"]
