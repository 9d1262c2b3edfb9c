"""Deletion takes all that belongs to a run: every table that knows of runs, found by walking the models."""

from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.db import models
from django.utils import timezone

from django_workflow.core.actors import Actor
from django_workflow.models import Run
from django_workflow.store import deletion
from tests.store.made import new_run

pytestmark = pytest.mark.django_db

#: What stays, and why it may: columns that name a run without belonging to it.
STAYS = {
    "Action.run_id": "who deleted a run is known when it is gone",
    "Run.parent_id": "a child outlives its parent",
    "Run.restarted_from_id": "so does what was restarted from it",
    "Schedule.last_run_id": "a schedule outlives its runs",
    "TriggerKey.run_id": "holds nothing back without its run, and is pruned then",
}


def ours() -> list[type[models.Model]]:
    return list(apps.get_app_config("django_workflow").get_models())


def columns() -> dict[str, Any]:
    """Return all columns that name a run, or a row that belongs to one."""
    found = {}
    for model in ours():
        for field in model._meta.local_concrete_fields:
            about = field.related_model
            is_key = about is not None and about._meta.app_label == "django_workflow"  # type: ignore[union-attr]
            if is_key or field.attname in {"run_id", "last_run_id", "parent_id"}:
                found[f"{model.__name__}.{field.attname}"] = (model, field)
    return found


def value_for(field: Any, made: dict[Any, Any]) -> Any:
    """Return something that the column takes."""
    if field.is_relation:
        return made[field.related_model].pk
    simple: dict[str, Any] = {
        "DateTimeField": timezone.now(), "BooleanField": False, "DurationField": None,
    }  # fmt: skip
    kind = field.get_internal_type()
    if kind in simple:
        return simple[kind]
    return 1 if "Integer" in kind else "1"


def make(model: Any, made: dict[Any, Any]) -> None:
    """Insert a row that belongs to the run, after the rows that it belongs to."""
    if model in made:
        return
    values = {}
    for field in model._meta.local_concrete_fields:
        if field.is_relation and field.related_model is not model:
            make(field.related_model, made)
        needs = not field.has_default() and not field.null and not field.primary_key
        if needs or (field.is_relation and field.related_model is Run):
            values[field.attname] = value_for(field, made)
    made[model] = model._base_manager.create(**values)


def test_every_column_that_names_a_run_is_accounted_for() -> None:
    owned = {
        name
        for name, (_, field) in columns().items()
        if field.is_relation and field.remote_field.on_delete is models.CASCADE
    }
    assert set(columns()) == set(STAYS) | owned
    assert {"Step.run_id", "Call.run_id", "PastStep.generation_id", "Undo.run_id"} <= owned


@pytest.mark.parametrize("how", ["by hand", "pruned"])
def test_nothing_of_a_deleted_run_is_left(how: str) -> None:
    run = Run.objects.create(
        id="run", workflow="w", version="1", status="completed", created_at=timezone.now(),
        finished_at=timezone.now(),
    )  # fmt: skip
    made: dict[Any, Any] = {Run: run}
    owned = {
        model
        for model, field in columns().values()
        if field.is_relation and field.remote_field.on_delete is models.CASCADE
    }
    for model in owned:
        make(model, made)
    assert all(model._base_manager.exists() for model in owned)

    if how == "by hand":
        assert deletion.delete_ended(["run"], by=Actor.of("ann")) == 1
    else:
        assert deletion.prune(["run"], models.Q(), by=None) == 1

    assert [model.__name__ for model in owned if model._base_manager.exists()] == []


def test_what_outlives_a_run_stays() -> None:
    from_it = {"restarted_from": "run"}
    for run in (new_run("run"), new_run("child"), new_run("again")):
        Run.objects.create(
            id=run.id, workflow="w", version="1", status="completed", created_at=timezone.now(),
            finished_at=timezone.now(),
        )  # fmt: skip
    Run.objects.filter(pk="child").update(parent="run")
    Run.objects.filter(pk="again").update(**from_it)

    deletion.delete_ended(["run"], by=Actor.of("ann"))

    found = Run.objects.order_by("pk").values_list("pk", "parent_id", "restarted_from_id")
    assert list(found) == [("again", None, None), ("child", None, None)]
