"""Writes the pages of the reference that follow from the code: ``python docs/generate.py``; ``--check`` only compares."""

from __future__ import annotations

import ast
import inspect
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "django_workflow"
REFERENCE = ROOT / "docs" / "reference"
LEVELS = ("debug", "info", "warning", "error", "exception")


def cell(text: str) -> str:
    """Return a text as a cell of a table."""
    return " ".join(text.replace("|", "\\|").split()).replace("<", "&lt;").replace("*", "\\*")


def table(*rows: tuple[str, ...]) -> str:
    """Return a table whose first row is its head."""
    head, *body = rows
    lines = [head, ("---",) * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


# Log lines.


def said(call: ast.Call) -> str | None:
    """Return the text that a call of a logger says, or None."""
    function = call.func
    if not isinstance(function, ast.Attribute) or function.attr not in LEVELS:
        return None
    if not ast.unparse(function.value).endswith(("logger", "_rarely")):
        return None
    first = call.args[0] if call.args else None
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None


def log_lines() -> Iterator[tuple[str, str, str]]:
    """Yield logger, level and text of every line that the package writes."""
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                text = said(node)
                if text is not None:
                    level = "error" if node.func.attr == "exception" else node.func.attr
                    yield module, level, text


def log_page() -> str:
    """Return the page about log lines."""
    rows = sorted({(f"`{logger}`", level, cell(text)) for logger, level, text in log_lines()})
    return f"""# Log lines

Every line that the package writes, by its logger; `%s` stands for what is filled in. Lines about a run carry `run_id`, and where they have them `step` and
`attempt`, as fields ([observe](../how-to/observe.md)). Errors carry the traceback.

{table(("logger", "level", "line"), *rows)}"""


# Permissions.


def permissions_page() -> str:
    """Return the page about permissions."""
    from django.apps import apps

    rows = []
    for model in sorted(
        apps.get_app_config("django_workflow").get_models(), key=lambda m: m.__name__
    ):
        meta = model._meta
        usual = [
            (f"{one}_{meta.model_name}", f"Can {one} {meta.verbose_name}")
            for one in meta.default_permissions
        ]
        rows += [
            (f"`django_workflow.{codename}`", f"`{model.__name__}`", cell(str(says)))
            for codename, says in (*usual, *meta.permissions)
        ]
    return f"""# Permissions

Ordinary Django permissions, made by `migrate`. Superusers hold all; nobody else holds any until you give them.

{table(("permission", "model", "says"), *sorted(rows))}
Who may see runs without `view_payload` sees what they do, and not what they carry: no payloads, results, headers or errors. Each verb asks for its own
permission, in the admin, in the REST API and over HTTP. `trigger_run` is what an unsigned POST to a workflow's URL needs, unless the workflow has a
`trigger_permission` of its own.
"""


# Names.


def first_line(value: Any) -> str:
    """Return the first sentence of what a name says of itself."""
    text = inspect.getdoc(value) or ""
    return cell(text.split("\n\n")[0]).replace("``", "`")


def names_page() -> str:
    """Return the page about what the package exports."""
    import django_workflow
    from django_workflow import testing
    from django_workflow.models import Run, RunQuerySet
    from django_workflow.models.handle import RunHandle
    from django_workflow.models.undo_fields import UndoFields

    groups: dict[str, list[tuple[str, str]]] = {"Functions": [], "Classes": [], "Errors": []}
    for name in django_workflow.__all__:
        value = getattr(django_workflow, name)
        if inspect.ismodule(value):
            continue
        is_error = isinstance(value, type) and issubclass(value, (BaseException,))
        group = "Errors" if is_error else "Classes" if isinstance(value, type) else "Functions"
        groups[group].append((f"`{name}`", first_line(value)))
    groups["Modules"] = [
        (f"`{name}`", first_line(getattr(django_workflow, name)))
        for name in django_workflow.__all__
        if inspect.ismodule(getattr(django_workflow, name))
    ]
    groups["django_workflow.testing"] = [
        (f"`{name}`", first_line(getattr(testing, name))) for name in testing.__all__
    ]
    for title in ("WorkflowContext", "Workflow"):
        owner = getattr(django_workflow, title)
        groups[f"Of a {title}"] = [
            (f"`{name}`", first_line(value))
            for name, value in inspect.getmembers(owner)
            if not name.startswith("_") and (callable(value) or isinstance(value, property))
        ]
    groups["Of a run"] = [
        (f"`{name}`", first_line(value))
        for name, value in inspect.getmembers(Run)
        if not name.startswith("_")
        and value.__doc__
        and any(name in vars(owner) for owner in (RunHandle, UndoFields, Run))
        and (inspect.isfunction(value) or isinstance(value, property))
        and getattr(value, "__module__", "django_workflow").startswith("django_workflow")
    ]
    groups["Of Run.objects"] = [
        (f"`{name}`", first_line(value))
        for name, value in sorted(vars(RunQuerySet).items())
        if inspect.isfunction(value)
    ]
    parts = [f"## {title}\n\n{table(('name', 'is'), *rows)}" for title, rows in groups.items()]
    return (
        "# Names\n\nWhat `from django_workflow import …` gives, in the words of the code. Whatever is not listed here may change "
        "with any release.\n\n" + "\n".join(parts)
    )


PAGES = {
    "log-lines.md": log_page,
    "names.md": names_page,
    "permissions.md": permissions_page,
}


def stale() -> list[str]:
    """Return the pages that no longer say what the code says."""
    return [
        name
        for name, page in PAGES.items()
        if not (REFERENCE / name).exists() or (REFERENCE / name).read_text() != page()
    ]


def main() -> int:
    """Write the pages, or compare them."""
    sys.path.insert(0, str(ROOT))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "demo_project.settings")
    import django

    django.setup()
    found = stale()
    if "--check" in sys.argv:
        if found:
            sys.stderr.write(
                f"Not as the code is: {', '.join(found)}. Run: python docs/generate.py\n"
            )
        return bool(found)
    for name in found:
        (REFERENCE / name).write_text(PAGES[name]())
    return 0


if __name__ == "__main__":
    sys.exit(main())
