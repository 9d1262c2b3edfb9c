"""The how-tos about webhooks and approvals do what they say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from django_workflow.core.workflow import registry
from tests.transports.wsgi import served_at

PAGES = Path(__file__).resolve().parents[2] / "docs" / "how-to"


@pytest.mark.django_db
@override_settings(BANK_SECRET="a secret")
@pytest.mark.parametrize(
    ("page", "test", "name"), [("webhooks", "test_pay", "pay"), ("approvals", "test_buy", "buy")]
)
def test_examples_run(page: str, test: str, name: str) -> None:
    namespace: dict[str, Any] = {"__name__": f"how_to_{page}"}
    path = PAGES / f"{page}.md"
    code = "\n".join(re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL))
    # The form has to be where every process finds it.
    code = code.replace("shop.forms.BudgetForm", "tests.app.forms.BudgetForm")
    try:
        exec(compile(code, str(path), "exec"), namespace)  # noqa: S102  our own page
        with served_at("http://testserver", TRANSPORT="inline"):
            namespace[test]()
    finally:
        registry.remove(name)
