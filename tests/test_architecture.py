"""The house of CONTRIBUTING.md, held. Its contracts are in pyproject.toml; here they are run, and are shown to bite."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "django_workflow"
MODULES = sorted(
    path for path in PACKAGE.rglob("*.py") if "migrations" not in path.relative_to(PACKAGE).parts
)

# A house in small, with nothing to complain of.
INNOCENT = {
    "__init__.py": "",
    "admin/__init__.py": "",
    "apps.py": "import django_workflow.runtime.executor",
    "conf.py": "",
    "core/__init__.py": "",
    "core/context.py": "",
    "dispatchers/__init__.py": "",
    "dispatchers/embedded.py": "from celery.worker import WorkController",
    "migrations/0001_initial.py": "import django_workflow.models",
    "migrations/__init__.py": "",
    "models.py": "",
    "rest/__init__.py": "from rest_framework import routers",
    "runtime/__init__.py": "",
    "runtime/executor.py": "",
    "runtime/http_call.py": "import httpx, ssrfguard",
    "runtime/sweeper.py": "import django_workflow.store.claim",
    "store/__init__.py": "",
    "store/claim.py": "import django_workflow.models",
    "tasks.py": "from celery import shared_task",
    "templatetags/__init__.py": "",
    "templatetags/workflow_ui.py": "import django_workflow.conf",
    "transports/__init__.py": "",
    "urls.py": "from django_workflow import views",
    "views.py": "import django_workflow.runtime.executor",
}
# What to write where, and how the contracts have to name it.
SINS = [
    ("models.py", "import django_workflow.store", "models -> django_workflow.store"),
    (
        "store/claim.py",
        "def claim():\n    import django_workflow.runtime.sweeper",
        "store.claim -> django_workflow.runtime.sweeper",
    ),
    (
        "conf.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import django_workflow.views",
        "conf -> django_workflow.views",
    ),
    ("signals.py", "import django_workflow.store", "signals -> django_workflow.store"),
    ("admin/pages.py", "import django_workflow.rest", "admin.pages -> django_workflow.rest"),
    ("tasks.py", "import django_workflow.store.claim", "tasks -> django_workflow.store.claim"),
    ("roomless.py", "", "- django_workflow.roomless"),
    (
        "core/codec.py",
        "import django_workflow.core.context",
        "codec -> django_workflow.core.context",
    ),
    ("core/steps.py", "from django.db import models", "core.steps -> django"),
    ("store/__init__.py", "import celery", "store -> celery"),
    ("runtime/executor.py", "from kombu.utils import uuid", "runtime.executor -> kombu"),
    ("admin/__init__.py", "from rest_framework import views", "admin -> rest_framework"),
    ("rest/views.py", "import django_htmx", "rest.views -> django_htmx"),
    ("testing.py", "import httpx", "testing -> httpx"),
    ("testing.py", "import django_workflow", "testing -> django_workflow (l.2)"),
    ("transports/inline.py", "import ssrfguard", "transports.inline -> ssrfguard"),
    ("checks/__init__.py", "import tests.app", "checks -> tests"),
    (
        "runtime/events.py",
        "import django_workflow.runtime.failure",
        "No cycles are allowed in django_workflow.runtime",
    ),
    ("runtime/failure.py", "import django_workflow.runtime.events", ".failure"),
]


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Hold the contracts against the package in a folder, in a process that knows no other of that name."""
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    command = "from importlinter.cli import lint_imports_command as lint; lint()"
    return subprocess.run(
        [sys.executable, "-c", command, "--config", str(ROOT / "pyproject.toml"), "--no-cache"],
        cwd=folder,
        env={**os.environ, "COLUMNS": "200", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def build(folder: Path, *files: tuple[str, str]) -> None:
    for name, code in files:
        path = folder / "django_workflow" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as module:
            module.write(code + "\n")


@pytest.fixture(scope="module")
def complaints(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the contracts say of a house with every sin in it."""
    folder = tmp_path_factory.mktemp("sins")
    build(folder, *INNOCENT.items(), *((name, code) for name, code, _ in SINS))
    return lint_imports(folder).stdout


def test_imports_go_down_the_house() -> None:
    outcome = lint_imports(ROOT)

    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def test_contracts_allow_what_the_house_allows(tmp_path: Path) -> None:
    build(tmp_path, *INNOCENT.items())

    outcome = lint_imports(tmp_path)

    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


@pytest.mark.parametrize(("name", "code", "complaint"), SINS, ids=[name for name, _, _ in SINS])
def test_contracts_catch(name: str, code: str, complaint: str, complaints: str) -> None:
    assert complaint in complaints


def imports_of(node: ast.AST) -> Iterator[str]:
    for child in ast.walk(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield str(child.module)


def functions_of(module: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(module.read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [node for node in ast.walk(tree) if isinstance(node, kinds)]


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    return lines - len((ast.get_docstring(function, clean=False) or "").splitlines())


def name_of(module: Path) -> str:
    return str(module.relative_to(PACKAGE))


def test_the_root_imports_only_the_core() -> None:
    imported = set(imports_of(ast.parse((PACKAGE / "__init__.py").read_text()))) - {"__future__"}

    assert {name for name in imported if not name.startswith("django_workflow.core")} == set()


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_module_imports_at_its_top(module: Path) -> None:
    within = {
        f"{function.name}: {name}"
        for function in functions_of(module)
        if (name_of(module), function.name) != ("apps.py", "ready")
        for name in imports_of(function)
    }

    assert within == set()


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_module_stays_within_its_budget(module: Path) -> None:
    lines = len(module.read_text().splitlines())
    too_long = {f.name: lines_of(f) for f in functions_of(module) if lines_of(f) > 50}

    assert too_long == {}
    assert lines <= 500
