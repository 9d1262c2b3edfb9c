"""A delivery is believed for its signature, and then as far as the database agrees; a copy of it has no effect."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

import jwt
import pytest
from django.conf import settings
from django.db import connection, transaction
from django.http import HttpResponse
from django.test import RequestFactory, override_settings
from hypothesis import given
from hypothesis import strategies as st

from django_workflow.core.signing import Signer, derive_key
from django_workflow.core.workflow import Workflow
from django_workflow.models import Delivery, Run
from django_workflow.runtime.keys import PURPOSE, signer
from django_workflow.runtime.messages import Answer, Outcome, Ticket
from django_workflow.store import claims
from django_workflow.views import answer, by_name
from tests.transports import runs
from tests.transports.runs import claimed, lose_lease, recorded

OLD = "the old key, long enough to be one of these"
NEW = "the new key, long enough to be one of these"

ticket = Ticket(run_id="order-1", delivery_id=1, token=1, entry=0)
requests = RequestFactory()


def posted(
    body: bytes, signature: str, workflow: Workflow[Any, Any] = runs.steps, **headers: str
) -> HttpResponse:
    request = requests.post(
        "/",
        body,
        content_type="application/json",
        headers={"Workflow-Signature": signature, **headers},
    )
    return answer(workflow, request)


def delivered(ticket: Ticket, workflow: Workflow[Any, Any] = runs.steps) -> HttpResponse:
    body = ticket.body()
    return posted(body, ticket.sign(workflow.name, body), workflow)


def outcome(ticket: Ticket, response: HttpResponse) -> Outcome:
    return ticket.read_answer("steps", response.headers["Workflow-Outcome"]).outcome


def signed(
    subject: str = "delivery:steps",
    *,
    by: Signer | None = None,
    body: bytes = ticket.body(),
    claims: Any = None,
    at: datetime | None = None,
) -> str:
    named = {"delivery": 1, "token": 1, "entry": 0} if claims is None else claims
    return (by or signer()).sign(subject=subject, body=body, claims=named, now=at)


def unsigned_jwt() -> str:
    header, payload, _ = signed().split(".")
    header = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').decode().rstrip("=")
    return f"{header}.{payload}."


def other_algorithm() -> str:
    payload = jwt.decode(signed(), options={"verify_signature": False})
    key = derive_key(settings.SECRET_KEY, PURPOSE)
    return jwt.encode(payload, key.ljust(64, "0"), "HS512")


def now() -> datetime:
    return datetime.now(UTC)


FORGERIES = {
    "empty": lambda: "",
    "no JWT": lambda: "open sesame",
    "no algorithm": unsigned_jwt,
    "another algorithm": other_algorithm,
    "unknown key": lambda: signed(by=Signer([NEW], "django_workflow")),
    "another issuer": lambda: signed(by=Signer([derive_key(settings.SECRET_KEY, PURPOSE)], "else")),
    "another workflow": lambda: signed("delivery:other"),
    "an answer": lambda: signed("outcome:steps", body=b""),
    "another body": lambda: signed(body=b'{"workflow_run_id":"order-2","delivery":1}'),
    "expired": lambda: signed(at=now() - timedelta(minutes=6)),
    "of the future": lambda: signed(at=now() + timedelta(minutes=1)),
    "no claims": lambda: signed(claims={}),
    "claims of other types": lambda: signed(claims={"delivery": "1", "token": 1.0, "entry": True}),
    "cut": lambda: signed()[:-1],
    "very long": lambda: "a" * 100_000,
}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES.keys())
def test_forged_delivery_gets_one_constant_answer_before_the_database_is_asked(forge: Any) -> None:
    # Without the mark that opens the database to a test, any query would fail it.
    response = posted(ticket.body(), forge())

    assert response.status_code == 401
    assert json.loads(response.content) == {"detail": "The signature is not valid."}
    assert response.headers["WWW-Authenticate"] == "Workflow-Signature"
    assert "Workflow-Outcome" not in response.headers


@given(st.text(st.characters(max_codepoint=255), max_size=300))
def test_random_signatures_are_refused(signature: str) -> None:
    assert posted(ticket.body(), signature).status_code == 401


@given(st.data())
def test_signature_changed_in_one_character_is_refused(data: st.DataObject) -> None:
    genuine = signed()
    place = data.draw(st.integers(0, len(genuine) - 1))
    other = data.draw(st.characters(codec="latin-1").filter(lambda c: c != genuine[place]))

    response = posted(ticket.body(), genuine[:place] + other + genuine[place + 1 :])

    assert response.status_code == 401


@given(st.binary(max_size=100).filter(lambda body: body != ticket.body()))
def test_any_other_body_is_refused(body: bytes) -> None:
    assert posted(body, signed()).status_code == 401


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"workflow_run_id": 7}', b"\xff", b"["])
def test_genuine_message_that_is_no_delivery_is_refused(body: bytes) -> None:
    assert posted(body, signed(body=body)).status_code == 401


def test_delivery_is_not_read_beyond_its_limit() -> None:
    body = b" " * 5000

    response = posted(body, signed(body=body))

    assert response.status_code == 413


def test_signed_request_of_another_method_is_refused() -> None:
    request = requests.put("/", ticket.body(), headers={"Workflow-Signature": signed()})

    assert answer(runs.steps, request).status_code == 405


def test_refusal_is_told_to_the_operator(caplog: pytest.LogCaptureFixture) -> None:
    posted(ticket.body(), signed(at=now() - timedelta(minutes=6)))

    assert 'A delivery for workflow "steps" was refused: The signature expired' in caplog.text


def test_unknown_workflow_is_not_found_before_anything_is_looked_at() -> None:
    request = requests.post("/", headers={"Workflow-Signature": "x"})

    assert by_name(request, "nobody").status_code == 404


@pytest.mark.django_db(transaction=True)
class TestGenuineDelivery:
    def test_is_answered_without_a_body(self) -> None:
        runs.steps.trigger(["a"])

        response = delivered(Ticket.of(claimed(Run.objects.get())))

        assert (response.status_code, response.content) == (204, b"")
        assert "Content-Type" not in response.headers

    def test_executes_one_step_and_tells_that_there_is_more(self) -> None:
        claim = claimed(runs.steps.trigger(["a", "b"]))

        response = delivered(Ticket.of(claim))

        assert outcome(Ticket.of(claim), response) is Outcome.AGAIN
        assert runs.done == ["a"]

    def test_repeated_a_hundred_times_has_one_effect(self) -> None:
        claim = claimed(runs.steps.trigger(["a", "b"]))

        statuses = [delivered(Ticket.of(claim)).status_code for _ in range(100)]

        assert statuses == [204] + [409] * 99
        assert runs.done == ["a"]

    def test_repeated_at_the_same_moment_has_one_effect(self) -> None:
        claim = claimed(runs.steps.trigger(["a", "b"]))
        body = Ticket.of(claim).body()
        signature = Ticket.of(claim).sign("steps", body)
        barrier = Barrier(8)

        def post(number: int) -> int:
            try:
                barrier.wait()
                return posted(body, signature).status_code
            finally:
                connection.close()

        with ThreadPoolExecutor(8) as threads:
            statuses = sorted(threads.map(post, range(8)))

        assert statuses == [204] + [409] * 7
        assert runs.done == ["a"]

    def test_under_a_token_that_was_taken_over_does_nothing(self) -> None:
        run = runs.steps.trigger(["a"])
        stale = claimed(run)
        claims.release([(stale.delivery_id, stale.token)])
        claimed(run)

        response = delivered(Ticket.of(stale))

        assert response.status_code == 409
        assert outcome(Ticket.of(stale), response) is Outcome.STALE
        assert runs.done == []

    def test_arriving_after_a_newer_one_does_nothing(self) -> None:
        claim = claimed(runs.steps.trigger(["a", "b", "c"]))
        first = Ticket.of(claim)
        delivered(first)
        claim.entry += 1
        delivered(Ticket.of(claim))

        assert delivered(first).status_code == 409
        assert runs.done == ["a", "b"]

    def test_ahead_of_its_turn_does_nothing(self) -> None:
        claim = claimed(runs.steps.trigger(["a"]))
        claim.entry += 1

        assert delivered(Ticket.of(claim)).status_code == 409
        assert runs.done == []

    def test_after_the_end_of_its_lease_does_nothing(self) -> None:
        claim = claimed(runs.steps.trigger(["a"]))
        lose_lease()

        assert delivered(Ticket.of(claim)).status_code == 409
        assert runs.done == []

    def test_for_another_run_than_its_delivery_belongs_to_does_nothing(self) -> None:
        claim = claimed(runs.steps.trigger(["a"]))
        mixed = Ticket(
            run_id="order-2", delivery_id=claim.delivery_id, token=claim.token, entry=claim.entry
        )

        assert delivered(mixed).status_code == 409
        assert runs.done == []

    def test_for_another_workflow_than_its_run_follows_does_nothing(self) -> None:
        claim = claimed(runs.steps.trigger(["a"]))

        assert delivered(Ticket.of(claim), runs.other).status_code == 409
        assert runs.done == []

    def test_of_an_unknown_delivery_does_nothing(self) -> None:
        assert delivered(ticket).status_code == 409

    def test_state_in_the_body_is_ignored(self) -> None:
        run = runs.steps.trigger(["a", "b"])
        claim = claimed(run)
        claimed_state = {"steps": [{"key": "a", "result": "forged"}], "status": "completed"}
        body = json.dumps(
            {"workflow_run_id": run.id, "delivery": -1, "token": 7, **claimed_state}
        ).encode()

        response = posted(body, Ticket.of(claim).sign("steps", body))

        assert response.status_code == 204
        assert (recorded(run), run.steps.get().result) == (["a"], "a")

    def test_inside_a_transaction_is_refused_and_says_so(self) -> None:
        claim = claimed(runs.steps.trigger(["a"]))

        with transaction.atomic():
            response = delivered(Ticket.of(claim))

        found = Ticket.of(claim).read_answer("steps", response.headers["Workflow-Outcome"])
        assert (response.status_code, found.outcome) == (503, Outcome.TROUBLE)
        assert "inside an open transaction" in found.reason
        assert runs.done == []


@pytest.fixture
def claim() -> Iterator[Any]:
    run = runs.steps.trigger(["a", "b", "c"])
    yield claimed(run)
    Delivery.objects.all().delete()


@pytest.mark.django_db(transaction=True)
class TestRotation:
    def sign(self, claim: Any) -> tuple[bytes, str]:
        body = Ticket.of(claim).body()
        return body, Ticket.of(claim).sign("steps", body)

    @pytest.mark.parametrize(
        "after",
        [
            {"WORKFLOW": {"SIGNING_KEYS": [NEW, OLD]}},
            {"WORKFLOW": {"SIGNING_KEYS": [OLD, NEW]}},
        ],
    )
    def test_key_is_accepted_while_it_is_named(self, claim: Any, after: Any) -> None:
        with override_settings(WORKFLOW={"SIGNING_KEYS": [OLD]}):
            message = self.sign(claim)

        with override_settings(**after):
            assert posted(*message).status_code == 204

    def test_revoked_key_is_refused(self, claim: Any) -> None:
        with override_settings(WORKFLOW={"SIGNING_KEYS": [OLD]}):
            message = self.sign(claim)

        with override_settings(WORKFLOW={"SIGNING_KEYS": [NEW]}):
            assert posted(*message).status_code == 401

    def test_secret_key_is_accepted_while_it_is_a_fallback(self, claim: Any) -> None:
        with override_settings(SECRET_KEY=OLD):
            message = self.sign(claim)

        with override_settings(SECRET_KEY=NEW, SECRET_KEY_FALLBACKS=[OLD]):
            assert posted(*message).status_code == 204

    def test_replaced_secret_key_is_refused(self, claim: Any) -> None:
        with override_settings(SECRET_KEY=OLD):
            message = self.sign(claim)

        with override_settings(SECRET_KEY=NEW):
            assert posted(*message).status_code == 401

    def test_secret_key_opens_nothing_where_keys_are_named(self, claim: Any) -> None:
        message = self.sign(claim)

        with override_settings(WORKFLOW={"SIGNING_KEYS": [NEW]}):
            assert posted(*message).status_code == 401

    def test_key_of_bytes_serves_as_well(self, claim: Any) -> None:
        with override_settings(SECRET_KEY=OLD.encode()):
            assert posted(*self.sign(claim)).status_code == 204

    def test_another_issuers_message_is_refused(self, claim: Any) -> None:
        with override_settings(WORKFLOW={"ISSUER": "staging"}):
            message = self.sign(claim)

        assert posted(*message).status_code == 401
        assert runs.done == []

    def test_answer_is_signed_with_the_current_key(self, claim: Any) -> None:
        with override_settings(WORKFLOW={"SIGNING_KEYS": [NEW, OLD]}):
            given = Ticket.of(claim).sign_answer("steps", Answer(outcome=Outcome.OVER))

        with override_settings(WORKFLOW={"SIGNING_KEYS": [NEW]}):
            assert Ticket.of(claim).read_answer("steps", given).outcome is Outcome.OVER
