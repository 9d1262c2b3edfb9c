"""Makes ``docs/reference/rest.md`` from the OpenAPI document and the code: ``python -m tests.rest.reference``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "rest.md"
PREFIX = "/api/workflows/"
HEAD = """# REST API

Made from the OpenAPI document by `make rest-reference`; how to use it is told [here](../how-to/rest.md). Paths follow the one under which
`django_workflow.rest.urls` is included. Each request is made by somebody who is signed in and has the permissions named, all of them from
`django_workflow`; for a path without any, it is enough to be signed in, or asked. A query or body with a name that is not listed is refused.
"""


def text_of(page: str) -> str:
    return " ".join(page.split()).replace("|", "\\|")


def reference() -> str:
    """Return the page."""
    from django.urls import include, path  # Django has to be set up first.
    from drf_spectacular.generators import SchemaGenerator

    mounted = [path(PREFIX.lstrip("/"), include("django_workflow.rest.urls"))]
    document = SchemaGenerator(patterns=mounted).get_schema(public=True)
    return "\n".join([HEAD, *_operations(document), *_problems(), *_scopes(), *_shapes(document)])


def _views() -> dict[str, Any]:
    from django_workflow.rest import urls

    converters = ("path:", "str:", "int:")
    found = {}
    for pattern in urls.urlpatterns:
        route = str(pattern.pattern)
        for converter in converters:
            route = route.replace(f"<{converter}", "{")
        found[route.replace(">", "}")] = pattern.callback.view_class  # type: ignore[union-attr]
    return found


def _operations(document: Any) -> Iterator[str]:
    views = _views()
    groups: dict[str, list[str]] = {}
    for route, methods in document["paths"].items():
        short = route.removeprefix(PREFIX)
        for method, operation in methods.items():
            view = views[short]
            needs = " ".join(f"`{one}`" for one in view.permissions[method.upper()].split())
            usual = "workflow_read" if method == "get" else "workflow_write"
            query = ", ".join(
                f"`{one['name']}`"
                for one in operation.get("parameters", ())
                if one["in"] == "query"
            )
            body = operation.get("requestBody", {}).get("content", {})
            takes = _ref(body["application/json"]["schema"]) if body else ""
            gives = ", ".join(
                f"{status} {_ref(found['content']['application/json']['schema'])}".strip()
                if "content" in found else status
                for status, found in operation["responses"].items() if status < "4"
            )  # fmt: skip
            groups.setdefault(operation["tags"][0], []).append(
                f"| `{method.upper()} {short}` | {text_of(operation['description'])} | {needs} | "
                f"`{view.scopes.get(method.upper(), usual)}` | {query or takes} | {gives} |"
            )
    for tag, lines in groups.items():
        yield f"## {tag.capitalize()}\n"
        yield "| request | does | permissions | rate | query or body | answers |"
        yield "|---|---|---|---|---|---|"
        yield from lines
        yield ""


def _ref(schema: Any) -> str:
    name = schema.get("$ref", "").rpartition("/")[2].removeprefix("Patched")
    return f"[{name}](#{name.lower()})" if name else ""


def _problems() -> Iterator[str]:
    from django_workflow.rest.problems import KINDS, TYPE

    yield "## Problems\n"
    yield "Every error has this shape ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)), as `application/problem+json`: [WorkflowProblem](#workflowproblem).\n"
    yield f"| `type`, after `{TYPE}` | `status` | `title` |"
    yield "|---|---|---|"
    for name, kind in KINDS.items():
        yield f"| `{name}` | {int(kind.status)} | {kind.title} |"
    yield ""


def _scopes() -> Iterator[str]:
    yield "## Rates\n"
    yield 'The scopes of `REST_FRAMEWORK["DEFAULT_THROTTLE_RATES"]` that the column *rate* names; a scope without a rate has no limit.\n'


def _shapes(document: Any) -> Iterator[str]:
    yield "## Shapes\n"
    schemas = document["components"]["schemas"]
    for name, schema in sorted(schemas.items(), key=lambda one: one[0].removeprefix("Patched")):
        if "properties" not in schema:
            continue
        short = name.removeprefix("Patched")
        yield f"### {short}\n"
        if schema.get("description"):
            yield f"{text_of(schema['description'])}\n"
        yield "| field | is | |"
        yield "|---|---|---|"
        for field, found in schema["properties"].items():
            must = "" if field in schema.get("required", ()) else "optional"
            told = text_of(found.get("description", "")) if "enum" not in found else ""
            yield f"| `{field}` | {_kind(found, document)} | {'. '.join(filter(None, (must, told)))} |"
        yield ""


def _kind(schema: Any, document: Any) -> str:
    if not isinstance(schema, dict) or not schema.keys() - {"nullable", "description", "readOnly"}:
        return "anything"
    parts = schema.get("allOf") or schema.get("oneOf")
    if parts:
        found = ", ".join(_kind(one, document) for one in parts if "NullEnum" not in str(one))
    elif "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        choices = document["components"]["schemas"][name].get("enum")
        found = _choices(choices) if choices else _ref(schema)
    elif schema.get("type") == "array":
        found = f"list of {_kind(schema['items'], document)}"
    elif "enum" in schema:
        found = _choices(schema["enum"])
    else:
        found = {"date-time": "time"}.get(schema.get("format", ""), schema.get("type", "anything"))
    return f"{found} or null" if schema.get("nullable") and found != "anything" else found


def _choices(choices: list[str]) -> str:
    return ", ".join(f"`{one}`" for one in choices)


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    PAGE.write_text(reference())
    sys.stdout.write(f"{PAGE.name} is written.\n")
