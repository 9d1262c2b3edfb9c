"""The form that starts a run like another, with a field for each part of the payload."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from html import unescape
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from django_workflow import Workflow, workflow
from django_workflow.core.codec import codec
from django_workflow.core.workflow import registry
from django_workflow.models import Run
from tests.windows import start_types
from tests.windows.start_types import Colour, Parcel

pytestmark = pytest.mark.django_db(transaction=True)

FULL: dict[str, Any] = {
    "text": "two\nlines",
    "whole": 7,
    "number": 1.5,
    "price": Decimal("12.50"),
    "is_gift": True,
    "day": date(2026, 11, 21),
    "at": datetime(2026, 11, 21, 14, 30, tzinfo=UTC),
    "key": UUID(int=5),
    "colour": Colour.BLUE,
    "size": "l",
    "speed": "fast",
    "note": None,
    "tags": ["a", "b"],
}
#: What a browser sends back of that form, unchanged.
SENT = {
    "payload-text": "two\r\nlines",
    "payload-whole": "7",
    "payload-number": "1.5",
    "payload-price": "12.50",
    "payload-is_gift": "on",
    "payload-day": "2026-11-21",
    "payload-at": "2026-11-21T14:30:00+00:00",
    "payload-key": str(UUID(int=5)),
    "payload-colour": "1",
    "payload-size": "1",
    "payload-speed": "1",
    "payload-note": "",
    "payload-tags": '["a", "b"]',
    "payload-extra": "",
    "workflow_run_id": "two",
    "why": "",
}


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    yield
    for one in list(registry):
        if one.name.startswith("start_"):
            registry.remove(one.name)


@pytest.fixture
def boss() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("boss"))
    return client


def started(name: str, payload: Any, *, options: Any = None, **given: Any) -> Workflow[Any, Any]:
    made = workflow(name=f"start_{name}", transport="inline", **given)(getattr(start_types, name))
    made.trigger(payload, workflow_run_id="one", **(options or {}))
    return made


def url() -> str:
    return reverse("admin:django_workflow_run_trigger", args=["one"])


def page(client: Client, query: str = "") -> str:
    response = client.get(url() + query)
    assert response.status_code == 200
    return response.content.decode()


def sent(client: Client, data: dict[str, str]) -> str:
    """Send the form; return the page that follows, empty where a run was started."""
    response = client.post(url(), data)
    if response.status_code == 302:
        return ""
    return unescape(response.content.decode())


def payload_of(run_id: str = "two") -> Any:
    """As the function gets it."""
    return codec.loads(Run.objects.get(pk=run_id).payload_text or "null")


def filled(html: str) -> dict[str, str]:
    """What a browser would send of the payload's fields."""
    found = {}
    for name, attributes in re.findall(r'<input type="\w+" name="(payload-[^"]+)"([^>]*)>', html):
        value = re.search(r'value="([^"]*)"', attributes)
        found[name] = value[1] if value else "on" if "checked" in attributes else ""
    areas = r'<textarea name="(payload-[^"]+)"[^>]*>\n(.*?)</textarea>'
    found.update(re.findall(areas, html, re.DOTALL))
    for name, options in re.findall(
        r'<select name="(payload-[^"]+)"[^>]*>(.*?)</select>', html, re.DOTALL
    ):
        chosen = re.search(r'value="(\w*)" selected', options)
        found[name] = chosen[1] if chosen else ""
    return {name: unescape(value) for name, value in found.items()}


def test_each_part_has_a_field_of_its_type_filled_in(boss: Client) -> None:
    started("everything", FULL)

    html = page(boss)

    found = filled(html)
    assert found.pop("payload-tags").split() == ["[", '"a",', '"b"', "]"]
    assert found == {
        name: value.replace("\r\n", "\n")
        for name, value in SENT.items()
        if name.startswith("payload-") and name != "payload-tags"
    }
    assert 'type="date" name="payload-day"' in html
    assert 'type="checkbox" name="payload-is_gift"' in html
    assert "BLUE</option>" in html
    assert "LARGE</option>" in html
    assert 'name="payload"' not in html


def test_sent_as_it_was_shown_it_starts_a_run_with_an_equal_payload(boss: Client) -> None:
    started("everything", FULL)

    assert sent(boss, SENT) == ""

    assert codec.dumps(payload_of(), what="new") == codec.dumps(payload_of("one"), what="old")


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("whole", "1.5", "Enter a whole number."),
        ("whole", "", "This field is required."),
        ("whole", "9" * 5000, "It has too many digits."),
        ("number", "much", "Enter a number."),
        ("number", "nan", "Enter a number."),
        ("price", "12,50", "Enter a number."),
        ("price", "Infinity", "Enter a number."),
        ("day", "21.11.2026", "Enter a date as 2026-11-21."),
        ("at", "tomorrow", "Enter a time as"),
        ("at", "2026-11-21T14:30:00", "Say in which time zone it is"),
        ("key", "5", "Enter a valid UUID."),
        ("colour", "7", "Choose one of these."),
        ("colour", "RED", "Choose one of these."),
        ("speed", "", "This field is required."),
        ("tags", "[", "This is no JSON that could be stored"),
        ("text", "a\0b", "Null characters are not allowed."),
    ],
)
def test_what_does_not_fit_is_told_at_its_field(
    name: str, text: str, says: str, boss: Client
) -> None:
    started("everything", FULL)

    html = sent(boss, {**SENT, f"payload-{name}": text})

    rows = html.split('<div class="form-row')
    assert [row for row in rows if says in row and f'name="payload-{name}"' in row]
    assert sum("errorlist" in row for row in rows) == 1
    assert not Run.objects.filter(pk="two").exists()


def test_other_values_are_taken(boss: Client) -> None:
    started("everything", FULL)
    data = SENT | {
        "payload-note": "a word",
        "payload-extra": "3",
        "payload-number": "4",
        "payload-colour": "0",
        "payload-size": "0",
        "payload-tags": "[]",
        "payload-price": "1E+2",
    }
    del data["payload-is_gift"]

    assert sent(boss, data) == ""

    assert payload_of() == FULL | {
        "note": "a word",
        "extra": 3,
        "number": 4,
        "colour": Colour.RED,
        "size": "s",
        "tags": [],
        "price": Decimal("1E+2"),
        "is_gift": False,
    }


def test_a_part_that_is_stored_otherwise_is_asked_for_as_json(boss: Client) -> None:
    """As plain JSON is that comes in by HTTP: a date is a text there."""
    started("everything", {**FULL, "day": "2026-11-21", "whole": "7"})

    found = filled(page(boss))
    assert (found["payload-day"], found["payload-whole"]) == ('"2026-11-21"', '"7"')
    assert found["payload-number"] == "1.5"

    assert sent(boss, {**SENT, "payload-day": '"2026-11-22"', "payload-whole": '"8"'}) == ""
    assert payload_of() == {**FULL, "day": "2026-11-22", "whole": "8"}


def test_a_dataclass_is_made_of_its_fields_and_may_refuse(boss: Client) -> None:
    started("parcel", Parcel("Riga", 3))
    found = filled(page(boss))
    assert found["payload-fragile"] == "1", "a part with a default may be left out"

    html = sent(boss, {**found, "payload-weight": "31", "workflow_run_id": "two"})
    assert "more than 30 kg are not carried" in html
    html = sent(
        boss, {**found, "payload-weight": "4", "payload-marks": "", "workflow_run_id": "two"}
    )

    assert html == ""
    assert payload_of() == Parcel("Riga", 4)


def test_a_dataclass_that_was_given_as_json_stays_so(boss: Client) -> None:
    started("parcel", {"city": "Riga", "weight": 3})

    assert (
        sent(boss, {"payload-city": "Oslo", "payload-weight": "3", "workflow_run_id": "two"}) == ""
    )

    assert payload_of() == {"city": "Oslo", "weight": 3}


def test_a_single_value_has_a_single_field(boss: Client) -> None:
    started("count", 5)
    assert filled(page(boss)) == {"payload-value": "5"}

    assert "Enter a whole number." in sent(boss, {"payload-value": "x", "workflow_run_id": "two"})
    assert sent(boss, {"payload-value": "6", "workflow_run_id": "two"}) == ""

    assert payload_of() == 6


@pytest.mark.parametrize("name", ["anything", "bare", "broken"])
def test_without_an_annotation_it_is_json(name: str, boss: Client) -> None:
    started(name, {"n": 1})

    html = page(boss)

    assert 'name="payload"' in html
    assert "payload-" not in html
    assert "as=json" not in html


@pytest.mark.parametrize(
    "payload", [{"city": "Riga", "weight": 3, "colour": "red"}, ["Riga", 3], "Riga"]
)
def test_what_does_not_fit_the_annotation_is_json(payload: Any, boss: Client) -> None:
    started("parcel", payload)

    html = page(boss)

    assert 'name="payload"' in html
    assert "payload-" not in html


def test_one_may_write_json_instead(boss: Client) -> None:
    started("parcel", Parcel("Riga", 3))
    assert 'href="?as=json"' in page(boss)

    html = page(boss, "?as=json")
    assert 'name="payload"' in html
    assert "payload-" not in html
    assert 'href="?"' in html

    broken = sent(boss, {"payload": "{", "workflow_run_id": "two"})
    assert "This is no JSON" in broken
    assert 'name="payload"' in broken
    assert sent(boss, {"payload": '{"city": 1}', "workflow_run_id": "two"}) == ""
    assert payload_of() == {"city": 1}


# What is hidden

CARD = {"card": "4111", "city": "Riga", "holder": {"name": "Ann", "pin": "0815"}, "is_known": True}
HIDES = ["card", "holder.pin", "is_known"]


@pytest.mark.parametrize("by", ["workflow", "trigger"])
def test_what_is_redacted_is_neither_shown_nor_lost(by: str, boss: Client) -> None:
    if by == "workflow":
        started("card", CARD, redact=HIDES)
    else:
        started("card", CARD, options={"redact": HIDES})

    html = page(boss)

    assert "4111" not in html
    assert "0815" not in html
    assert "Ann" not in html
    assert filled(html) == {
        "payload-card": "",
        "payload-city": "Riga",
        "payload-holder": "",
        "payload-is_known": "",
    }
    data = {**filled(html), "payload-city": "Oslo", "workflow_run_id": "two"}
    wrong = sent(boss, {**data, "workflow_run_id": ""})
    assert "4111" not in wrong
    assert sent(boss, data) == ""
    assert payload_of() == {**CARD, "city": "Oslo"}
    new = Run.objects.get(pk="two")
    assert new.mask.payload(CARD)["card"].startswith("REDACTED:"), "hidden of the new run too"


def test_what_is_redacted_may_be_given_anew(boss: Client) -> None:
    started("card", CARD, redact=HIDES)

    given = {"payload-card": "5500", "payload-city": "Riga", "payload-is_known": "1"}
    assert sent(boss, {**given, "workflow_run_id": "two"}) == ""

    assert payload_of() == {**CARD, "card": "5500", "is_known": False}


@pytest.mark.parametrize("schema", [start_types.CardForm, start_types.no_cards])
def test_an_error_does_not_tell_what_is_hidden(schema: Any, boss: Client) -> None:
    made = started("card", CARD, redact=HIDES)
    registry.remove(made.name)
    workflow(name=made.name, payload_schema=schema, redact=HIDES)(start_types.card)
    data = {"payload-city": "Daugavpils", "workflow_run_id": "two"}

    html = sent(boss, data)

    assert "Why is not shown: it may tell what is hidden." in html
    assert "4111" not in html
    assert not Run.objects.filter(pk="two").exists()


def test_without_view_payload_nothing_is_filled_in_and_nothing_kept(boss: Client) -> None:
    started("card", CARD, redact=["card"])
    user = User.objects.create_user("clerk", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_run", "trigger_run"]))
    clerk = Client()
    clerk.force_login(user)

    found = filled(page(clerk))
    assert set(found.values()) == {""}
    html = sent(clerk, {**found, "workflow_run_id": "two"})

    assert html.count("This field is required.") == 3
    assert "Riga" not in html
    assert not Run.objects.filter(pk="two").exists()


def test_errors_of_a_schema_stand_at_their_field(boss: Client) -> None:
    started("card", {"card": "1", "city": "Riga"}, payload_schema=start_types.CardForm)
    data = {"payload-card": "1", "payload-city": "Daugavpils", "workflow_run_id": "two"}

    html = sent(boss, data)

    row = next(row for row in html.split('<div class="form-row') if 'name="payload-city"' in row)
    assert "at most 5 characters" in row
    assert sent(boss, {**data, "payload-city": "Oslo"}) == ""
    assert payload_of() == {"card": "1", "city": "Oslo"}
