"""What has to work in that project; run by `tests.fit.test_fit` in a process of its own."""

from __future__ import annotations

from typing import Any
from unittest import skipUnless

import pytest
from celery import Celery
from celery.beat import Service
from django.conf import settings
from django.contrib.auth.models import Group
from django.core import checks, mail
from django.test import Client

from django_workflow import WorkflowContext, decide_approval, workflow
from django_workflow.dispatchers.celery import SWEEP, _beat_begins
from django_workflow.models import Approval, Run
from django_workflow.runtime.approval_mail import send_due
from django_workflow.runtime.worker import drain
from tests.fit.people.models import Person

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "journal"])


@workflow(name="fit_desk")
def desk(ctx: WorkflowContext[Any]) -> bool:
    ctx.run("one", len, "one")
    return ctx.wait_for_approval(
        "desk", title="A desk?", assignees=["ann@example.org", "group:buyers"]
    ).approved


def person(email: str, **fields: Any) -> Person:
    return Person.objects.create(email=email, **fields)


def test_runs_are_kept_on_the_second_database_and_their_user_is_known() -> None:
    ann = person("ann@example.org")

    run = desk.trigger(by=ann)
    drain()

    assert Run.objects.using("journal").get(pk=run.pk).status == "running"
    assert (run.refresh().triggered_by, run.triggered_by_id) == ("ann@example.org", str(ann.pk))
    assert not Run.objects.using("journal").stuck().exists()


def test_assignees_are_found_among_such_users_and_their_groups() -> None:
    ben = person("ben@example.org")
    ben.groups.add(Group.objects.create(name="buyers"))
    run = desk.trigger()
    drain()

    send_due()
    assert sorted(one.to[0] for one in mail.outbox) == ["ann@example.org", "ben@example.org"]

    decide_approval(Approval.objects.using("journal").get(), approve=True, by=ben)
    drain()
    assert run.refresh().result is True


def test_the_admin_and_the_api_show_them_to_such_a_user() -> None:
    root = person("root@example.org", is_staff=True, is_superuser=True)
    run = desk.trigger(by=root)
    drain()
    client = Client()
    client.force_login(root)

    pages = [
        client.get(address)
        for address in (
            "/admin/django_workflow/run/",
            f"/admin/django_workflow/run/{run.pk}/change/",
            "/admin/django_workflow/run/overview/",
            "/admin/django_workflow/approval/",
            "/api/runs/",
        )
    ]

    assert [page.status_code for page in pages] == [200] * 5
    assert "root@example.org" in pages[1].content.decode()


def test_migrations_and_checks_are_content() -> None:
    assert checks.run_checks(databases=["default", "journal"]) == []


@skipUnless(settings.HAS_BEAT, "django-celery-beat is not installed")
def test_the_tick_is_a_periodic_task_of_django_celery_beat() -> None:
    from django_celery_beat.models import PeriodicTask

    app = Celery("fit")
    service = Service(app, scheduler_cls="django_celery_beat.schedulers:DatabaseScheduler")

    _beat_begins(sender=service)
    _beat_begins(sender=service)

    assert PeriodicTask.objects.get(name=SWEEP).interval.period == "seconds"
    assert service.scheduler.schedule[SWEEP].task == SWEEP
