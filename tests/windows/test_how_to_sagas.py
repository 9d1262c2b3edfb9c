"""The how-to about undo does what it says, and windows tell of it."""

from __future__ import annotations

import re
import sys
from io import StringIO
from pathlib import Path
from types import ModuleType

import pytest
from django.core.management import call_command

from django_workflow.core.workflow import registry
from django_workflow.models import Run

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "sagas.md"


@pytest.mark.django_db
def test_examples_run(monkeypatch: pytest.MonkeyPatch) -> None:
    # A module of its own: what undoes a step is found by its path.
    module = ModuleType("how_to_sagas")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL))
    try:
        exec(compile(code, str(PAGE), "exec"), module.__dict__)  # noqa: S102  our own page
        module.test_order()
        out = StringIO()
        call_command("workflow_show", Run.objects.get().id, stdout=out)
    finally:
        registry.remove("order")

    assert "undo: completed" in out.getvalue()
    assert "undo charge" in out.getvalue()
