"""The form that starts a run like another, in a real browser: strict policy, light and dark, wide and narrow."""

from __future__ import annotations

from typing import Any

import pytest

from django_workflow import workflow
from django_workflow.core.codec import codec
from django_workflow.core.workflow import registry
from django_workflow.models import Run
from tests.windows import start_types
from tests.windows.test_admin_pages import RUNS, browser
from tests.windows.test_run_pages import is_fit, look, shot
from tests.windows.test_start_form import FULL

__all__ = ["browser", "look"]

pytestmark = [pytest.mark.serial, pytest.mark.django_db(transaction=True)]


def test_a_run_is_started_from_the_fields_of_its_payload(look: Any) -> None:
    made = workflow(name="start_pages", transport="inline", redact=["whole"])(
        start_types.everything
    )
    try:
        made.trigger(FULL, workflow_run_id="one")
        for scheme, width in [("dark", 390), ("light", 1280)]:
            page, complaints = look(f"{RUNS}one/trigger/", width=width, scheme=scheme)
            shot(page, f"start-{scheme}-{width}")
            is_fit(page, complaints)
        page.get_by_role("link", name="Write it as JSON").click()
        page.get_by_role("link", name="Fill in its fields").click()
        page.get_by_label("price", exact=False).fill("much")
        page.get_by_role("button", name="Start one like this").click()
        page.get_by_text("Enter a number.").wait_for()
        shot(page, "start-error")
        is_fit(page, complaints)

        page.get_by_label("price", exact=False).fill("13")
        page.get_by_label("day", exact=False).fill("2026-12-24")
        page.get_by_label("is_gift").uncheck()
        page.get_by_label("colour", exact=False).select_option("RED")
        page.get_by_role("button", name="Start one like this").click()
        page.get_by_text("was taken as a model").wait_for()
    finally:
        registry.remove("start_pages")

    new = codec.loads(Run.objects.exclude(pk="one").get().payload_text or "")
    assert {name for name in FULL if new[name] != FULL[name]} == {
        "price",
        "day",
        "is_gift",
        "colour",
    }
