"""The how-to about tests is a test module: a pytest runs it, and all its tests pass."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from django_workflow import notify
from django_workflow.core.workflow import registry
from django_workflow.runtime.exporting import export_run
from django_workflow.testing import WorkflowSandbox
from tests.kit.test_pytest_plugin import PLUGIN, SETTINGS

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "how-to" / "testing.md"


def code_of(text: str) -> str:
    return "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))


CODE = code_of(PAGE.read_text())
# Without the mark of the plugin, which need not be installed where this suite runs.
WITHOUT_PLUGIN = code_of(PAGE.read_text().partition("## pytest, TestCase")[0])

CONFTEST = """
from pathlib import Path

import pytest
from asgiref.sync import async_to_sync


@pytest.fixture
def journal_of_a_subscription():
    return Path(__file__).parent / "journal.json"


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    # What pytest-asyncio does.
    if pyfuncitem.name == "test_async":
        async_to_sync(pyfuncitem.obj)()
        return True
"""


@pytest.fixture
def journal(db: None) -> str:
    namespace: dict[str, Any] = {"__name__": "how_to_testing"}
    try:
        exec(compile(WITHOUT_PLUGIN, str(PAGE), "exec"), namespace)  # noqa: S102  our own page
        with WorkflowSandbox() as box:
            box.respond(*namespace["BANK"], status=201)
            run = namespace["subscribe"].trigger("tea")
            notify("confirm:tea")
            return json.dumps(export_run(run.refresh()))
    finally:
        registry.remove("subscribe")


@pytest.mark.sqlite_only
@pytest.mark.timeout(300)
def test_examples_run(journal: str, tmp_path: Path) -> None:
    (tmp_path / "journal.json").write_text(journal)
    (tmp_path / "project_settings.py").write_text(SETTINGS)
    (tmp_path / "conftest.py").write_text(CONFTEST)
    allowed = "import pytest\n\npytestmark = pytest.mark.django_db\n"
    (tmp_path / "test_page.py").write_text(allowed + CODE)
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nDJANGO_SETTINGS_MODULE = project_settings\npythonpath = .\naddopts = --strict-markers\n"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    plugins = [*PLUGIN, "-p", "no:valkey", "-p", "no:cacheprovider"]

    outcome = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugins],
        cwd=tmp_path,
        env=kept | {"PYTHONPATH": path, "DJANGO_SETTINGS_MODULE": "project_settings"},
        capture_output=True,
        text=True,
        check=False,
    )

    written = len(
        re.findall(r"^(?:async )?(?:    )?def test_|^async def test_", CODE, re.MULTILINE)
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert f"{written} passed" in outcome.stdout


@pytest.mark.django_db
@pytest.mark.serial
def test_a_year_takes_less_than_a_second() -> None:
    namespace: dict[str, Any] = {"__name__": "how_to_testing"}
    try:
        exec(compile(WITHOUT_PLUGIN, str(PAGE), "exec"), namespace)  # noqa: S102  our own page
        namespace["test_nobody_confirms"]()

        begun = monotonic()
        namespace["test_a_year_of_a_subscription"]()

        assert monotonic() - begun < 1
    finally:
        registry.remove("subscribe")
