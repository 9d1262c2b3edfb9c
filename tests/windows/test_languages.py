"""Every page of the admin in each language that is shipped: it opens, and says nothing of ours in English."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.template.loader import render_to_string
from django.test import Client, override_settings
from django.utils.translation import override

from django_workflow.core.types import StepKind
from django_workflow.core.workflow import registry
from django_workflow.models import Approval, Run
from django_workflow.runtime.approval_mail import link_for
from tests.test_translations import LANGUAGES, PLACEHOLDER, entries, forms
from tests.windows.test_admin_roles import EXPECTED, NOBODY, path_of, rows
from tests.windows.test_approvals import ANN, box, started

__all__ = ["box", "rows"]

pytestmark = pytest.mark.django_db(transaction=True)

#: What the tests' own rows are called, and kinds of steps.
NAMES = {"failed", "waiting", "key", *map(str, StepKind)}
TEXTS = re.compile(r">([^<>]+)<|(?:aria-label|title|placeholder)=\"([^\"]+)\"")


@pytest.fixture(params=LANGUAGES)
def language(request: pytest.FixtureRequest, settings: Any) -> Iterator[str]:
    settings.LANGUAGE_CODE = request.param
    with override(request.param):
        yield request.param


def said(page: str) -> set[str]:
    """Return the texts of a page, each as a reader sees it."""
    bare = re.sub(r"<(script|style|pre|code)\b.*?</\1>", "", page, flags=re.DOTALL)
    found = (html.unescape(one or other) for one, other in TEXTS.findall(bare))
    return {" ".join(text.split()) for text in found}


def english(language: str) -> set[str]:
    """Return what must not be read on a page: our own texts without a placeholder, where the translation differs."""
    found, own = set(), set()
    for (context, msgid), entry in entries(language).items():
        own |= set(forms(entry))
        if not context and not PLACEHOLDER.search(msgid):
            found.add(msgid)
    return found - own - NAMES - {workflow.name for workflow in registry}


@pytest.mark.parametrize("name", sorted(name for name in EXPECTED if EXPECTED[name].get != NOBODY))
def test_no_page_says_anything_of_ours_in_english(name: str, language: str, rows: Any) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("boss"))
    if EXPECTED[name].row == "approval":
        User.objects.create_superuser("clerk")
        client.force_login(User.objects.get(username="clerk"))

    response = client.get(path_of(name, rows))

    assert response.status_code in (200, 302), name
    kind = response.get("Content-Type", "")
    if response.status_code == 200 and kind.startswith("text/html"):
        page = response.content.decode()
        if "<html" in page:
            assert f'lang="{language}"' in page
        assert said(page) & english(language) == set()


WORDS = {
    "de": ("Genehmigen", "Kommentar", "Bitte entscheiden Sie bis", "Sie haben dies genehmigt."),
    "es": ("Aprobar", "Comentario", "Decida, por favor", "Usted ha aprobado esto."),
}


def test_an_approval_its_mail_and_its_answer(language: str, box: Any, client: Client) -> None:
    approve, comment, asks, done = WORDS[language]
    _, approval = started(assignees=[ANN], title="Budget", description="For May")
    link = link_for(approval, f"email:{ANN}")

    page = client.get(link).content.decode()
    answer = client.post(link, {"workflow_decision": "approve"}).content.decode()

    assert f'<html lang="{language}">' in page
    assert approve in page
    assert comment in page
    assert said(page) & english(language) == set()
    assert asks in "".join(str(message.body) for message in mail.outbox)
    assert done in html.unescape(answer)
    assert Approval.objects.get().decision == "approved"


def test_the_live_view(language: str, box: Any) -> None:
    run, _ = started(assignees=[ANN])
    word = {"de": "läuft", "es": "en curso"}[language]

    page = render_to_string(
        "django_workflow/live.html",
        {
            "status": run.status,
            "status_label": run.get_status_display(),
            "progress": {"percent": 5},
        },
    )

    assert word in page
    assert {"de": "Fortschritt", "es": "Progreso"}[language] in page


def test_a_reason_is_translated_for_pages_and_english_for_programs(language: str, box: Any) -> None:
    run, _ = started(assignees=[ANN])
    found = Run.objects.get(pk=run.pk)

    assert found.reason.startswith(f'"sign" is waiting for approval by {ANN} until ')
    assert found.translated_reason.startswith(
        {
            "de": f"„sign“ wartet auf die Genehmigung durch {ANN} bis ",
            "es": f"“sign” espera la aprobación de {ANN} hasta ",
        }[language]
    )
    (step,) = found.waiting_for
    assert step.reason == found.reason
    assert step.translated_reason == found.translated_reason


def test_the_history_is_translated_on_its_page_and_english_as_json(
    language: str, rows: Any
) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("boss"))
    path = path_of("run_happened", rows)

    page = said(client.get(path).content.decode())
    told = {one["what"] for one in client.get(f"{path}?format=json").json()}

    assert {"run created", "run started", "run failed", "note (code)"} <= told
    assert not told & page
    assert {"de": "Lauf fehlgeschlagen", "es": "ejecución fallida"}[language] in page
    assert {"de": "notieren (Code)", "es": "anotar (código)"}[language] in page


@pytest.mark.parametrize("code", ["ar", "he"])
def test_the_page_of_an_approval_runs_from_right_to_left(
    code: str, box: Any, client: Client
) -> None:
    with override_settings(LANGUAGE_CODE=code), override(code):
        _, approval = started(assignees=[ANN])

        page = client.get(link_for(approval, f"email:{ANN}")).content.decode()

    assert f'<html lang="{code}" dir="rtl">' in page
    assert "<form" in page
