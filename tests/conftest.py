from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from django.db import connection, connections
from hypothesis import settings

from django_workflow.runtime import worker
from tests.transports.wsgi import DjangoTransport, http_through, served_at

ROOT = Path(__file__).resolve().parent.parent

# Two busy cores make a single example slow now and then; pytest's own timeout finds what hangs.
settings.register_profile("suite", deadline=None, print_blob=True)
settings.load_profile("suite")

# A shell that runs the suite in the background lets it ignore Ctrl-C, and processes inherit that: those that tests start
# and interrupt would ignore it too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The cases are no test modules, but say what has to be.
pytest.register_assert_rewrite("tests.cases")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what belongs to another database; a run on each makes the suite whole."""
    at_home = {
        "sqlite": {"sqlite_only"},
        "postgresql": {"pg_only", "no_sqlite"},
        "mysql": {"no_sqlite"},
    }[connection.vendor]
    foreign = {"sqlite_only", "pg_only", "no_sqlite"} - at_home
    deselected = [
        item for item in items if any(map(item.get_closest_marker, foreign)) or _is_browsed(item)
    ]
    if deselected:
        config.hook.pytest_deselected(items=deselected)
        items[:] = [item for item in items if item not in deselected]


def _is_browsed(item: pytest.Item) -> bool:
    """Tell whether a test of a page in a browser is to be left out here: what stands in pages is tested on each database without."""
    return connection.vendor != "sqlite" and "chromium" in getattr(item, "fixturenames", ())


@pytest.fixture(autouse=True)
def unused_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin as a worker that has learned nothing: how slow the tests before were is no measure for this one."""
    monkeypatch.setattr(worker, "_pace", worker._Pace())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Under WORKFLOW_TESTS_STRICT, a test that could not run for want of a service has failed."""
    report = yield
    if (
        report.skipped
        and os.environ.get("WORKFLOW_TESTS_STRICT")
        and isinstance(report.longrepr, tuple)
    ):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if reason.startswith("missing:"):
            report.outcome = "failed"
            report.longrepr = f"{reason} (WORKFLOW_TESTS_STRICT is set, so this is a failure)"
    return report


@pytest.fixture
def child_env(transactional_db: None) -> dict[str, str]:
    """The environment for a child process that works on this test's databases."""
    names = {alias: str(connections[alias].settings_dict["NAME"]) for alias in connections}
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "WORKFLOW_TESTS_DB_NAMES": json.dumps(names),
    }


@pytest.fixture
def http_transport() -> Iterator[DjangoTransport]:
    """Runs go over http, to Django's own WSGI handler and without a socket; what was posted is on ``.requests``."""
    transport = DjangoTransport()
    with served_at("http://testserver"), http_through(transport):
        yield transport


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium for playwright's ``launch(executable_path=…)``."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("missing: chromium, for the tests of pages (Debian: apt-get install chromium).")
    return path
