"""A simulated death leaves the database as a real one does."""

from __future__ import annotations

import pytest
from django.db import connection, transaction

from tests.app.models import Note
from tests.crashes import CrashPoint, SimulatedCrash, When


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("when", "left"), [("before", 0), ("after", 1)])
def test_death_at_commit_leaves_no_transaction_behind(when: When, left: int) -> None:
    def write() -> None:
        with transaction.atomic():
            Note.objects.create(text="x")

    point = CrashPoint(at=2, when=when)
    with pytest.raises(SimulatedCrash), point.watching():
        write()

    assert point.writes == 2
    assert connection.get_autocommit()
    assert Note.objects.count() == left
    write()
    assert Note.objects.count() == left + 1
