from __future__ import annotations

import base64
import json
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from string import ascii_letters, digits
from typing import Any

import jwt
import pytest

from django_workflow.core.exceptions import InvalidOptionError, SignatureError
from django_workflow.core.signing import Signer, derive_key

URL = "https://example.org/workflows/fulfil-order/"
BODY = b'{"order_id": 42}'
NOW = datetime(2030, 1, 1, tzinfo=UTC)

CURRENT = derive_key("current", "deliveries")
NEXT = derive_key("next", "deliveries")
STRANGE = derive_key("strange", "deliveries")

CLAIMS: dict[str, Any] = {
    "iss": "django_workflow",
    "sub": URL,
    "iat": 1_893_456_000,
    "nbf": 1_893_456_000,
    "exp": 1_893_456_300,
    "jti": "1",
    "body": "8LplJeUjb6HxWELoXXG4XyQEq_S5VnoDCqTeuyy8V6E",
}


@pytest.fixture
def signer() -> Signer:
    return Signer((CURRENT, NEXT), "django_workflow")


@pytest.fixture
def token(signer: Signer) -> str:
    return signer.sign(subject=URL, body=BODY, claims={"delivery": 7, "token": 3}, now=NOW)


def encoded(claims: object, key: str = CURRENT, algorithm: str = "HS256") -> str:
    return jwt.PyJWS().encode(json.dumps(claims).encode(), key, algorithm)


def segment(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def verdict(signer: Signer, token: str) -> str:
    try:
        signer.verify(token, subject=URL, body=BODY, now=NOW)
    except SignatureError:
        return "refused"
    return "accepted"


def test_genuine_message_is_accepted_with_its_claims(signer: Signer, token: str) -> None:
    claims = signer.verify(token, subject=URL, body=BODY, now=NOW)

    assert (claims["delivery"], claims["token"]) == (7, 3)
    assert {name: claims[name] for name in ("iss", "sub", "iat", "nbf", "exp")} == {
        "iss": "django_workflow",
        "sub": URL,
        "iat": 1_893_456_000,
        "nbf": 1_893_456_000,
        "exp": 1_893_456_300,
    }


def test_token_is_a_jwt_that_other_libraries_read(token: str) -> None:
    claims = jwt.decode(token, CURRENT, algorithms=["HS256"], options={"verify_exp": False, "verify_nbf": False, "verify_iat": False})  # fmt: skip

    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT"}
    assert claims["body"] == CLAIMS["body"]


def test_token_that_another_library_made_is_accepted(signer: Signer) -> None:
    token = jwt.encode(CLAIMS, CURRENT, algorithm="HS256", headers={"typ": None})

    assert verdict(signer, token) == "accepted"


def test_padding_of_the_body_hash_is_left_to_the_sender(signer: Signer) -> None:
    token = encoded({**CLAIMS, "body": f"{CLAIMS['body']}="})

    assert verdict(signer, token) == "accepted"


def test_message_without_claims_or_body_can_be_signed_by_the_clock(signer: Signer) -> None:
    token = signer.sign(subject="/webhooks/1/", body=b"")

    assert signer.verify(token, subject="/webhooks/1/", body=b"")["sub"] == "/webhooks/1/"


def test_every_token_has_an_id_of_its_own(signer: Signer) -> None:
    tokens = {signer.sign(subject=URL, body=BODY, now=NOW) for _ in range(20)}

    assert len(tokens) == 20


def test_current_key_signs(token: str) -> None:
    assert verdict(Signer((CURRENT,), "django_workflow"), token) == "accepted"
    assert verdict(Signer((NEXT,), "django_workflow"), token) == "refused"


@pytest.mark.parametrize("keys", [(NEXT, CURRENT), (STRANGE, NEXT, CURRENT)])
def test_message_signed_before_the_keys_were_rotated_is_accepted(
    keys: tuple[str, ...], token: str
) -> None:
    assert verdict(Signer(keys, "django_workflow"), token) == "accepted"


def test_unknown_key_is_refused_with_the_way_out(signer: Signer) -> None:
    token = Signer((STRANGE,), "django_workflow").sign(subject=URL, body=BODY, now=NOW)

    with pytest.raises(SignatureError, match=r'unknown key. Add the old key to WORKFLOW\["SIGNING_KEYS"\]'):  # fmt: skip
        signer.verify(token, subject=URL, body=BODY, now=NOW)


@pytest.mark.parametrize(
    "subject",
    ["http://example.org/workflows/fulfil-order/", "https://example.org/workflows/refund/",
     "https://example.org/workflows/fulfil-order", ""],
)  # fmt: skip
def test_message_for_another_address_is_refused(signer: Signer, token: str, subject: str) -> None:
    with pytest.raises(SignatureError, match=f'signed for "{URL}" and came to "{subject}"'):
        signer.verify(token, subject=subject, body=BODY, now=NOW)


@pytest.mark.parametrize("body", [b"", BODY + b" ", BODY[:-1], BODY.replace(b"42", b"43")])
def test_altered_body_is_refused(signer: Signer, token: str, body: bytes) -> None:
    with pytest.raises(SignatureError, match="body is not the one that was signed"):
        signer.verify(token, subject=URL, body=body, now=NOW)


def test_message_of_another_issuer_is_refused(token: str) -> None:
    with pytest.raises(SignatureError, match='signed by "django_workflow", and this door takes'):
        Signer((CURRENT,), "staging").verify(token, subject=URL, body=BODY, now=NOW)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(-31, "refused"), (-30, "accepted"), (0, "accepted"), (329, "accepted"), (330, "refused")],
)
def test_message_is_valid_for_five_minutes_with_clocks_half_a_minute_apart(
    signer: Signer, seconds: int, expected: str
) -> None:
    token = signer.sign(subject=URL, body=BODY, now=NOW - timedelta(seconds=seconds))

    assert verdict(signer, token) == expected


def test_expired_message_is_refused_with_its_age(signer: Signer, token: str) -> None:
    with pytest.raises(SignatureError, match=r"expired 1h55m ago\. Compare the clocks"):
        signer.verify(token, subject=URL, body=BODY, now=NOW + timedelta(hours=2))


def test_message_from_the_future_is_refused(signer: Signer, token: str) -> None:
    with pytest.raises(SignatureError, match=r"valid only in 2h\. Compare the clocks"):
        signer.verify(token, subject=URL, body=BODY, now=NOW - timedelta(hours=2))


def test_lifetime_can_be_given(signer: Signer) -> None:
    token = signer.sign(subject=URL, body=BODY, lifetime=timedelta(days=7), now=NOW)

    claims = signer.verify(token, subject=URL, body=BODY, now=NOW + timedelta(days=6))

    assert claims["exp"] - claims["iat"] == 7 * 86_400


@pytest.mark.parametrize("exp", [0, -(10**30), 10**30])
def test_times_beyond_all_calendars_do_no_harm(signer: Signer, exp: int) -> None:
    token = encoded({**CLAIMS, "exp": exp, "nbf": exp})

    assert verdict(signer, token) == "refused"


@pytest.mark.parametrize("name", sorted(CLAIMS))
def test_token_that_lacks_a_claim_is_refused(signer: Signer, name: str) -> None:
    token = encoded({key: value for key, value in CLAIMS.items() if key != name})

    with pytest.raises(SignatureError, match=f'lacks the claim "{name}"'):
        signer.verify(token, subject=URL, body=BODY, now=NOW)


@pytest.mark.parametrize("name", sorted(CLAIMS))
@pytest.mark.parametrize("value", [None, True, [], {}, float("nan"), 1e400])
def test_malformed_claim_is_refused(signer: Signer, name: str, value: object) -> None:
    token = encoded({**CLAIMS, name: value})

    with pytest.raises(SignatureError, match=f'claim "{name}", or it is malformed'):
        signer.verify(token, subject=URL, body=BODY, now=NOW)


@pytest.mark.parametrize("payload", [b"", b"[]", b"7", b"null", b"\xff", b"{", b"[" * 5_000])
def test_token_without_claims_is_refused(signer: Signer, payload: bytes) -> None:
    token = jwt.PyJWS().encode(payload, CURRENT, "HS256")

    with pytest.raises(SignatureError, match="holds no claims"):
        signer.verify(token, subject=URL, body=BODY, now=NOW)


@pytest.mark.parametrize("algorithm", ["HS384", "HS512", "none"])
def test_other_algorithms_are_refused(signer: Signer, algorithm: str) -> None:
    token = encoded(CLAIMS, CURRENT if algorithm != "none" else "", algorithm)

    with pytest.raises(SignatureError, match="not made by HS256, the only algorithm"):
        signer.verify(token, subject=URL, body=BODY, now=NOW)


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "hs256", "RS256", "", None, 7, []])
def test_header_that_names_another_algorithm_is_refused(
    signer: Signer, token: str, algorithm: object
) -> None:
    _, payload, signature = token.split(".")

    forged = f"{segment({'typ': 'JWT', 'alg': algorithm})}.{payload}.{signature}"

    assert verdict(signer, forged) == "refused"


@pytest.mark.parametrize(
    "garbage",
    ["x", ".", "..", "...", "a.b", "a.b.c", "a.b.c.d", "é.é.é", "\ud800.a.b", "\x00", " ", "Bearer x",
     f"{'W1tb' * 1_000}.a.b", f"{segment([])}.{segment({})}.", "e30.e30.e30"],
)  # fmt: skip
def test_garbage_is_refused(signer: Signer, garbage: str) -> None:
    assert verdict(signer, garbage) == "refused"


def test_missing_signature_is_refused(signer: Signer) -> None:
    with pytest.raises(SignatureError, match="carries no signature"):
        signer.verify("", subject=URL, body=BODY)


def test_endless_signature_is_refused_unread(signer: Signer) -> None:
    with pytest.raises(SignatureError, match="longer than 8,192 characters"):
        signer.verify("a" * 8_193, subject=URL, body=BODY)


@pytest.mark.parametrize(
    "respell",
    [
        lambda token: f"{token}=",
        lambda token: f"{token}==",
        lambda token: f"{token}\n",
        lambda token: f" {token}",
        lambda token: f"{token}.",
        lambda token: f"{token[:-5]}!{token[-5:]}",
        lambda token: token.replace(".", "=.", 1),
        lambda token: token[:-1] + chr(ord(token[-1]) + 1),
    ],
)
def test_genuine_token_is_accepted_in_one_spelling_only(
    signer: Signer, token: str, respell: Callable[[str], str]
) -> None:
    assert verdict(signer, respell(token)) == "refused"


def mutated(token: str, random: Random) -> str:
    place = random.randrange(len(token))
    char = random.choice((ascii_letters + digits + "-_.=+/ \n\x00é").replace(token[place], ""))
    kinds = [
        token[:place] + char + token[place + 1 :],
        token[:place] + char + token[place:],
        token[:place] + token[place + 1 :],
        token[:place],
        token[place + 1 :],
        token[:place] + token[place:].swapcase(),
    ]
    return random.choice([kind for kind in kinds if kind != token])


def test_none_of_two_thousand_mutated_tokens_is_accepted(signer: Signer, token: str) -> None:
    random = Random(42)

    verdicts = {verdict(signer, mutated(token, random)) for _ in range(2_000)}

    assert verdict(signer, token) == "accepted"
    assert verdicts == {"refused"}


@pytest.mark.parametrize("name", sorted(CLAIMS))
def test_reserved_claims_cannot_be_given(signer: Signer, name: str) -> None:
    with pytest.raises(InvalidOptionError, match=f"{name}.* set by the signer"):
        signer.sign(subject=URL, body=BODY, claims={name: 1})


def test_token_that_no_door_would_read_is_not_made(signer: Signer) -> None:
    with pytest.raises(InvalidOptionError, match="8,192 are the most"):
        signer.sign(subject=URL, body=BODY, claims={"note": "x" * 9_000})


@pytest.mark.parametrize("keys", [(), [], "", CURRENT, None])
def test_signer_without_keys_is_refused(keys: Any) -> None:
    with pytest.raises(InvalidOptionError, match="a tuple of keys"):
        Signer(keys, "django_workflow")


@pytest.mark.parametrize("keys", [("",), ("secret",), (CURRENT, "x" * 31)])
def test_short_key_is_refused_and_not_shown(keys: tuple[str, ...]) -> None:
    with pytest.raises(InvalidOptionError, match="32 are the least") as caught:
        Signer(keys, "django_workflow")

    assert "secret " not in str(caught.value)
    assert "x" * 31 not in str(caught.value)


def test_key_of_32_bytes_is_long_enough() -> None:
    signer = Signer(("é" * 16,), "django_workflow")

    assert signer.verify(signer.sign(subject=URL, body=b""), subject=URL, body=b"")


@pytest.mark.parametrize("forge", [lambda token: token[:-9], lambda token: token[:-1] + "!", lambda token: f"{token}{token}"])  # fmt: skip
def test_refusal_holds_no_key(signer: Signer, token: str, forge: Callable[[str], str]) -> None:
    with pytest.raises(SignatureError) as caught:
        signer.verify(forge(token), subject=URL, body=BODY, now=NOW)

    report = "".join(
        traceback.TracebackException.from_exception(caught.value, capture_locals=True).format()
    )
    assert "SignatureError" in report
    assert CURRENT not in report.replace(f"CURRENT = '{CURRENT}'", "")
    assert NEXT not in report


def test_signer_shows_no_key(signer: Signer) -> None:
    assert CURRENT not in repr(signer)


def test_derived_keys_stay_the_same_for_ever() -> None:
    key = derive_key("django-insecure-secret", "deliveries")

    assert key == "70ccdb3eb5ed310d81274a9f3b595439f265a442941a4703766d72bb10bfb947"


def test_derived_keys_differ_by_secret_and_purpose() -> None:
    keys = {derive_key(secret, purpose) for secret in ("a", "b") for purpose in ("x", "y")}

    assert len(keys) == 4
    assert {len(key) for key in keys} == {64}


def test_empty_secret_gives_no_key() -> None:
    with pytest.raises(InvalidOptionError, match="empty secret"):
        derive_key("", "deliveries")
