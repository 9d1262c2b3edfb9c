"""Runs over the API: triggered, read, waited for, and what is done to them."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import override_settings
from rest_framework.test import APIClient

from django_workflow import notify
from django_workflow.models import Action, Run
from django_workflow.rest import paging, runs, selecting
from django_workflow.testing import WorkflowSandbox
from tests.rest.conftest import ROOT, Api, is_problem, user_with
from tests.rest.workflows import fails, hook, plain, talks, waits
from tests.transports.wsgi import served_at

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.rest.urls")]


class TestTrigger:
    def test_a_run_is_started_once_however_often_it_is_asked_for(
        self, api: Api, box: WorkflowSandbox
    ) -> None:
        body = {"payload": {"n": 1}, "workflow_run_id": "order-42", "label": ["vip", "eu"]}

        first = api.post("workflows/rest.plain/runs/", body)
        again = api.post("workflows/rest.plain/runs/", body)
        other = api.post("workflows/rest.plain/runs/", {**body, "payload": {"n": 2}})

        assert (first.status_code, first.json()["created"]) == (201, True)
        assert first["Location"] == "http://testserver/api/workflows/runs/order-42/"
        assert (again.status_code, again.json()["created"]) == (200, False)
        assert is_problem(other, 409, "exists")["workflow_run_id"] == "order-42"
        assert Run.objects.get().labels == ["eu", "vip"]

    def test_who_triggered_is_kept(self, api: Api, box: WorkflowSandbox) -> None:
        run_id = api.post("workflows/rest.plain/runs/").json()["workflow_run_id"]

        [action] = Run.objects.get(pk=run_id).actions
        assert (action.verb, action.actor, action.door) == ("trigger", "ann", "rest")
        assert action.user_id == str(api.user.pk)

    def test_many_are_started_all_or_none(self, api: Api, box: WorkflowSandbox) -> None:
        path = "workflows/rest.plain/runs/bulk/"

        bad = api.post(path, {"payloads": [1, 2], "workflow_run_ids": ["a"]})
        good = api.post(path, {"payloads": [1, None], "workflow_run_ids": ["a", "b"]})

        is_problem(bad, 400, "bad-input")
        assert good.json()["results"] == [
            {"workflow_run_id": "a", "created": True},
            {"workflow_run_id": "b", "created": True},
        ]
        assert Run.objects.count() == 2

    def test_a_row_that_a_run_is_about_is_one_that_the_user_may_see(
        self, api: Api, box: WorkflowSandbox
    ) -> None:
        about = f"auth.user:{api.user.pk}"
        outsider = Api(user_with("bob", "trigger_run"))

        refused = outsider.post("workflows/rest.plain/runs/", {"about": about})
        api.post("workflows/rest.plain/runs/", {"about": about})

        assert is_problem(refused, 400, "bad-input")["path"] == "about"
        assert Run.objects.get().about == api.user
        assert len(api.get("runs/", about=about).json()["results"]) == 1

    def test_the_workflow_s_own_permission_is_asked_besides(self, api: Api) -> None:
        is_problem(api.post("workflows/rest.guarded/runs/"), 403, "forbidden")
        done = api.post("workflows/rest.guarded/runs/", headers={"X-Word": "sesame"})
        assert done.status_code == 201

    @pytest.mark.parametrize(
        ("body", "path"),
        [
            ({"workflow_run_id": 5}, "workflow_run_id"),
            ({"label": "vip"}, "label"),
            ({"label": [["x"]]}, "label"),
            ({"retries": "5"}, "retries"),
            ({"headers": {"a": 1}}, "headers.a"),
            ({"dealy": "5s"}, "dealy"),
            ({"workflow_run_id": "a\0b"}, "workflow_run_id"),
        ],
    )
    def test_wrong_types_are_named(self, api: Api, body: Any, path: str) -> None:
        found = is_problem(api.post("workflows/rest.plain/runs/", body), 400, "bad-input")
        assert found["path"].startswith(path)
        assert not Run.objects.exists()

    @pytest.mark.parametrize("body", ["{", "", "[1", '{"payload": NaN}', "[" * 100_000, "\xff"])
    def test_malformed_json_is_told(self, api: Api, body: str) -> None:
        response = api.raw("workflows/rest.plain/runs/", body.encode("latin-1"))
        if body:
            is_problem(response, 400, "malformed")
        else:
            assert response.status_code == 201

    def test_a_body_that_is_too_long_is_refused(self, api: Api) -> None:
        with override_settings(WORKFLOW={"DISPATCHER": "embedded", "MAX_PAYLOAD_BYTES": 1000}):
            of_payload = api.post("workflows/rest.plain/runs/", {"payload": "x" * 2000})
            of_body = api.post("workflows/rest.plain/runs/", {"payload": "x" * 200_000})
        is_problem(of_payload, 413, "too-large")
        is_problem(of_body, 413, "too-large")

    def test_a_body_in_pieces_is_not_taken_for_none(self, api: Api) -> None:
        response = api.client.post(
            f"{ROOT}workflows/rest.plain/runs/",
            headers={"Transfer-Encoding": "chunked", "Content-Length": ""},
        )
        is_problem(response, 411, "no-length")
        assert not Run.objects.exists()

    def test_other_media_types_are_refused(self, api: Api) -> None:
        response = api.raw("workflows/rest.plain/runs/", b"a=1", "text/plain")
        is_problem(response, 415, "wrong-media-type")


class TestRead:
    def test_unknown_ids_are_not_found(self, api: Api) -> None:
        for path in ("", "steps/", "attempts/", "logs/", "actions/", "webhooks/", "result/"):
            is_problem(api.get(f"runs/none/{path}"), 404, "not-found")
        is_problem(api.get("runs/a%00b/"), 404, "not-found")
        is_problem(api.get("workflows/none/"), 404, "not-found")
        is_problem(api.post("runs/none/cancel/"), 404, "not-found")
        is_problem(api.post("workflows/none/runs/"), 404, "not-found")

    def test_a_run_with_a_slash_in_its_id_is_found(self, api: Api, box: WorkflowSandbox) -> None:
        waits.trigger(workflow_run_id="shop/42")
        assert api.get("runs/shop/42/").json()["workflow_run_id"] == "shop/42"
        assert api.post("runs/shop/42/cancel/").json()["status"] == "cancelled"

    def test_workflows_are_listed_with_their_versions(self, api: Api) -> None:
        found = api.get("workflows/rest.plain/").json()
        assert found["versions"] == ["1"]
        assert found["description"] == "Return what it was given."
        assert found in api.get("workflows/").json()["results"]

    def test_what_a_run_carries_is_masked(self, api: Api, box: WorkflowSandbox) -> None:
        card = {"card": {"number": "4111"}}
        run = plain.trigger(card, headers={"Authorization": "Bearer x", "X-Kind": "y"})

        found = api.get(f"runs/{run.id}/").json()

        assert found["payload"]["card"]["number"].startswith("REDACTED")
        assert found["headers"]["Authorization"].startswith("REDACTED")
        assert found["headers"]["X-Kind"] == "y"
        assert found["shows_payload"] is True

    def test_without_view_payload_nothing_of_it_is_shown(self, box: WorkflowSandbox) -> None:
        viewer = Api(user_with("eve", "view_run"))
        plain.trigger({"secret": "the secret"}, headers={"X": "the secret"})
        failed = fails.trigger({"secret": "the secret"})
        assert failed.refresh().status == "failed"
        Run.objects.update(state_text='"the secret"')

        pages = [viewer.get("runs/"), viewer.get("dead-letters/")]
        pages += [viewer.get(f"runs/{failed.id}/{each}") for each in ("", "steps/", "attempts/")]
        pages.append(viewer.get("dead-letters/groups/"))

        for page in pages:
            assert page.status_code == 200
            assert b"secret" not in page.content
        assert pages[2].json()["shows_payload"] is False
        is_problem(viewer.get(f"runs/{failed.id}/result/"), 403, "forbidden")

    def test_steps_attempts_logs_and_actions(self, api: Api, box: WorkflowSandbox) -> None:
        run = fails.trigger()

        [step] = api.get(f"runs/{run.id}/steps/").json()["results"]
        [attempt] = api.get(f"runs/{run.id}/attempts/").json()["results"]

        assert (step["name"], step["status"]) == ("boom", "failed")
        assert step["failure"]["message"] == "the secret of the error"
        assert attempt["outcome"] == "failed"
        assert api.get(f"runs/{run.id}/logs/").json() == {"next": None, "results": []}

    def test_webhooks_are_listed_without_their_urls(self, api: Api, box: WorkflowSandbox) -> None:
        with served_at("http://testserver", TRANSPORT="inline"):
            run = hook.trigger()
        made = run.webhooks.get()
        page = api.get(f"runs/{run.id}/webhooks/")
        [found] = page.json()["results"]
        assert (found["step"], found["calls"], found["single_use"]) == ("pay", 0, False)
        assert b"http" not in page.content
        assert made.pk is not None

    def test_logs_hold_what_the_run_has_told(self, api: Api, box: WorkflowSandbox) -> None:
        run = talks.trigger()
        [line] = api.get(f"runs/{run.id}/logs/").json()["results"]
        assert (line["message"], line["fields"], line["level"]) == ("half way", {"n": 5}, "info")
        shown = api.get(f"runs/{run.id}/").json()
        assert shown["progress"]["done"] == 5
        assert shown["state"] == {"at": "the gate"}

    def test_filters(self, api: Api, box: WorkflowSandbox) -> None:
        one = plain.trigger(label=["a", "b"])
        two = waits.trigger(label="a")

        def ids(**query: Any) -> set[str]:
            return {run["workflow_run_id"] for run in api.get("runs/", **query).json()["results"]}

        assert ids() == {one.id, two.id}
        assert ids(label="a") == {one.id, two.id}
        assert ids(label=["a", "b"]) == {one.id}
        assert ids(status=["running", "failed"]) == {two.id}
        assert ids(workflow="rest.waits") == {two.id}
        assert ids(created_after=one.created_at.isoformat()) == {one.id, two.id}
        assert ids(created_before="2001-01-01") == set()
        assert ids(parent=one.id) == set()
        assert ids(search="a") == {one.id, two.id}
        assert ids(search=one.id[:12]) == {one.id}
        assert ids(search="vip") == set()
        again = one.restart()
        assert ids(restarted_from=one.id) == {again.id}
        lost = fails.trigger()
        assert ids(failed_step="boom") == {lost.id}
        assert ids(error_class="ValueError") == {lost.id}
        assert ids(error_class="KeyError") == set()

    def test_errors_are_no_filter_for_who_may_not_see_them(self, db: None) -> None:
        viewer = Api(user_with("eve", "view_run", "cancel_run"))
        is_problem(viewer.get("runs/", error_class="ValueError"), 403, "forbidden")
        body = {"filter": {"error_class": "ValueError"}, "dry_run": True}
        is_problem(viewer.post("bulk/cancel/", body), 403, "forbidden")

    @pytest.mark.parametrize(
        "query",
        [
            {"status": "gone"},
            {"created_after": "yesterday"},
            {"about": "nothing"},
            {"page_size": "0"},
            {"page_size": "many"},
            {"colour": "red"},
            {"workflow": ["a", "b"]},
            {"workflow": "a\0"},
        ],
    )
    def test_wrong_filters_are_named(self, api: Api, query: Any) -> None:
        found = is_problem(api.get("runs/", **query), 400, "bad-input")
        assert found["path"].partition(".")[0] == next(iter(query))

    def test_pages_hold_each_run_once_and_are_bounded(
        self, api: Api, box: WorkflowSandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wanted = {run.id for run in plain.trigger_many([{}] * 7)}
        monkeypatch.setattr(paging, "MOST", 3)

        seen: list[str] = []
        found = api.get("runs/", page_size=10**6).json()
        while True:
            assert len(found["results"]) <= 3
            seen += [run["workflow_run_id"] for run in found["results"]]
            if found["next"] is None:
                break
            found = api.client.get(found["next"]).json()

        assert len(seen) == 7
        assert set(seen) == wanted

    @pytest.mark.parametrize(
        "cursor", ["x", "W10", "WzEsMl0", "W251bGwsbnVsbF0", "é", "WyJhIiwiYiJd"]
    )
    def test_bad_cursors_are_refused(self, api: Api, cursor: str) -> None:
        is_problem(api.get("runs/", cursor=cursor), 400, "bad-cursor")

    def test_reading_a_page_costs_the_same_for_any_number_of_runs(
        self, api: Api, box: WorkflowSandbox, django_assert_max_num_queries: Any
    ) -> None:
        waits.trigger_many([{}] * 20)
        with django_assert_max_num_queries(12):
            assert len(api.get("runs/").json()["results"]) == 20


class TestResult:
    def test_result_of_an_ended_run(self, api: Api, box: WorkflowSandbox) -> None:
        found = api.get(f"runs/{plain.trigger({'n': 1}).id}/result/")
        assert found.status_code == 200
        assert found.json()["result"] == {"n": 1}

    def test_unfinished_run_is_answered_202_after_the_wait(
        self, api: Api, box: WorkflowSandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(runs, "LONGEST_WAIT_SECONDS", 0.05)
        run = waits.trigger()

        for wait in ("0s", "1d"):
            found = api.get(f"runs/{run.id}/result/", wait=wait)
            assert (found.status_code, found.json()["finished"]) == (202, False)
        is_problem(api.get(f"runs/{run.id}/result/", wait="soon"), 400, "bad-input")

    def test_it_waits_for_the_end_and_holds_no_transaction(
        self, api: Api, box: WorkflowSandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = waits.trigger()
        waited: list[float] = []
        before = len(connection.atomic_blocks)

        def wait(run: Run, seconds: float) -> Run:
            assert len(connection.atomic_blocks) == before
            waited.append(seconds)
            notify(f"word:{run.id}", "hello")
            box.settle()
            return run

        monkeypatch.setattr(Run, "wait", wait)
        monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)

        assert api.get(f"runs/{run.id}/result/", wait="1h").json()["result"] == "hello"
        assert waited == [30.0]

    def test_failure_is_told(self, api: Api, box: WorkflowSandbox) -> None:
        found = api.get(f"runs/{fails.trigger().id}/result/").json()
        assert (found["status"], found["finished"], found["result"]) == ("failed", True, None)
        assert found["failure"]["message"] == "the secret of the error"


class TestVerbs:
    def test_a_run_is_paused_resumed_and_cancelled(self, api: Api, box: WorkflowSandbox) -> None:
        run = waits.trigger()

        told = [
            api.post(f"runs/{run.id}/{verb}/", {"why": "because"}).json()["status"]
            for verb in ("pause", "resume", "cancel")
        ]

        assert told == ["paused", "running", "cancelled"]
        kept = [(one.verb, one.actor, one.door, one.why) for one in run.actions]
        assert kept == [(verb, "ann", "rest", "because") for verb in ("pause", "resume", "cancel")]
        assert [one["verb"] for one in api.get(f"runs/{run.id}/actions/").json()["results"]] == [
            "pause", "resume", "cancel"
        ]  # fmt: skip

    def test_the_loser_is_told_the_state_found(self, api: Api, box: WorkflowSandbox) -> None:
        run = waits.trigger()
        assert api.post(f"runs/{run.id}/cancel/").status_code == 200

        for verb in ("cancel", "pause", "resume"):
            found = is_problem(api.post(f"runs/{run.id}/{verb}/"), 409, "wrong-state")
            assert (found["state"], found["workflow_run_id"]) == ("cancelled", run.id)
        assert run.actions.count() == 1

    def test_restart_makes_a_run(self, api: Api, box: WorkflowSandbox) -> None:
        run = fails.trigger()
        found = api.post(f"runs/{run.id}/restart/")
        assert found.status_code == 201
        assert found.json()["restarted_from"] == run.id
        assert Run.objects.filter(restarted_from=run.id).count() == 1

    def test_many_are_told_one_by_one(self, api: Api, box: WorkflowSandbox) -> None:
        living, ended = waits.trigger(), plain.trigger()

        found = api.post("bulk/cancel/", {"ids": [living.id, ended.id, "none"]}).json()

        assert [one["done"] for one in found["results"]] == [True, False, False]
        assert found["results"][1]["problem"]["state"] == "completed"
        assert found["results"][2]["problem"]["status"] == 404
        assert (found["done"], found["more"]) == (1, False)

    @pytest.mark.parametrize(
        "body",
        [{}, {"filter": {}}, {"all": False}, {"all": True, "ids": ["a"]}, {"ids": []}],
    )
    def test_without_one_clear_selection_nothing_is_done(
        self, api: Api, box: WorkflowSandbox, body: Any
    ) -> None:
        waits.trigger()
        is_problem(api.post("bulk/cancel/", body), 400, "bad-input")
        assert not Run.objects.filter(status="cancelled").exists()

    def test_filter_and_all(
        self, api: Api, box: WorkflowSandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        vip = waits.trigger(label="vip")
        others = waits.trigger_many([{}] * 3)

        found = api.post("bulk/pause/", {"filter": {"label": ["vip"]}}).json()
        assert [one["workflow_run_id"] for one in found["results"]] == [vip.id]

        monkeypatch.setattr(selecting, "MOST_AT_ONCE", 3)
        found = api.post("bulk/cancel/", {"all": True}).json()
        assert (found["done"], found["more"]) == (3, True)
        found = api.post("bulk/cancel/", {"all": True}).json()
        assert (found["done"], found["more"]) == (1, False)
        assert {run.refresh().status for run in others} == {"cancelled"}

    def test_dry_run_tells_which_and_does_nothing(self, api: Api, box: WorkflowSandbox) -> None:
        living, ended = waits.trigger(label="vip"), plain.trigger()

        by_id = api.post("bulk/pause/", {"ids": [living.id, ended.id, "none"], "dry_run": True})
        by_filter = api.post("bulk/cancel/", {"filter": {"label": ["vip"]}, "dry_run": True})

        told = by_id.json()
        assert [one["status"] for one in told["results"]] == ["running", "completed", None]
        assert (told["done"], told["refused"], told["dry_run"]) == (0, 2, True)
        assert [one["workflow_run_id"] for one in by_filter.json()["results"]] == [living.id]
        assert living.refresh().status == "running"
        assert not Action.objects.exists()

    def test_a_living_run_can_be_restarted_but_all_means_those_that_have_ended(
        self, api: Api, box: WorkflowSandbox
    ) -> None:
        living, ended = waits.trigger(), plain.trigger()
        found = api.post("bulk/restart/", {"all": True, "dry_run": True}).json()
        assert [one["workflow_run_id"] for one in found["results"]] == [ended.id]
        assert api.post("bulk/restart/", {"ids": [living.id]}).json()["done"] == 1

    def test_resume_and_restart_of_many(self, api: Api, box: WorkflowSandbox) -> None:
        run = waits.trigger()
        api.post("bulk/pause/", {"all": True})
        assert api.post("bulk/resume/", {"all": True}).json()["done"] == 1
        api.post("bulk/cancel/", {"all": True})
        [told] = api.post("bulk/restart/", {"ids": [run.id]}).json()["results"]
        assert Run.objects.get(pk=told["new_run_id"]).restarted_from_id == run.id


class TestWhoMay:
    def test_nobody_without_credentials(self) -> None:
        response = APIClient().get(f"{ROOT}runs/")
        # Session authentication comes first, and has no challenge.
        is_problem(response, 403, "forbidden")

    def test_csrf_is_asked_of_a_session(self, api: Api) -> None:
        client = APIClient(enforce_csrf_checks=True)
        client.force_login(api.user)
        is_problem(client.post(f"{ROOT}workflows/rest.plain/runs/"), 403, "forbidden")

    def test_inactive_users_are_kept_out(self, api: Api) -> None:
        User.objects.update(is_active=False)
        assert api.get("runs/").status_code == 403

    def test_rates_are_the_project_s_by_scope(self, api: Api) -> None:
        with override_settings(
            REST_FRAMEWORK={"DEFAULT_THROTTLE_RATES": {"workflow_trigger": "1/day"}}
        ):
            assert api.post("workflows/rest.plain/runs/").status_code == 201
            refused = api.post("workflows/rest.plain/runs/")
            assert api.get("runs/").status_code == 200
        is_problem(refused, 429, "too-often")
        assert int(refused["Retry-After"]) > 80_000


def test_an_unforeseen_error_is_told_without_a_traceback(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "runs", lambda: 1 / 0)
    api.client.raise_request_exception = False
    response = api.get("runs/")
    is_problem(response, 500, "error")
    assert b"ZeroDivision" not in response.content


def test_browsable(api: Api, box: WorkflowSandbox) -> None:
    run = waits.trigger()
    for path in ("runs/", f"runs/{run.id}/", "bulk/cancel/", "runs/none/"):
        page = api.client.get(ROOT + path, headers={"Accept": "text/html"})
        assert page["Content-Type"].startswith("text/html"), path
    tried = api.client.get(f"{ROOT}bulk/cancel/", headers={"Accept": "text/html"})
    assert b'name="_content"' in tried.content


def test_actions_outlive_nothing_that_failed(api: Api) -> None:
    api.post("runs/none/cancel/", {"why": "x"})
    assert not Action.objects.exists()
