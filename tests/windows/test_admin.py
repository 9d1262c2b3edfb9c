from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from django_workflow import NonRetryableError, Workflow, WorkflowContext, workflow
from django_workflow.admin.story import LONGEST_SHOWN, STEPS_PER_PAGE
from django_workflow.core.workflow import registry
from django_workflow.models import Attempt, Delivery, Event, Run, Step, Sweep
from django_workflow.runtime import sweeper
from django_workflow.runtime.worker import drain
from django_workflow.store.claims import now

pytestmark = pytest.mark.django_db(transaction=True)

RUNS = "/admin/django_workflow/run/"
SECRET = "<script>alert('s3cret')</script>"


def tell(text: str) -> str:
    return text


def break_down(text: str) -> str:
    raise NonRetryableError(f"cannot {text}")


def telling(ctx: WorkflowContext[dict[str, Any]]) -> str:
    for number in range(ctx.request_payload.get("steps", 1)):
        ctx.run(f"tell {number}", tell, ctx.request_payload["say"])
    if ctx.request_payload.get("fails"):
        ctx.run("break", break_down, ctx.request_payload["say"])
    if ctx.request_payload.get("sleeps"):
        ctx.sleep("rest", "2h")
    return ctx.request_payload["say"]


@pytest.fixture(autouse=True)
def teller() -> Iterator[Workflow[Any, Any]]:
    made = workflow(name="adm_tell")(telling)
    yield made
    registry.remove("adm_tell")


@pytest.fixture
def admin() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("boss"))
    return client


def staff(*permissions: str) -> Client:
    user = User.objects.create_user("clerk", is_staff=True)
    user.user_permissions.set(
        Permission.objects.filter(
            content_type__app_label="django_workflow", codename__in=permissions
        )
    )
    client = Client()
    client.force_login(user)
    return client


def made(teller: Workflow[Any, Any], run_id: str = "one", **payload: Any) -> Run:
    run: Run = teller.trigger({"say": "hello", **payload}, workflow_run_id=run_id, label="vip")
    drain()
    return run.refresh()


def page(client: Client, url: str) -> str:
    response = client.get(url)
    assert response.status_code == 200
    return response.content.decode()


def change(run_id: str) -> str:
    return reverse("admin:django_workflow_run_change", args=[quote(run_id)])


# The list


def test_the_list_tells_state_reason_and_time(admin: Client, teller: Workflow[Any, Any]) -> None:
    made(teller, "asleep", sleeps=True)

    html = page(admin, RUNS)

    assert 'class="dw-status dw-running">running</span>' in html
    assert "&quot;rest&quot; is sleeping until 20" in html
    assert change("asleep") in html


@pytest.mark.parametrize("term", ["one", "on", "vip", "vi"])
def test_a_run_is_found_by_the_beginning_of_its_id_or_label(
    term: str, admin: Client, teller: Workflow[Any, Any]
) -> None:
    made(teller, "one")
    made(teller, "two")
    Run.objects.get(pk="two").labels_of_run.all().delete()

    html = page(admin, f"{RUNS}?q={term}")

    assert change("one") in html
    assert change("two") not in html


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("status__exact=completed", True),
        ("status__exact=failed", False),
        ("workflow=adm_tell", True),
        ("workflow=other", False),
    ],
)
def test_the_list_is_filtered(
    query: str, found: bool, admin: Client, teller: Workflow[Any, Any]
) -> None:
    made(teller)

    assert (change("one") in page(admin, f"{RUNS}?{query}")) is found


def test_an_empty_list_says_what_to_do(admin: Client) -> None:
    assert "No runs yet." in page(admin, RUNS)
    assert "No run matches." in page(admin, f"{RUNS}?q=x")


def queries(client: Client, url: str) -> int:
    with CaptureQueriesContext(
        connection,
    ) as captured:
        page(client, url)
    return len(captured)


def test_the_list_takes_the_same_queries_for_any_number(
    admin: Client, teller: Workflow[Any, Any]
) -> None:
    made(teller, "first", sleeps=True)
    page(admin, RUNS)
    few = queries(admin, RUNS)
    teller.trigger_many([{"say": "x", "sleeps": True}] * 20, label=["a", "b"])
    drain()

    assert queries(admin, RUNS) == few
    assert few <= 18


def test_the_list_does_not_load_payloads(admin: Client, teller: Workflow[Any, Any]) -> None:
    made(teller)

    with CaptureQueriesContext(connection) as captured:
        page(admin, RUNS)

    assert "payload_text" not in json.dumps(captured.captured_queries)


def test_the_list_says_when_nobody_looks_for_due_work(
    admin: Client, teller: Workflow[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    teller.trigger({"say": "x"})
    Sweep.objects.all().delete()
    monkeypatch.setattr(sweeper, "SILENCE", timedelta(0))

    assert "Is a worker running?" in page(admin, RUNS)


# The page of a run


def test_the_page_tells_steps_results_and_times(admin: Client, teller: Workflow[Any, Any]) -> None:
    made(teller, steps=2)

    html = page(admin, change("one"))

    assert ">tell 0</a></th>" in html
    assert ">tell 1</a></th>" in html
    assert "<code>&quot;hello&quot;</code>" in html
    assert "vip" in html


def test_the_page_tells_errors_with_their_tracebacks(
    admin: Client, teller: Workflow[Any, Any]
) -> None:
    made(teller, fails=True)

    html = page(admin, change("one"))

    assert "1 attempt that failed" in html
    assert "cannot hello" in html
    assert "in break_down" in html


def test_the_page_tells_what_a_run_waits_for(admin: Client, teller: Workflow[Any, Any]) -> None:
    made(teller, sleeps=True)
    Delivery.objects.update(trouble="refused by the server", tries=3, leased_by="host:1:2")

    html = page(admin, change("one"))

    assert "dw-sleeping" in html
    assert "refused by the server" in html
    assert "host:1:2" in html
    assert "the turn" in html


def test_the_page_tells_attempts_of_the_code_between_steps(
    admin: Client, teller: Workflow[Any, Any]
) -> None:
    made(teller)
    Attempt.objects.create(run_id="one", number=1, outcome="failed", finished_at=now())

    assert "Attempts of the code between steps" in page(admin, change("one"))


def test_texts_of_users_are_escaped(admin: Client, teller: Workflow[Any, Any]) -> None:
    made(teller, say=SECRET, fails=True)

    html = page(admin, change("one"))

    assert SECRET not in html
    assert "&lt;script&gt;" in html


def test_a_restart_and_its_origin_are_linked(admin: Client, teller: Workflow[Any, Any]) -> None:
    restarted = made(teller).restart()

    assert change(restarted.id) in page(admin, change("one"))
    assert change("one") in page(admin, change(restarted.id))


def test_a_run_with_a_strange_id_has_a_page(admin: Client, teller: Workflow[Any, Any]) -> None:
    made(teller, "a/b?c_d<e>")

    html = page(admin, change("a/b?c_d<e>"))

    assert "a/b?c_d&lt;e&gt;" in html


def test_an_unknown_run_leads_back(admin: Client) -> None:
    assert admin.get(change("lost")).status_code == 302


@pytest.mark.parametrize("kind", ["payload", "step"])
def test_a_large_value_is_cut(kind: str, admin: Client, teller: Workflow[Any, Any]) -> None:
    made(teller)
    large = json.dumps("y" * 300_000)
    Run.objects.filter(pk="one").update(payload_text=large if kind == "payload" else "1")
    Step.objects.filter(run_id="one").update(result_text=large if kind == "step" else "1")

    html = page(admin, change("one"))

    assert "300002 characters in all" in html
    assert len(html) < LONGEST_SHOWN + 60_000


def test_a_value_whose_type_is_unknown_is_shown(admin: Client, teller: Workflow[Any, Any]) -> None:
    made(teller)
    Run.objects.update(payload_text='{"$": "gone.Type", "v": {"cents": 5}}')

    assert "{&quot;cents&quot;: 5}" in page(admin, change("one"))


def test_the_page_takes_the_same_queries_for_any_number_of_steps(
    admin: Client, teller: Workflow[Any, Any]
) -> None:
    made(teller, "short", fails=True)
    made(teller, "long", steps=40, fails=True)
    page(admin, change("short"))

    assert queries(admin, change("long")) == queries(admin, change("short"))
    assert queries(admin, change("long")) <= 18


def test_many_steps_are_shown_in_pages(admin: Client, teller: Workflow[Any, Any]) -> None:
    made(teller)
    template = Step.objects.get()
    Step.objects.bulk_create(
        Step(
            run_id="one", key=f"more {n}", name="more", kind="run", status="completed",
            sequence=n + 10, created_at=template.created_at,
        )
        for n in range(STEPS_PER_PAGE)
    )  # fmt: skip

    first, second = page(admin, change("one")), page(admin, change("one") + "?steps=2")

    assert "page 1 of 2" in first
    assert f"more {STEPS_PER_PAGE - 1}<" not in first
    assert f"more {STEPS_PER_PAGE - 1}<" in second


# Who may


def test_without_a_permission_there_is_nothing(teller: Workflow[Any, Any]) -> None:
    made(teller)

    assert staff().get(RUNS).status_code == 403


def test_payloads_results_and_errors_need_a_permission_of_their_own(
    teller: Workflow[Any, Any],
) -> None:
    made(teller, say="s3cret", fails=True)
    Delivery.objects.update(trouble="s3cret")
    client = staff("view_run", "view_delivery")

    pages = (
        page(client, RUNS)
        + page(client, change("one"))
        + page(client, "/admin/django_workflow/delivery/")
    )

    assert "s3cret" not in pages
    assert "NonRetryableError" not in pages
    assert "1 attempt that failed" in pages


def test_with_the_permission_payloads_are_shown(teller: Workflow[Any, Any]) -> None:
    made(teller, say="s3cret", fails=True)
    client = staff("view_run", "view_payload")

    assert "s3cret" in page(client, change("one"))
    assert "s3cret" in page(client, RUNS)


@pytest.mark.parametrize(
    "url",
    [f"{RUNS}add/", "/admin/django_workflow/event/add/", "/admin/django_workflow/delivery/add/"],
)
def test_nothing_is_added(url: str, admin: Client) -> None:
    assert admin.get(url).status_code == 403


def test_nothing_is_changed(admin: Client, teller: Workflow[Any, Any]) -> None:
    made(teller)

    response = admin.post(change("one"), {"status": "failed", "workflow": "other"})

    assert response.status_code == 403
    assert Run.objects.get().status == "completed"


# Deletion


def delete(run_id: str) -> str:
    return reverse("admin:django_workflow_run_delete", args=[run_id])


def test_an_ended_run_is_deleted_with_all_that_belongs_to_it(
    admin: Client, teller: Workflow[Any, Any]
) -> None:
    made(teller, fails=True)

    admin.post(delete("one"), {"post": "yes"})

    assert not Run.objects.exists()
    assert not Step.objects.exists()
    assert not Attempt.objects.exists()


def test_a_run_that_has_not_ended_is_not_deleted(admin: Client, teller: Workflow[Any, Any]) -> None:
    made(teller, sleeps=True)

    assert admin.post(delete("one"), {"post": "yes"}).status_code == 403
    assert Run.objects.count() == 1


def test_the_delete_action_refuses_runs_that_have_not_ended(
    admin: Client, teller: Workflow[Any, Any]
) -> None:
    made(teller, "done")
    made(teller, "asleep", sleeps=True)
    chosen = {"action": "delete_selected", "_selected_action": ["done", "asleep"]}

    refused = admin.post(RUNS, {**chosen, "post": "yes"}).content.decode()

    assert "asleep (running)" in refused
    assert Run.objects.count() == 2


def test_the_delete_action_deletes_ended_runs(admin: Client, teller: Workflow[Any, Any]) -> None:
    made(teller, "done")
    made(teller, "asleep", sleeps=True)

    admin.post(RUNS, {"action": "delete_selected", "_selected_action": ["done"], "post": "yes"})

    assert list(Run.objects.values_list("pk", flat=True)) == ["asleep"]


def test_deletion_needs_the_permission(teller: Workflow[Any, Any]) -> None:
    made(teller)

    assert staff("view_run").post(delete("one"), {"post": "yes"}).status_code == 403
    assert Run.objects.count() == 1


# Deliveries and events


def test_deliveries_are_listed_with_links_to_their_runs(
    admin: Client, teller: Workflow[Any, Any]
) -> None:
    made(teller, sleeps=True)
    Delivery.objects.update(trouble="refused")

    html = page(admin, "/admin/django_workflow/delivery/")

    assert change("one") in html
    assert "the turn" in html
    assert "refused" in html


def test_an_event_is_shown_with_its_data(admin: Client) -> None:
    event = Event.objects.create(event_id="pickup:1", data_text='{"by": "Ann"}', created_at=now())

    assert "pickup:1" in page(admin, "/admin/django_workflow/event/")
    assert "Ann" in page(admin, f"/admin/django_workflow/event/{event.pk}/change/")


def test_the_data_of_an_event_needs_the_permission() -> None:
    event = Event.objects.create(event_id="pickup:1", data_text='{"by": "Ann"}', created_at=now())

    assert "Ann" not in page(
        staff("view_event"), f"/admin/django_workflow/event/{event.pk}/change/"
    )
