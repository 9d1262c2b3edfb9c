"""The how-to about putting runs right does what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from django_workflow.admin.run_verbs import MORE_ON_PAGE
from django_workflow.core.workflow import registry
from django_workflow.testing import WorkflowSandbox

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "put-runs-right.md"


@pytest.mark.django_db
def test_examples_run() -> None:
    namespace: dict[str, Any] = {"__name__": "how_to_put_runs_right"}
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL))
    try:
        exec(compile(code, str(PAGE), "exec"), namespace)  # noqa: S102  our own page
        with WorkflowSandbox():
            run = namespace["pack"].trigger({"to": "Riga"})
            assert run.refresh().status == "running"
            namespace["hurry"](run)
            new = namespace["once_more_to"](run, "Oslo")
            assert run.refresh().result == "small for Riga"
            assert new.refresh().result == "large for Oslo"
    finally:
        registry.remove("pack")

    assert [action.why for action in run.actions] == ["the customer waits", ""]


def test_each_verb_and_its_permission_is_told() -> None:
    text = PAGE.read_text()

    assert [verb.name for verb in MORE_ON_PAGE if f"`{verb.name}_run`" not in text] == []
