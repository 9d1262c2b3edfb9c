"""What makes one alert out of what every sweep finds: whoever takes the row of a channel sends, and says when it is done."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db.models import F, Q

from django_workflow.conf import settings
from django_workflow.models import AlertState
from django_workflow.store.claims import now


def _rows() -> Any:
    return AlertState.objects.using(settings().DATABASE)


def found_or_made(key: str) -> AlertState:
    """Return the state of a channel; a new one has seen everything that is over."""
    state = _rows().filter(pk=key).first()
    if state is None:
        _rows().bulk_create([AlertState(key=key, seen_until=now())], ignore_conflicts=True)
        state = _rows().get(pk=key)
    found: AlertState = state
    return found


def take(state: AlertState, cooldown: timedelta, lease: timedelta) -> bool:
    """Win the right to send, if nobody has sent within the cool-down and nobody is about to."""
    moment = now()
    idle = Q(busy_until=None) | Q(busy_until__lte=moment)
    cool = Q(raised_at=None) | Q(raised_at__lte=moment - cooldown)
    won = _rows().filter(idle, cool, pk=state.pk, taken=state.taken)
    is_ours = bool(won.update(busy_until=moment + lease, taken=F("taken") + 1))
    state.taken += is_ours
    return is_ours


def sent(state: AlertState, seen_until: datetime) -> None:
    """Keep that it was sent, and that what ended by then was told of."""
    mine = _rows().filter(pk=state.pk, taken=state.taken)
    mine.update(raised_at=now(), seen_until=seen_until, busy_until=None, trouble="")


def put_off(state: AlertState, delay: timedelta, trouble: str) -> None:
    """Keep why it could not be sent, and let somebody try again after this delay."""
    mine = _rows().filter(pk=state.pk, taken=state.taken)
    mine.update(busy_until=now() + delay, trouble=trouble[:2_000])
