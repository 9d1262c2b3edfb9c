"""What an approval asks for, and what a workflow is told of the decision. Values only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django_workflow.core.durations import parse_duration
from django_workflow.core.exceptions import InvalidOptionError
from django_workflow.core.importable import dotted_path
from django_workflow.core.types import JSONValue

TITLE_LENGTH: Final = 200
VALUE_LENGTH: Final = 254
#: Who may decide where the workflow names nobody.
DEFAULT_PERMISSION: Final = "django_workflow.decide_approval"


@dataclass(frozen=True, kw_only=True, slots=True)
class ApprovalResult:
    """How a wait for an approval ended."""

    approved: bool
    #: ``approved``, ``rejected`` or ``timed_out``.
    decision: str
    #: The user name or mail address of who decided; empty after a timeout.
    decided_by: str = ""
    comment: str = ""
    #: The cleaned data of the form; None without one.
    data: Any = None
    decided_at: datetime | None = None

    @property
    def timed_out(self) -> bool:
        """Whether nobody decided in time."""
        return self.decision == "timed_out"

    @property
    def timeout(self) -> bool:
        """The same as ``timed_out``, under the seeds' name."""
        return self.timed_out

    @classmethod
    def from_record(cls, stored: Mapping[str, Any]) -> ApprovalResult:
        """Build a result from its stored form."""
        events = stored["events"]
        if stored["timed_out"] or not events:
            return cls(approved=False, decision="timed_out")
        decided = events[0]["event_data"]
        return cls(
            approved=decided["decision"] == "approved",
            decision=decided["decision"],
            decided_by=decided["decided_by"],
            comment=decided["comment"],
            data=decided["data"],
            decided_at=decided["decided_at"],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ApprovalRequest:
    """What is asked, of whom, until when."""

    title: str
    description: str
    #: The dotted path of a Django form class, or empty.
    form: str
    permission: str
    #: Pairs of kind (user, username, group, email) and value.
    assignees: tuple[tuple[str, str], ...]
    timeout: timedelta
    #: How long after the request reminders are sent.
    reminders: tuple[timedelta, ...] = ()
    #: Or how far apart.
    every: timedelta | None = None

    @classmethod
    def of(
        cls,
        name: Any,
        form: Any,
        permission: Any,
        assignees: Any,
        timeout: Any,
        reminders: Any,
        title: Any,
        description: Any,
    ) -> ApprovalRequest:
        """Check what a user asked for.

        Raises:
            InvalidOptionError: an argument cannot work.
        """
        limit = parse_duration(timeout)
        if not limit:
            raise InvalidOptionError("The timeout of an approval must be longer than zero.")
        given = () if assignees is None else _listed(assignees)
        people = tuple(dict.fromkeys(_assignee(one) for one in given))
        if assignees is not None and not people:
            raise InvalidOptionError("assignees is empty: nobody could decide.")
        allowed = _permission(permission)
        at, every = _reminders(reminders, limit)
        return cls(
            title=_text(
                title if title is not None else str(name)[:TITLE_LENGTH], "title", TITLE_LENGTH
            ),
            description=_text(description or "", "description", 100_000),
            form="" if form is None else dotted_path(form, "form"),
            permission=allowed or ("" if people else DEFAULT_PERMISSION),
            assignees=people,
            timeout=limit,
            reminders=at,
            every=every,
        )

    def arguments(self) -> dict[str, JSONValue]:
        """Return what is recorded for the timeline and the drift check."""
        found: dict[str, JSONValue] = {
            "title": self.title,
            "seconds": self.timeout.total_seconds(),
        }
        if self.form:
            found["form"] = self.form
        if self.permission:
            found["permission"] = self.permission
        if self.assignees:
            found["assignees"] = [f"{kind}:{value}" for kind, value in self.assignees]
        return found

    def reminder_plan(self) -> dict[str, JSONValue]:
        """Return the stored form of the reminders, in seconds."""
        if self.every is not None:
            return {"every": self.every.total_seconds()}
        return {"at": [one.total_seconds() for one in self.reminders]}


def _listed(given: Any) -> list[Any]:
    return list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given]


def _text(value: Any, what: str, limit: int) -> str:
    if not isinstance(value, str) or len(value) > limit:
        raise InvalidOptionError(
            f"{what} must be a text of {limit} characters at most, not {str(value)[:60]!r}."
        )
    return value.replace("\x00", "")


def _permission(permission: Any) -> str:
    if permission is None:
        return ""
    if (
        not isinstance(permission, str)
        or not all(permission.partition("."))
        or len(permission) > 255
    ):
        raise InvalidOptionError(
            f'permission must be written as "app_label.codename", not {permission!r}.'
        )
    return permission


def _assignee(one: Any) -> tuple[str, str]:
    """Return who is meant: a user, a group, ``"group:ops"``, ``"user:ann"`` or a mail address."""
    if hasattr(one, "get_username") and getattr(one, "pk", None) is not None:
        return "user", str(one.pk)
    if hasattr(one, "permissions") and getattr(one, "name", None):
        return _fits("group", str(one.name), one)
    if isinstance(one, str):
        kind, _, value = one.partition(":")
        if kind == "group" and value:
            return _fits("group", value, one)
        if kind == "user" and value:
            return _fits("username", value, one)
        before, _, after = one.strip().rpartition("@")
        if before and after and not any(c.isspace() or not c.isprintable() for c in one.strip()):
            return _fits("email", one.strip().lower(), one)
    raise InvalidOptionError(
        f'An assignee is a user, a group, "user:NAME", "group:NAME" or a mail address, not {one!r}.'
    )


def _fits(kind: str, value: str, given: Any) -> tuple[str, str]:
    if len(value) > VALUE_LENGTH or "\x00" in value:
        raise InvalidOptionError(f"The assignee {str(given)[:60]!r} is too long to be kept.")
    return kind, value


def _reminders(given: Any, limit: timedelta) -> tuple[tuple[timedelta, ...], timedelta | None]:
    if given is None:
        return (), None
    is_list = isinstance(given, (list, tuple))
    found = sorted(parse_duration(one) for one in (given if is_list else [given]))
    if any(not one or one >= limit for one in found):
        raise InvalidOptionError(
            "A reminder comes after the request and before its timeout: each must be longer than zero and shorter than "
            f"{limit}."
        )
    if is_list:
        return tuple(found), None
    if found[0] < timedelta(minutes=1):
        raise InvalidOptionError("Reminders may be a minute apart or more.")
    return (), found[0]
