"""The plugin, in a project of its own whose tests a pytest of its own runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# As the entry point does where the package is installed, and not twice there.
PLUGIN = ["-p", "no:django_workflow", "-p", "django_workflow.pytest_plugin"]

SETTINGS = """
SECRET_KEY = "only-for-tests, and long enough for every check"
USE_TZ = True
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "django_workflow"]
DATABASES = {"default": {
    "ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3", "TEST": {"NAME": "test.sqlite3"},
    "OPTIONS": {"transaction_mode": "IMMEDIATE"},
}}
WORKFLOW = {"DISPATCHER": "embedded"}
"""
TESTS = """
from datetime import UTC, datetime, timedelta

import pytest
from asgiref.sync import async_to_sync
from django.test import TestCase, TransactionTestCase

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow


@workflow
def rest(ctx: WorkflowContext[None]) -> str:
    ctx.sleep("rest", "365d")
    return "rested"


@workflow
async def arest(ctx: AsyncWorkflowContext[None]) -> str:
    await ctx.sleep("rest", "365d")
    return "rested"


@pytest.mark.parametrize("journey", [rest, arest])
def test_sandbox(sandbox, journey):
    run = journey.trigger()
    assert sandbox.waiting_on(run) == ["rest"]
    sandbox.advance("1y")
    assert run.refresh().result == "rested"


@pytest.mark.workflow_sandbox(now=datetime(2030, 1, 1, tzinfo=UTC))
def test_mark(sandbox):
    assert sandbox.now.year == 2030


def test_transactional(sandbox, transactional_db):
    run = rest.trigger()
    sandbox.advance(timedelta(days=365))
    assert run.refresh().result == "rested"


def test_async(sandbox):
    async def play():
        run = await arest.atrigger()
        await sandbox.aadvance("1y")
        return (await run.arefresh()).result

    assert async_to_sync(play)() == "rested"


def test_nothing_happens_by_itself(pytestconfig, request):
    assert "sandbox" not in request.fixturenames
    assert "db" not in request.fixturenames


@pytest.mark.usefixtures("sandbox")
class OfATestCase(TestCase):
    def test(self):
        assert rest.trigger().status == "running"


@pytest.mark.usefixtures("sandbox")
class OfATransactionTestCase(TransactionTestCase):
    def test(self):
        assert rest.trigger().status == "running"
"""


# Apart, because Django's test cases come first, and would make the database for all.
@pytest.mark.sqlite_only
@pytest.mark.parametrize(("chosen", "passed"), [("not Case", 6), ("Case", 2)])
def test_fixture_in_a_project_of_its_own(chosen: str, passed: int, tmp_path: Path) -> None:
    (tmp_path / "project_settings.py").write_text(SETTINGS)
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nDJANGO_SETTINGS_MODULE = project_settings\npythonpath = .\nfilterwarnings = error\n"
        "addopts = --strict-markers --strict-config\n"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "pytest", "-q", *PLUGIN, "-p", "no:valkey", "-k", chosen]

    outcome = subprocess.run(
        [*command, "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env=kept | {"PYTHONPATH": path, "DJANGO_SETTINGS_MODULE": "project_settings"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert f"{passed} passed" in outcome.stdout


def test_plugin_imports_no_model() -> None:
    code = (
        "import sys, django_workflow.pytest_plugin\n"
        "assert 'django_workflow.models' not in sys.modules\n"
        "assert 'django_workflow.testing' not in sys.modules\n"
    )

    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
