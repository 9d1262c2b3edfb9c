"""Who did something to a run, and through which door."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from django_workflow.core.exceptions import InvalidOptionError

NAME_LENGTH = 254
CODE = "code"


@dataclass(frozen=True, slots=True)
class Actor:
    """A user or whatever else acts; kept as texts, so that it outlives the user's row."""

    name: str = ""
    #: The primary key of a user, as text; empty for all others.
    user_id: str = ""
    #: ``code``, ``command``, ``http``, ``admin``, ``retention``.
    door: str = CODE

    @classmethod
    def of(cls, given: Any, door: str = CODE) -> Self:
        """Return who is meant by what a user wrote: None, a name, a user of any user model, or an actor.

        Raises:
            InvalidOptionError: a user that is not saved.
        """
        if isinstance(given, cls):
            return given
        if given is None or getattr(given, "is_anonymous", False) is True:
            return cls(door=door)
        if not hasattr(given, "get_username"):
            return cls(str(given)[:NAME_LENGTH], door=door)
        if given.pk is None:
            raise InvalidOptionError(
                f"{given!r} is not saved, so nobody could be found by it later. Save the user first, or give a name."
            )
        return cls(str(given.get_username())[:NAME_LENGTH], str(given.pk), door)


NOBODY = Actor()
