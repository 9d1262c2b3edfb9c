"""Those outside for whom runs wait: the boss who approves, the carrier who calls back, the customer who answers.

In earnest they are people and other systems. The demo plays them over the same ways in: a link in a mail, a webhook, an event.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import urlsplit

import httpx
from django.utils import timezone

from demo_project.shop import mail
from demo_project.shop.models import Booking
from demo_project.shop.workflows import AT_HOME, BOSS, parcel
from django_workflow import notify
from django_workflow.models import Approval, Run, Step

#: How long they let one wait.
AFTER = timedelta(seconds=1)
CSRF = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')


class Outsiders:
    """Plays them; the boss only where nobody sits at the terminal."""

    def __init__(self, address: str, *, plays_boss: bool) -> None:
        self.address = address
        self.plays_boss = plays_boss
        self.told: set[int] = set()

    def act(self) -> list[str]:
        """Do what is to be done by now; return what there is to tell."""
        self._answer()
        self._carry()
        return list(self._decide())

    def only_boss_missing(self, runs: list[Run]) -> bool:
        """Whether all that has not ended waits for the boss, whom we do not play."""
        asked = set(
            Approval.objects.open().filter(pk__in=self.told).values_list("run_id", flat=True)
        )
        return all(run.is_finished or run.id in asked for run in runs)

    def _decide(self) -> Iterator[str]:
        for approval in Approval.objects.open().order_by("pk"):
            asking = mail.asked_by(approval, BOSS)
            if asking is None:
                continue
            # The mail may be of an earlier start, which had another port.
            url = self.address + urlsplit(asking.link).path
            if approval.pk not in self.told:
                self.told.add(approval.pk)
                yield f"Mail to {BOSS}: {asking.subject} Approve or reject at {url}"
            if self.plays_boss and approval.created_at < timezone.now() - AFTER:
                self._approve(url)
                yield f"{BOSS} opens the link and approves."

    def _approve(self, url: str) -> None:
        with httpx.Client(trust_env=False) as browser:
            page = browser.get(url).raise_for_status().text
            form = {"workflow_decision": "approve", "csrfmiddlewaretoken": CSRF.findall(page)[0]}
            answer = browser.post(url, data=form)
        if answer.status_code != httpx.codes.GONE:  # somebody else was first
            answer.raise_for_status()

    def _carry(self) -> None:
        for booking in Booking.objects.filter(
            was_there=False, booked_at__lt=timezone.now() - AFTER
        ):
            url = self.address + urlsplit(booking.webhook).path
            answer = httpx.post(url, json={"state": "picked up"}, trust_env=False)
            if answer.status_code != httpx.codes.GONE:  # called before a kill, and not marked
                answer.raise_for_status()
            booking.was_there = True
            booking.save()

    def _answer(self) -> None:
        asked = Step.objects.filter(run__workflow=parcel.name, name=AT_HOME, status="waiting")
        for step in asked.select_related("run"):
            if step.run.payload["at_home"]:
                notify(f"at-home:{step.run_id}", keep=False)
