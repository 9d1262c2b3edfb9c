"""What is hidden, and that it is hidden wherever a path may lead."""

from __future__ import annotations

from typing import Any

import pytest

from django_workflow.core.exceptions import InvalidOptionError
from django_workflow.core.options import TriggerOptions, workflow_options
from django_workflow.core.redaction import MARK, Mask, checked_paths

KEY = b"k" * 32
PAYLOAD = {
    "card": {"number": "4111", "month": 7},
    "users": [{"name": "a", "password": "x"}, {"name": "b", "password": "y"}],
    "password": "z",
    "a.b": {"c": 1},
    "headers": {"d": 2},
    "none": None,
}


def hidden(value: Any, path: str = "") -> set[str]:
    """Return where marks stand."""
    if isinstance(value, dict):
        return {place for key, item in value.items() for place in hidden(item, f"{path}/{key}")}
    if isinstance(value, list):
        return {place for key, item in enumerate(value) for place in hidden(item, f"{path}/{key}")}
    return {path} if isinstance(value, str) and value.startswith(MARK) else set()


@pytest.mark.parametrize(
    ("path", "places"),
    [
        ("card.number", {"/card/number"}),
        ("payload.card.number", {"/card/number"}),
        ("card", {"/card"}),
        ("payload", {""}),
        ("**", {""}),
        ("*", {"/card", "/users", "/password", "/a.b", "/headers"}),
        ("users.password", {"/users/0/password", "/users/1/password"}),
        ("users.1.password", {"/users/1/password"}),
        ("users.*.password", {"/users/0/password", "/users/1/password"}),
        ("*.password", {"/users/0/password", "/users/1/password"}),
        ("**.password", {"/users/0/password", "/users/1/password", "/password"}),
        ("card.**", {"/card"}),
        (r"a\.b.c", {"/a.b/c"}),
        ("payload.headers.d", {"/headers/d"}),
        ("headers.d", set()),
        ("steps.x", set()),
        ("nowhere.to.be.found", set()),
        ("card.number.digits", set()),
        ("none", set()),
    ],
)
def test_a_path_of_the_payload_hides_what_it_leads_to(path: str, places: set[str]) -> None:
    assert hidden(Mask([path], KEY).payload(PAYLOAD)) == places


def test_what_is_not_hidden_stays_as_it_is() -> None:
    shown = Mask(["card.number"], KEY).payload(PAYLOAD)

    assert shown | {"card": None} == PAYLOAD | {"card": None}
    assert shown["card"]["month"] == 7
    assert PAYLOAD["card"] == {"number": "4111", "month": 7}


def test_equal_values_have_equal_marks_under_one_key_alone() -> None:
    mask = Mask([], KEY)

    assert mask.mark({"a": 1, "b": 2}) == mask.mark({"b": 2, "a": 1})
    assert mask.mark("1") != mask.mark(1)
    assert mask.mark("1") != Mask([], b"l" * 32).mark("1")


@pytest.mark.parametrize(
    "name",
    [
        "Authorization", "proxy-authorization", "Cookie", "Set-Cookie", "X-Api-Key", "apikey", "X-Auth-Token", "X-CSRFToken",
        "Stripe-Signature", "X-Client-Secret",
    ],
)  # fmt: skip
def test_secret_headers_are_hidden_without_being_asked_for(name: str) -> None:
    shown = Mask([], KEY).headers({name: "s", "Content-Type": "text/plain"})

    assert shown[name].startswith(MARK)
    assert shown["Content-Type"] == "text/plain"


@pytest.mark.parametrize("path", ["headers.X-CARD", "headers", "headers.*", "headers.**"])
def test_headers_are_hidden_whatever_their_case(path: str) -> None:
    assert Mask([path], KEY).headers({"x-card": "1"})["x-card"].startswith(MARK)


def test_results_of_the_run_and_of_steps_are_hidden_by_name() -> None:
    mask = Mask(["result.token", "steps.charge card.number", "steps.all of it"], KEY)

    assert hidden(mask.result({"token": 1, "number": 2})) == {"/token"}
    assert hidden(mask.step("charge card", {"token": 1, "number": 2})) == {"/number"}
    assert hidden(mask.step("all of it", [1])) == {""}
    assert hidden(mask.step("another", {"number": 2})) == set()
    assert mask.hides_of("charge card")
    assert not mask.hides_of("another")
    assert Mask(["steps.*.number"], KEY).hides_of("another")


@pytest.mark.parametrize(
    ("given", "part"),
    [
        (["a..b"], "empty"),
        ([""], "empty"),
        ([".a"], "empty"),
        ([5], "printable text"),
        (["a\nb"], "printable text"),
        (["x" * 401], "printable text"),
        (["steps"], "Name the step"),
        (["headers.a.b"], "no fields"),
        (["**.**.a"], "any depth"),
        (5, "list of paths"),
        ({"a": 1}, "list of paths"),
        (["a"] * 101, "100 paths"),
    ],
)
def test_a_path_that_can_mean_nothing_is_refused_at_once(given: Any, part: str) -> None:
    with pytest.raises(InvalidOptionError, match=part):
        TriggerOptions.checked(redact=given)
    with pytest.raises(InvalidOptionError, match=part):
        workflow_options({"redact": given})


def test_one_path_may_be_given_as_it_is() -> None:
    assert checked_paths("card.number") == ("card.number",)
    assert checked_paths(None) == ()
