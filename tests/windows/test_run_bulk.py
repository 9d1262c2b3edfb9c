"""A verb for all runs that match: asked for in the admin, done by a run of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db.models import QuerySet
from django.http import HttpRequest
from django.test import Client

from django_workflow import NonRetryableError, Workflow, WorkflowContext, workflow
from django_workflow.core.actors import Actor
from django_workflow.core.workflow import registry
from django_workflow.models import Action, Delivery, Run
from django_workflow.models.run_filters import RunFilters
from django_workflow.runtime import bulk
from django_workflow.runtime.worker import drain
from django_workflow.store.claims import now
from django_workflow.workflows import BULK, act_on_all

pytestmark = pytest.mark.django_db(transaction=True)

RUNS = "/admin/django_workflow/run/"
broken = True


def charge() -> None:
    if broken:
        raise NonRetryableError("the partner is away")


def ordered(ctx: WorkflowContext[dict[str, Any]]) -> None:
    ctx.run("charge", charge)
    ctx.sleep("rest", "2h")


@pytest.fixture(autouse=True)
def flow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Workflow[Any, Any]]:
    monkeypatch.setitem(globals(), "broken", True)
    yield workflow(name="bulk_one")(ordered)
    registry.remove("bulk_one")


@pytest.fixture
def boss() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("boss"))
    return client


def staff(name: str, *permissions: str) -> Client:
    user = User.objects.create_user(name, is_staff=True)
    user.user_permissions.set(
        Permission.objects.filter(
            content_type__app_label="django_workflow", codename__in=permissions
        )
    )
    client = Client()
    client.force_login(user)
    return client


def dead(flow: Workflow[Any, Any], count: int, **options: Any) -> None:
    flow.trigger_many([{}] * count, **options)
    drain()


def mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "broken", False)


def ask(client: Client, verb: str, query: str = "", **given: Any) -> Run:
    """Ask for it, and return the run that does it."""
    url = f"{RUNS}bulk/do/{verb}/?{query}"
    response = client.post(url, {"why": "the partner is back", **given})
    assert response.status_code == 302, response.content.decode()
    found = re.fullmatch(rf"{RUNS}bulk/of/(bulk-[-0-9a-f]+)/", response["Location"])
    assert found is not None
    return Run.objects.get(pk=found[1])


def states(label: str = "") -> list[str]:
    runs = Run.objects.exclude(workflow=BULK)
    runs = runs.labelled(label) if label else runs
    return sorted(runs.values_list("status", flat=True))


# The way there


def test_the_list_leads_to_the_preview_with_its_filters(
    boss: Client, flow: Workflow[Any, Any]
) -> None:
    dead(flow, 3)

    response = boss.post(
        f"{RUNS}?status=failed&label=x", {"action": "resume_selected", "everything": "1"}
    )

    assert response["Location"] == f"{RUNS}bulk/do/resume/?status=failed&label=x"
    refused = boss.post(f"{RUNS}?status=failed", {"action": "", "everything": "1"}, follow=True)
    assert "Choose first what is to be done" in refused.content.decode()


def test_the_preview_tells_how_many_and_shows_some(boss: Client, flow: Workflow[Any, Any]) -> None:
    dead(flow, 25)
    dead(flow, 1, label="other")

    html = boss.get(f"{RUNS}bulk/do/resume/?status=failed").content.decode()
    none = boss.get(f"{RUNS}bulk/do/resume/?status=paused").content.decode()

    assert "26 runs match" in html
    assert html.count('<th scope="row">') == 20
    assert "status: failed" in html
    assert "nothing that this could be done to" in none
    assert "No." in boss.get(f"{RUNS}bulk/do/pause/?status=failed").content.decode()


def test_a_reason_is_demanded(boss: Client, flow: Workflow[Any, Any]) -> None:
    dead(flow, 1)

    html = boss.post(f"{RUNS}bulk/do/resume/", {"why": " "}).content.decode()

    assert "Please correct what is marked below." in html
    assert not Run.objects.filter(workflow=BULK).exists()


# What is done


def test_it_is_done_to_each_that_matches_and_kept_with_who_and_why(
    boss: Client, flow: Workflow[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    dead(flow, 5, label="mine")
    dead(flow, 2, label="others")
    mend(monkeypatch)

    run = ask(boss, "resume", "status=failed&label=mine")
    drain()
    run.refresh()

    assert states("mine") == ["running"] * 5
    assert states("others") == ["failed"] * 2
    assert run.result == {"done": 5, "refused": 0}
    assert run.progress is not None
    assert (run.progress.done, run.progress.total) == (5, 5)
    kept = Action.objects.filter(verb="resume")
    assert {(one.actor, one.why, one.door, one.before) for one in kept} == {
        ("boss", "the partner is back", "admin", "failed")
    }
    assert kept.count() == 5
    entry = LogEntry.objects.get(object_id=run.pk)
    assert "the partner is back" in entry.change_message
    assert "label: mine" in entry.change_message


def test_more_than_a_page_is_done_by_generations(
    boss: Client, flow: Workflow[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "PAGE", 4)
    dead(flow, 10)
    mend(monkeypatch)

    run = ask(boss, "resume", "status=failed")
    drain()
    run.refresh()
    html = boss.get(f"{RUNS}bulk/of/{run.pk}/").content.decode()

    assert run.generation == 2
    assert run.result == {"done": 10, "refused": 0}
    assert states() == ["running"] * 10
    assert html.count("<td>Yes</td>") == 10


def test_what_cannot_be_done_is_told_row_by_row(boss: Client, flow: Workflow[Any, Any]) -> None:
    dead(flow, 1)
    Run.objects.filter(workflow="bulk_one").update(handler_status="completed")

    run = ask(boss, "resume", "status=failed")
    drain()
    html = boss.get(f"{RUNS}bulk/of/{run.pk}/").content.decode()

    assert run.refresh().result == {"done": 0, "refused": 1}
    assert "Its failure handler is completed" in html
    assert "0 done, 1 not" in html
    forced = ask(boss, "resume", "status=failed", force="on")
    drain()
    assert forced.refresh().result == {"done": 1, "refused": 0}


def test_a_restart_is_made_once_for_each(boss: Client, flow: Workflow[Any, Any]) -> None:
    dead(flow, 3)

    run = ask(boss, "restart", "status=failed")
    drain()
    html = boss.get(f"{RUNS}bulk/of/{run.pk}/").content.decode()

    made = Run.objects.filter(restarted_from__isnull=False)
    assert made.count() == 3, "those that were made meanwhile, and failed too, are left alone"
    assert all(one.pk in html for one in made)


def test_ended_runs_are_deleted(boss: Client, flow: Workflow[Any, Any]) -> None:
    dead(flow, 3)

    run = ask(boss, "delete", "status=failed")
    drain()

    assert run.refresh().result == {"done": 3, "refused": 0}
    assert not Run.objects.exclude(workflow=BULK).exists()


def test_all_runs_does_not_mean_the_one_that_does_it(
    boss: Client, flow: Workflow[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    mend(monkeypatch)
    dead(flow, 2)

    run = ask(boss, "cancel")
    drain()

    assert run.refresh().status == "completed"
    assert states() == ["cancelled"] * 2


def test_a_group_of_errors_is_meant_as_it_was(
    boss: Client, flow: Workflow[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    dead(flow, 2)
    groups = boss.get(f"{RUNS}dead-letters/").context_data["found"].groups  # type: ignore[attr-defined]
    mend(monkeypatch)

    run = ask(boss, "resume", f"error={groups[0].fingerprint}")
    drain()

    assert run.refresh().result == {"done": 2, "refused": 0}


def test_at_a_rate_it_goes_on_one_by_one_and_is_stopped_midway(
    boss: Client, flow: Workflow[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    dead(flow, 3)
    mend(monkeypatch)

    run = ask(boss, "resume", "status=failed", per_minute="2")
    drain()
    assert states() == ["failed", "failed", "running"]
    Delivery.objects.filter(run=run).update(due_at=now())
    run.steps.filter(status="sleeping").update(wake_at=now() - timedelta(seconds=1))
    drain()
    assert states() == ["failed", "running", "running"]

    page = boss.get(f"{RUNS}bulk/of/{run.pk}/").content.decode()
    response = boss.post(f"{RUNS}bulk/of/{run.pk}/stop/", follow=True)
    drain()

    assert "2 of 3" in page
    assert "It was stopped." in response.content.decode()
    assert run.refresh().status == "cancelled"
    assert states() == ["failed", "running", "running"]
    again = boss.post(f"{RUNS}bulk/of/{run.pk}/stop/", follow=True)
    assert "is cancelled" in again.content.decode()


# Who may


@pytest.mark.parametrize("verb", ["cancel", "pause", "resume", "restart", "delete"])
def test_each_verb_needs_its_permission(verb: str, flow: Workflow[Any, Any]) -> None:
    dead(flow, 1)
    others = {"cancel_run", "pause_run", "resume_run", "restart_run", "delete_run"}
    clerk = staff("clerk", "view_run", *(others - {f"{verb}_run"}))
    blind = staff("blind", f"{verb}_run")

    for client in (clerk, blind):
        assert client.get(f"{RUNS}bulk/do/{verb}/").status_code == 403
        assert client.post(f"{RUNS}bulk/do/{verb}/", {"why": "x"}).status_code == 403


def test_there_is_no_other_verb(boss: Client) -> None:
    assert boss.get(f"{RUNS}bulk/do/notify/").status_code == 404
    assert boss.put(f"{RUNS}bulk/do/resume/").status_code == 405


def test_who_only_sees_does_not_stop(
    boss: Client, flow: Workflow[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    dead(flow, 1)
    run = ask(boss, "resume", per_minute="1")
    clerk = staff("clerk", "view_run")

    html = clerk.get(f"{RUNS}bulk/of/{run.pk}/").content.decode()

    assert "Asked for by boss." in html
    assert ">Stop<" not in html
    assert clerk.post(f"{RUNS}bulk/of/{run.pk}/stop/").status_code == 403
    assert boss.get(f"{RUNS}bulk/of/{run.pk}/stop/").status_code == 405
    assert boss.get(f"{RUNS}bulk/of/bulk-unknown/").status_code == 404
    assert staff("nobody").get(f"{RUNS}bulk/of/{run.pk}/").status_code == 403


def test_who_may_no_more_when_its_turn_comes_has_nothing_done(
    flow: Workflow[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    dead(flow, 2)
    mend(monkeypatch)
    clerk = staff("clerk", "view_run", "resume_run")
    run = ask(clerk, "resume", "status=failed")
    User.objects.get(username="clerk").user_permissions.clear()

    drain()

    assert states() == ["failed"] * 2
    assert "clerk may not resume runs any more" in run.refresh().reason


def only_mine(request: HttpRequest, runs: QuerySet[Run]) -> QuerySet[Run]:
    return runs.filter(labels_of_run__label=request.user.get_username())


def test_it_reaches_no_further_than_its_user_sees(
    flow: Workflow[Any, Any], settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.WORKFLOW = {**settings.WORKFLOW, "VISIBLE_RUNS": f"{__name__}.only_mine"}
    dead(flow, 2, label="clerk")
    dead(flow, 2, label="other")
    mend(monkeypatch)
    clerk = staff("clerk", "view_run", "resume_run")

    run = ask(clerk, "resume", "status=failed")
    drain()

    assert states("clerk") == ["running"] * 2
    assert states("other") == ["failed"] * 2
    assert "2 done" in clerk.get(f"{RUNS}bulk/of/{run.pk}/").content.decode()


@pytest.mark.parametrize("how", ["another run's", "another user's", "restarted"])
def test_a_job_that_was_not_asked_for_under_this_id_is_refused(
    how: str, boss: Client, flow: Workflow[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    dead(flow, 2)
    mend(monkeypatch)
    user = User.objects.get(username="boss")
    job = bulk.job_of(
        "bulk-1",
        "resume",
        RunFilters(),
        by=Actor.of(user),
        why="",
        total=2,
    )
    if how == "another user's":
        User.objects.create_superuser("other")
        job["asked"]["user"] = str(User.objects.get(username="other").pk)
    if how == "restarted":
        act_on_all.trigger(job, workflow_run_id="bulk-1").cancel()
        run = Run.objects.get(pk="bulk-1").restart()
    else:
        run = act_on_all.trigger(
            job, workflow_run_id="bulk-2" if how == "another run's" else "bulk-1"
        )

    drain()

    assert run.refresh().status == "failed"
    assert "was not asked for under this run's ID" in run.reason
    assert states() == ["failed"] * 2


def test_nobody_triggers_it_over_http(boss: Client) -> None:
    assert act_on_all.options.trigger_permission is not None
    assert act_on_all.options.trigger_permission(None) is False
