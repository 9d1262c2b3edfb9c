"""The documentation: its pages are in the site, their links lead somewhere, their examples run, and nothing public is left out."""

from __future__ import annotations

import configparser
import re
from pathlib import Path
from typing import Any

import pytest
from django.core import checks
from django.test import override_settings
from django.urls import clear_url_caches

import django_workflow
from django_workflow.conf import problems
from django_workflow.core.workflow import registry
from docs import generate

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
#: Pages whose examples hold their own tests, which are run here.
TESTED = [
    "how-to/multi-database.md",
    "how-to/provider-webhooks.md",
    "how-to/slow-ai.md",
    "how-to/tenants.md",
    "how-to/zero-downtime.md",
    "explanation/promise.md",
    "explanation/failures.md",
    "migrate/celery.md",
    "migrate/django-q2.md",
    "migrate/procrastinate.md",
    "migrate/upstash.md",
]


def code_of(page: str) -> str:
    """Return the Python of a page."""
    return "\n".join(re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL))


@pytest.fixture
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a page have its own workflows."""
    monkeypatch.setattr(registry, "_workflows", {})


@pytest.mark.django_db(databases=["default", "other"], transaction=True)
@pytest.mark.usefixtures("own_registry")
@pytest.mark.parametrize("page", TESTED)
def test_examples_of_a_page_run(page: str) -> None:
    namespace: dict[str, Any] = {"__name__": page.replace("/", "_").replace("-", "_")}
    exec(compile(code_of(page), page, "exec"), namespace)  # noqa: S102  our own page
    tests = re.findall(r"^def (test_\w+)\(", code_of(page), re.MULTILINE)

    assert tests, "the page has no test"
    for name in tests:
        namespace[name]()


@pytest.mark.parametrize("page", PAGES)
def test_code_of_a_page_compiles(page: str) -> None:
    if page != "tutorial.md":
        compile(code_of(page), page, "exec")


@pytest.mark.usefixtures("own_registry")
def test_observe() -> None:
    namespace: dict[str, Any] = {"__name__": "how_to_observe"}
    exec(compile(code_of("how-to/observe.md"), "observe", "exec"), namespace)  # noqa: S102
    clear_url_caches()

    assert [str(one.pattern) for one in namespace["urlpatterns"]] == ["metrics/workflows/"]
    with override_settings(WORKFLOW={"ALERTS": namespace["ALERTS"]}):
        assert problems() == []


@pytest.mark.usefixtures("own_registry")
def test_settings_of_the_deployment_have_nothing_to_complain_of() -> None:
    settings, app = re.findall(
        r"```python\n(.*?)```", (DOCS / "how-to/deploy.md").read_text(), re.DOTALL
    )
    found: dict[str, Any] = {}
    exec(compile(settings, "deploy", "exec"), found)  # noqa: S102
    compile(app, "deploy", "exec")
    names = [name for name in found if name.isupper() and name != "DATABASES"]
    with override_settings(**{name: found[name] for name in names}):
        messages = checks.run_checks(
            tags=["django_workflow"], include_deployment_checks=True, databases=[]
        )

    assert messages == []


def test_units_and_containers_start_what_there_is() -> None:
    text = (DOCS / "how-to" / "deploy.md").read_text()
    units = re.findall(r"```ini\n(.*?)```", text, re.DOTALL)
    started = []
    for unit in units:
        parser = configparser.ConfigParser(interpolation=None)
        parser.read_string(unit)
        started.append(parser["Service"]["ExecStart"].split("/")[-1].partition(" -l")[0])
    asked = re.search(r'"QUEUE": "(\w+)"', text)

    assert len(units) == 3
    assert asked is not None
    # Workers listen to the queue that the settings name, or hints would be lost.
    for worker in re.findall(r"celery -A mysite worker .*", text):
        assert f"-Q celery,{asked[1]} " in worker


def test_generated_pages_are_as_the_code_is() -> None:
    assert generate.stale() == [], "run: python docs/generate.py"


def test_every_public_name_is_in_the_reference() -> None:
    text = (DOCS / "reference" / "names.md").read_text()

    assert [name for name in django_workflow.__all__ if f"`{name}`" not in text] == []


def test_every_module_of_the_reference_is_covered() -> None:
    assert {path.name for path in (DOCS / "reference").glob("*.md")} >= {
        "checks.md", "commands.md", "log-lines.md", "metrics.md", "names.md", "permissions.md", "settings.md", "signals.md",
    }  # fmt: skip


def test_every_page_is_in_the_site() -> None:
    listed = set(re.findall(r"^([\w/-]+)$", (DOCS / "index.md").read_text(), re.MULTILINE))

    assert {page.removesuffix(".md") for page in PAGES} - {"index"} == listed


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.startswith("reference/") and "log-lines" not in page]
)
def test_a_table_of_the_reference_names_nothing_twice(page: str) -> None:
    for table in re.findall(r"(?:^\|.*\n)+", (DOCS / page).read_text(), re.MULTILINE):
        named = re.findall(r"^\| (`[^|]*`) \|", table, re.MULTILINE)
        assert sorted(named) == sorted(set(named))


@pytest.mark.parametrize("page", [*PAGES, "../README.md"])
def test_links_lead_somewhere(page: str) -> None:
    path = (DOCS / page).resolve()
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    targets = [target for target in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in target]

    missing = [target for target in targets if not (path.parent / target).resolve().exists()]
    assert missing == []


def test_pages_name_no_machine() -> None:
    for page in PAGES:
        text = (DOCS / page).read_text()
        assert str(ROOT) not in text
        assert re.findall(r"(?<![\w.])/(?:Users|home|root|work)/\S*", text) == []
