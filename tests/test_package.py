from __future__ import annotations

import subprocess
import sys
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import django_workflow

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "django_workflow"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("dist")
    # Without isolation, so that nothing is fetched: the build backend is among the test dependencies.
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    outcome = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def names(wheel: zipfile.ZipFile) -> set[str]:
    return {name for name in wheel.namelist() if ".dist-info/" not in name}


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    (path,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return Parser().parsestr(wheel.read(path).decode())


def test_wheel_holds_only_the_package(names: set[str]) -> None:
    assert {name.split("/")[0] for name in names} == {"django_workflow"}


def test_wheel_holds_every_file_of_the_package(names: set[str]) -> None:
    files = {
        path.relative_to(ROOT).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }

    assert names == files


def test_wheel_says_that_it_is_typed(names: set[str]) -> None:
    assert "django_workflow/py.typed" in names


def test_wheel_says_what_it_is_and_needs(metadata: Message) -> None:
    requirements = map(Requirement, metadata.get_all("Requires-Dist", []))
    runtime = {each.name.lower() for each in requirements if "extra" not in str(each.marker)}

    assert metadata["Name"] == "django-workflow"
    assert metadata["Version"] == django_workflow.__version__
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "BSD-3-Clause"
    assert runtime == {
        "celery",
        "cronsim",
        "django",
        "django-htmx",
        "djangorestframework",
        "httpx",
        "psycopg",
        "pyjwt",
        "rich",
        "ssrfguard",
    }


def test_wheel_tells_pytest_of_its_plugin(wheel: zipfile.ZipFile) -> None:
    (path,) = (name for name in wheel.namelist() if name.endswith("/entry_points.txt"))

    told = wheel.read(path).decode()

    assert told.split() == ["[pytest11]", "django_workflow", "=", "django_workflow.pytest_plugin"]
