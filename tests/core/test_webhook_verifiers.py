from __future__ import annotations

import base64
import hmac
from datetime import UTC, datetime

import pytest

from django_workflow.core import webhook_verifiers
from django_workflow.core.exceptions import InvalidOptionError
from django_workflow.core.webhook_verifiers import Signature

NOW = datetime(2030, 6, 1, 12, tzinfo=UTC)
STAMP = int(NOW.timestamp())
BODY = b'{"a": 1}'
KEY = "key"


def mac(signed: bytes, algorithm: str = "sha256") -> bytes:
    return hmac.new(KEY.encode(), signed, algorithm).digest()


def genuine(signature: Signature, headers: dict[str, str], body: bytes = BODY) -> bool:
    return signature.is_genuine(headers, body, ["old", KEY], NOW)


def test_stripe_signs_time_and_body() -> None:
    stripe = webhook_verifiers.stripe("S")
    made = mac(f"{STAMP}.".encode() + BODY).hex()

    assert genuine(stripe, {"Stripe-Signature": f"t={STAMP},v1=00,v1={made},v0=x"})
    assert not genuine(stripe, {"Stripe-Signature": f"t={STAMP},v0={made}"})
    assert not genuine(stripe, {"Stripe-Signature": f"t={STAMP + 1},v1={made}"})
    assert not genuine(stripe, {"Stripe-Signature": f"v1={made}"})


@pytest.mark.parametrize(("age", "fits"), [(0, True), (300, True), (301, False), (-301, False)])
def test_a_signed_time_must_be_recent(age: int, fits: bool) -> None:
    at = STAMP - age
    headers = {"Stripe-Signature": f"t={at},v1={mac(f'{at}.'.encode() + BODY).hex()}"}

    assert genuine(webhook_verifiers.stripe("S", tolerance="5m"), headers) is fits


def test_slack_signs_version_time_and_body() -> None:
    made = mac(f"v0:{STAMP}:".encode() + BODY).hex()
    headers = {"X-Slack-Request-Timestamp": str(STAMP), "X-Slack-Signature": f"v0={made}"}

    assert genuine(webhook_verifiers.slack("S"), headers)
    assert not genuine(webhook_verifiers.slack("S"), headers | {"X-Slack-Request-Timestamp": "²"})
    assert not genuine(webhook_verifiers.slack("S"), headers, b"other")


def test_shopify_signs_the_body_in_base64() -> None:
    headers = {"X-Shopify-Hmac-Sha256": base64.b64encode(mac(BODY)).decode()}

    assert genuine(webhook_verifiers.shopify("S"), headers)
    assert not genuine(webhook_verifiers.shopify("S"), {})


def test_any_other_provider_is_described() -> None:
    own = webhook_verifiers.hmac("S", header="X-Sig", algorithm="sha512", prefix="v=")

    assert genuine(own, {"X-Sig": "v=" + mac(BODY, "sha512").hex()})
    assert not genuine(own, {"X-Sig": mac(BODY, "sha512").hex()})
    assert Signature.from_json(own.to_json()) == own


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(InvalidOptionError, match="sha256"):
        webhook_verifiers.hmac("S", header="X", algorithm="md5")
    with pytest.raises(InvalidOptionError, match="header"):
        webhook_verifiers.hmac("S", header="")
