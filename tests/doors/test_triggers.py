"""An unsigned POST triggers a run: closed by default, exact about what is wrong, and nothing half written."""

from __future__ import annotations

import hmac
import json
import re
from io import BytesIO
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.test import Client, RequestFactory, override_settings

from django_workflow.models import Delivery, Run
from django_workflow.runtime.worker import drain
from django_workflow.views import answer
from tests.doors.workflows import PARTNER_KEY, guarded, open_to_all

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.urls("tests.doors.urls"),
]

JSON = "application/json"
GUARDED = [
    "/workflows/guarded/",
    "/workflows/async_guarded/",
    "/own/guarded/",
    "/own/async-guarded/",
]


def post(client: Client, path: str, payload: Any = None, **kwargs: Any) -> Any:
    return client.post(path, json.dumps(payload), content_type=JSON, **kwargs)


def trigger(body: bytes | str = b"", query: str = "", **kwargs: Any) -> Any:
    return Client().post(f"/workflows/open/{query}", body, content_type=JSON, **kwargs)


@pytest.fixture
def ann() -> User:
    return User.objects.create_user("ann")


@pytest.fixture
def permitted(ann: User) -> User:
    ann.user_permissions.add(Permission.objects.get(codename="trigger_run"))
    return ann


def signed_in(user: User, **kwargs: Any) -> Client:
    client = Client(**kwargs)
    client.force_login(user)
    return client


class TestPermission:
    @pytest.mark.parametrize("path", GUARDED)
    def test_permission_lets_a_user_trigger(self, permitted: User, path: str) -> None:
        response = post(signed_in(permitted), path, {"n": 1})

        run = Run.objects.get()
        assert response.status_code == 202
        assert response.json() == {"workflow_run_id": run.id, "created": True}
        assert run.payload == {"n": 1}
        assert Delivery.objects.count() == 1

    @pytest.mark.parametrize("path", GUARDED)
    def test_user_without_it_is_refused(self, ann: User, path: str) -> None:
        response = post(signed_in(ann), path)

        assert response.status_code == 403
        assert "You may not trigger workflow" in response.json()["detail"]
        assert not Run.objects.exists()

    @pytest.mark.parametrize("path", GUARDED)
    def test_nobody_is_refused_without_a_query(
        self, path: str, django_assert_num_queries: Any
    ) -> None:
        with django_assert_num_queries(0):
            response = post(Client(), path)

        assert response.status_code == 401
        assert "Session" in response.headers["WWW-Authenticate"]
        assert not Run.objects.exists()

    def test_project_without_users_refuses_everybody(self) -> None:
        response = answer(guarded, RequestFactory().post("/", b"{}", content_type=JSON))

        assert response.status_code == 401

    def test_inactive_user_is_refused(self, permitted: User) -> None:
        client = signed_in(permitted)
        User.objects.update(is_active=False)

        assert post(client, "/workflows/guarded/").status_code == 401

    @pytest.mark.parametrize("path", GUARDED)
    def test_session_without_csrf_token_is_refused(self, permitted: User, path: str) -> None:
        response = post(signed_in(permitted, enforce_csrf_checks=True), path)

        assert response.status_code == 403
        assert response.json()["detail"].startswith("CSRF check failed")
        assert not Run.objects.exists()

    @pytest.mark.parametrize("path", GUARDED)
    def test_session_with_csrf_token_may_trigger(self, permitted: User, path: str) -> None:
        client = signed_in(permitted, enforce_csrf_checks=True)
        client.cookies["csrftoken"] = "a" * 32

        response = post(client, path, headers={"X-CSRFToken": "a" * 32})

        assert response.status_code == 202

    @pytest.mark.parametrize(
        "path",
        ["/workflows/by_token/", "/workflows/by_async_token/", "/workflows/async_by_async_token/"],
    )
    @pytest.mark.parametrize(("token", "status"), [("open sesame", 202), ("close sesame", 403)])
    def test_workflows_own_rule_takes_its_place(self, path: str, token: str, status: int) -> None:
        client = Client(enforce_csrf_checks=True)

        response = post(client, path, headers={"X-Token": token})

        assert response.status_code == status

    def test_workflows_own_rule_may_say_why(self) -> None:
        response = post(Client(), "/workflows/closed/")

        assert response.status_code == 403
        assert response.json() == {"detail": "The office is closed."}

    def test_own_rule_saves_no_session_from_the_csrf_check(self, ann: User) -> None:
        client = signed_in(ann, enforce_csrf_checks=True)

        response = post(client, "/workflows/by_token/", headers={"X-Token": "open sesame"})

        assert response.status_code == 403

    def test_permission_of_another_kind_is_not_enough(self, ann: User) -> None:
        ann.user_permissions.add(Permission.objects.get(codename="cancel_run"))

        assert post(signed_in(ann), "/workflows/guarded/").status_code == 403

    def test_permission_is_asked_before_the_payload_is_looked_at(self, ann: User) -> None:
        response = signed_in(ann).post("/workflows/guarded/", b"{", content_type=JSON)

        assert response.status_code == 403


class TestRequest:
    @pytest.mark.parametrize("method", ["get", "head", "put", "patch", "delete", "options"])
    @pytest.mark.parametrize("path", GUARDED)
    def test_other_methods_are_refused(self, method: str, path: str) -> None:
        response = getattr(Client(), method)(path)

        assert (response.status_code, response.headers["Allow"]) == (405, "POST")

    def test_unknown_workflow_is_not_found(self) -> None:
        response = post(Client(), "/workflows/nobody/")

        assert response.status_code == 404
        assert response.json() == {"detail": "No workflow of this name is registered here."}

    @pytest.mark.parametrize(
        ("body", "payload"),
        [
            (b"", None),
            (b"null", None),
            (b'{"n": [1, 2.5, true]}', {"n": [1, 2.5, True]}),
            (b'"text"', "text"),
            ('"Ærø 数"'.encode(), "Ærø 数"),
            (b'"\\u0000"', "\0"),
            (b'{"$": "decimal", "v": "1.5"}', {"$": "decimal", "v": "1.5"}),
            (b'{"steps": [], "workflow_run_id": "x"}', {"steps": [], "workflow_run_id": "x"}),
        ],
    )
    def test_body_is_the_payload_and_nothing_else(self, body: bytes, payload: Any) -> None:
        response = trigger(body)

        run = Run.objects.get()
        assert response.json() == {"workflow_run_id": run.id, "created": True}
        assert run.id.startswith("wfr_")
        drain()
        assert run.refresh().result == payload

    @pytest.mark.parametrize(
        ("body", "detail"),
        [
            (b"{", "not JSON: Expecting property name .* at line 1, column 2"),
            (b'{"a": 1,\n "b" 2}', "at line 2, column 6"),
            (b"a=1&b=2", "not JSON: Expecting value at line 1, column 1"),
            (b'{"a": NaN}', "holds NaN"),
            (b"[-Infinity]", "holds -Infinity"),
            (b'"\xff"', "not UTF-8: invalid start byte at byte 1"),
            (b"1" * 5000, "integer"),
            (b"[" * 100_000, "nested too deep"),
            (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested too deep"),
        ],
    )
    def test_body_that_is_not_json_is_refused(self, body: bytes, detail: str) -> None:
        response = trigger(body)

        assert (response.status_code, response.json()["path"]) == (400, "payload")
        assert re.search(detail, response.json()["detail"])
        assert not Run.objects.exists()

    def test_payload_that_cannot_be_stored_is_refused_with_its_path(self) -> None:
        response = trigger(b'{"deep": ' + b"[" * 300 + b"]" * 300 + b"}")

        assert response.status_code == 400
        assert response.json()["path"].startswith('payload["deep"][0][0]')
        assert not Run.objects.exists()

    @pytest.mark.parametrize(
        ("payload", "status", "detail"),
        [
            ({"amount": 1}, 202, ""),
            ({"amount": 0}, 400, "amount: must be positive"),
            ({}, 400, "'amount'"),
            (None, 400, "does not fit"),
        ],
    )
    def test_payload_is_held_against_the_schema(
        self, payload: Any, status: int, detail: str
    ) -> None:
        response = post(Client(), "/workflows/with_schema/", payload)

        assert response.status_code == status
        assert detail in response.json().get("detail", "")

    def test_options_come_in_the_query(self) -> None:
        response = trigger(b"1", "?workflow_run_id=order-1&label=vip&label=new&delay=1h")

        run = Run.objects.get()
        assert response.json() == {"workflow_run_id": "order-1", "created": True}
        assert (run.id, run.labels) == ("order-1", ["new", "vip"])
        assert drain() == 0

    @pytest.mark.parametrize(
        ("query", "detail"),
        [
            ("?retries=100", "no option 'retries' here. Known: delay, label, workflow_run_id."),
            ("?delay=soon", '"soon" is not a duration'),
            ("?delay=-5s", "not a duration"),
            ("?delay=1h&delay=2h", "delay is given more than once"),
            ("?workflow_run_id=", "workflow_run_id must be"),
            ("?workflow_run_id=a%00b", "workflow_run_id must be"),
            ("?label=", "A label must be"),
            ("?label=a%00b", "A label must be"),
            ("?label=" + "x" * 101, "A label must be"),
        ],
    )
    def test_option_that_cannot_work_is_refused(self, query: str, detail: str) -> None:
        response = trigger(b"1", query)

        assert response.status_code == 400
        assert detail in response.json()["detail"]
        assert not Run.objects.exists()

    def test_used_id_with_the_same_payload_returns_the_run(self) -> None:
        trigger(b"1", "?workflow_run_id=order-1")

        response = trigger(b"1", "?workflow_run_id=order-1")

        assert response.status_code == 202
        assert response.json() == {"workflow_run_id": "order-1", "created": False}

    def test_used_id_with_another_payload_is_a_conflict(self) -> None:
        trigger(b"1", "?workflow_run_id=order-1")

        response = trigger(b"2", "?workflow_run_id=order-1")

        assert response.status_code == 409
        assert '"order-1" is taken' in response.json()["detail"]


class Unreadable(BytesIO):
    def read(self, size: int | None = -1, /) -> bytes:
        raise AssertionError("The body was read.")


class Broken(BytesIO):
    def read(self, size: int | None = -1, /) -> bytes:
        raise OSError("connection reset")


def raw(body: BytesIO, **environ: Any) -> Any:
    request = RequestFactory().generic("POST", "/", content_type=JSON, **environ)
    request._stream = request.environ["wsgi.input"] = body  # type: ignore[attr-defined]
    request.user = AnonymousUser()
    return answer(open_to_all, request)


class TestSize:
    def test_five_megabytes_are_taken(self) -> None:
        response = trigger(b'"' + b"x" * 5_000_000 + b'"')

        assert response.status_code == 202
        assert len(Run.objects.get().payload) == 5_000_000

    def test_limit_is_a_setting(self) -> None:
        with override_settings(WORKFLOW={**settings.WORKFLOW, "MAX_PAYLOAD_BYTES": 60_000_000}):
            response = trigger(b'"' + b"x" * 50_000_000 + b'"')

        assert response.status_code == 202

    def test_more_than_the_limit_is_refused(self) -> None:
        response = trigger(b'"' + b"x" * 50_000_000 + b'"')

        assert response.status_code == 413
        assert response.json()["detail"] == "The body may have 10,000,000 bytes at most."
        assert not Run.objects.exists()

    def test_announced_size_is_refused_before_the_body_is_read(self) -> None:
        assert raw(Unreadable(), CONTENT_LENGTH="50000000").status_code == 413

    def test_body_larger_than_announced_is_not_read_beyond_the_limit(self) -> None:
        with override_settings(WORKFLOW={**settings.WORKFLOW, "MAX_PAYLOAD_BYTES": 10}):
            response = raw(BytesIO(b"1" * 100), CONTENT_LENGTH="")

        assert response.status_code == 413

    def test_encoded_payload_larger_than_the_limit_is_refused(self) -> None:
        with override_settings(WORKFLOW={**settings.WORKFLOW, "MAX_PAYLOAD_BYTES": 100}):
            response = trigger('"{}"'.format("数" * 30).encode())

        assert response.status_code == 413
        assert not Run.objects.exists()

    def test_body_that_was_cut_is_refused(self) -> None:
        response = raw(BytesIO(b"123"), CONTENT_LENGTH="6")

        assert response.status_code == 400
        assert response.content == b'{"detail": "The body has 3 of the 6 bytes it should have."}'

    def test_body_that_cannot_be_read_is_refused(self) -> None:
        assert raw(Broken(), CONTENT_LENGTH="6").status_code == 400

    def test_body_without_a_length_is_not_taken_for_none(self) -> None:
        response = raw(BytesIO(), CONTENT_LENGTH="", HTTP_TRANSFER_ENCODING="chunked")

        assert response.status_code == 411

    @pytest.mark.parametrize("length", ["-1", "many", "²"])
    def test_length_that_is_none_is_no_error(self, length: str) -> None:
        assert raw(BytesIO(b"1"), CONTENT_LENGTH=length).status_code == 202

    def test_body_that_a_middleware_has_read_is_taken(self) -> None:
        request = RequestFactory().post("/", b"[1]", content_type=JSON)
        assert request.body == b"[1]"

        assert answer(open_to_all, request).status_code == 202
        assert Run.objects.get().payload == [1]


class TestPayloadParser:
    def post(self, body: bytes, signature: str | None = None) -> Any:
        found = hmac.digest(PARTNER_KEY, body, "sha256").hex() if signature is None else signature
        return Client().post(
            "/workflows/for_partner/", body, content_type="text/plain", headers={"X-Partner": found}
        )

    def test_parser_makes_the_payload_of_the_raw_body(self) -> None:
        response = self.post(b'{"id":  7}')

        assert response.status_code == 202
        assert Run.objects.get().payload == {"order": 7}

    def test_parser_sees_bodies_above_djangos_own_limit(self) -> None:
        response = self.post(b'{"id": "' + b"x" * 4_000_000 + b'"}')

        assert response.status_code == 202

    def test_parser_may_refuse_the_sender(self) -> None:
        response = self.post(b'{"id": 7}', "forged")

        assert response.status_code == 403
        assert not Run.objects.exists()

    @pytest.mark.parametrize(
        ("body", "detail"), [(b"{}", "The payload lacks 'id'."), (b"{", "Expecting property name")]
    )
    def test_body_that_the_parser_cannot_read_is_refused(self, body: bytes, detail: str) -> None:
        response = self.post(body)

        assert response.status_code == 400
        assert detail in response.json()["detail"]
