"""The how-to about calls does what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from django_workflow.core.workflow import registry

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "calls.md"


@pytest.mark.django_db
def test_examples_run() -> None:
    namespace: dict[str, Any] = {"__name__": "how_to_calls"}
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL))
    try:
        exec(compile(code, str(PAGE), "exec"), namespace)  # noqa: S102  our own page
        namespace["test_tell_partner"]()
        namespace["test_ask_rate"]()
    finally:
        registry.remove("tell_partner")
        registry.remove("ask_rate")
