"""Every Django with every Python that is at hand: ``nox``, or ``nox -s "sqlite(django='6.1')"``; ``nox -l`` lists all.

The day's work is done with make, on one of each. A Python that is not here is left out, with a word.
"""

from __future__ import annotations

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "types", "docs", "sqlite", "postgres"]

PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
DJANGOS = ["5.2", "6.0", "6.1"]
#: The versions on which lint, types and docs are held, as make and .ci/run do.
OLDEST = PYTHONS[0]

# Django 6.0 and newer are for Python 3.12 and newer.
PAIRS = [
    nox.param(python, django, id=f"python='{python}', django='{django}'")
    for django in DJANGOS
    for python in PYTHONS
    if django == "5.2" or python != "3.11"
]


def run_suite(session: nox.Session, django: str, database: str) -> None:
    """Run the suite on one database: what starts and kills processes alone, after the others."""
    session.install("-e", ".[test]", f"django~={django}.0")
    session.env["TEST_DB"] = database
    only = session.posargs or ["-n", "2", "--dist", "worksteal"]
    # 5: nothing was selected, which is fine for one half of the suite.
    session.run("python", "-m", "pytest", "-m", "not serial", *only, success_codes=[0, 5])
    session.run("python", "-m", "pytest", "-m", "serial", *session.posargs, success_codes=[0, 5])


@nox.session
@nox.parametrize("python, django", PAIRS)
def sqlite(session: nox.Session, django: str) -> None:
    """Run the tests on SQLite."""
    run_suite(session, django, "sqlite")


@nox.session
@nox.parametrize("python, django", PAIRS)
def postgres(session: nox.Session, django: str) -> None:
    """Run the tests on PostgreSQL."""
    run_suite(session, django, "postgres")


@nox.session(python=OLDEST)
def lint(session: nox.Session) -> None:
    """Check style, formatting and who imports whom."""
    session.install("-e", ".[dev]")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("lint-imports", "--no-cache")


@nox.session(python=OLDEST)
def types(session: nox.Session) -> None:
    """Check the types."""
    session.install("-e", ".[dev]")
    session.run("python", "-m", "mypy", "django_workflow", "demo_project")


@nox.session(python=OLDEST)
def docs(session: nox.Session) -> None:
    """Build the site of the documentation; any warning is an error."""
    session.install("-e", ".[demo,docs]")
    session.run("python", "docs/generate.py", "--check")
    session.run(
        "python",
        "-m",
        "sphinx",
        "-q",
        "-E",
        "-W",
        "--keep-going",
        "-b",
        "html",
        "docs",
        "build/docs",
    )
