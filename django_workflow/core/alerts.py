"""Rules by which people are told that something needs them: ``WORKFLOW["ALERTS"]``. Pure: what is true is asked elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from difflib import get_close_matches
from typing import Any, Final

from django_workflow.core.durations import parse_duration
from django_workflow.core.exceptions import InvalidOptionError

NAME_LENGTH: Final = 100

#: What can be asked, with the options that it takes beside those of all.
KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "dead_letter": (),
    "due_lag": ("above",),
    "failure_rate": ("above", "window", "at_least"),
    "waiting": ("above",),
}
#: Those that look at all workflows together.
_OF_THE_WHOLE: Final = frozenset({"due_lag"})
_OF_ALL: Final = ("rule", "name", "workflow", "mail", "webhook", "headers", "cooldown")

HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class AlertRule:
    """One entry of ``WORKFLOW["ALERTS"]``."""

    rule: str
    name: str
    workflow: str | None = None
    #: Longer than this for lags and waits.
    above: timedelta = timedelta(0)
    #: A larger share than this for failures.
    share: float = 0.0
    window: timedelta = HOUR
    at_least: int = 10
    cooldown: timedelta = HOUR
    mail: tuple[str, ...] = ()
    webhook: str | None = None
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @property
    def channels(self) -> tuple[str, ...]:
        """Where it tells: the signal always, the others where they are named."""
        named = (("mail", self.mail), ("webhook", self.webhook))
        return ("signal", *(channel for channel, target in named if target))


@dataclass(frozen=True, kw_only=True, slots=True)
class Alert:
    """What a rule has found."""

    name: str
    rule: str
    #: One line for people.
    message: str
    #: How many runs or how much: a count, seconds, or a share.
    value: float
    workflow: str | None = None
    #: Some of the runs it is about.
    workflow_run_ids: tuple[str, ...] = ()
    at: datetime

    def to_json(self) -> dict[str, Any]:
        """Return what a webhook is sent."""
        return {
            "name": self.name,
            "rule": self.rule,
            "message": self.message,
            "value": self.value,
            "workflow": self.workflow,
            "workflow_run_ids": list(self.workflow_run_ids),
            "at": self.at.isoformat(),
        }


def parse_rules(value: Any) -> tuple[AlertRule, ...]:
    """Read the setting.

    Raises:
        InvalidOptionError: an entry cannot work; the message says which, and why.
    """
    if isinstance(value, str | Mapping) or not isinstance(value, Iterable):
        raise InvalidOptionError(f'WORKFLOW["ALERTS"] must be a list of dicts, not {value!r}.')
    rules = tuple(_rule(number, entry) for number, entry in enumerate(value))
    names = [rule.name for rule in rules]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InvalidOptionError(
            f'WORKFLOW["ALERTS"] has two rules called "{twice}". Give one of them another "name".'
        )
    return rules


def _rule(number: int, entry: Any) -> AlertRule:
    place = f'WORKFLOW["ALERTS"][{number}]'
    if not isinstance(entry, Mapping):
        raise InvalidOptionError(f"{place} must be a dict, not {entry!r}.")
    rule = entry.get("rule")
    if not isinstance(rule, str) or rule not in KINDS:
        raise InvalidOptionError(
            f'{place}["rule"] must be one of {", ".join(map(repr, KINDS))}, not {rule!r}.'
        )
    allowed = [*_OF_ALL, *KINDS[rule]]
    if rule in _OF_THE_WHOLE:
        allowed.remove("workflow")
    for option in entry:
        if option not in allowed:
            near = get_close_matches(str(option), allowed, n=1)
            hint = f' Did you mean "{near[0]}"?' if near else ""
            raise InvalidOptionError(f'{place}: the rule "{rule}" has no option {option!r}.{hint}')
    if "above" in KINDS[rule] and "above" not in entry:
        raise InvalidOptionError(f'{place}: the rule "{rule}" needs "above".')
    workflow = _text(place, "workflow", entry.get("workflow"))
    usual = rule if workflow is None else f"{rule} of {workflow}"
    return AlertRule(
        rule=rule,
        name=_name(place, entry.get("name", usual)),
        workflow=workflow,
        above=timedelta(0) if rule == "failure_rate" else _above(place, entry),
        share=_share(place, entry["above"]) if rule == "failure_rate" else 0.0,
        window=_duration(place, "window", entry.get("window", HOUR)),
        at_least=_count(place, entry.get("at_least", 10)),
        cooldown=_duration(place, "cooldown", entry.get("cooldown", HOUR)),
        mail=_addresses(place, entry.get("mail", ())),
        webhook=_url(place, entry.get("webhook")),
        headers=_headers(place, entry.get("headers", {})),
    )


def _name(place: str, value: Any) -> str:
    name = _text(place, "name", value)
    if name is None or len(name) > NAME_LENGTH:
        raise InvalidOptionError(
            f'{place}["name"] must be a text of at most {NAME_LENGTH} characters, not {value!r}.'
        )
    return name


def _text(place: str, option: str, value: Any) -> str | None:
    if value is not None and (not isinstance(value, str) or not value):
        raise InvalidOptionError(f'{place}["{option}"] must be a text, not {value!r}.')
    return value


def _above(place: str, entry: Mapping[str, Any]) -> timedelta:
    return _duration(place, "above", entry["above"]) if "above" in entry else timedelta(0)


def _duration(place: str, option: str, value: Any) -> timedelta:
    try:
        duration = parse_duration(value)
    except (InvalidOptionError, TypeError) as error:
        raise InvalidOptionError(f'{place}["{option}"]: {error}') from error
    if not duration:
        raise InvalidOptionError(f'{place}["{option}"] must be longer than zero, not {value!r}.')
    return duration


def _share(place: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise InvalidOptionError(
            f'{place}["above"] must be a share from 0 to below 1, as 0.1 for ten per cent, not {value!r}.'
        )
    return float(value)


def _count(place: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidOptionError(
            f'{place}["at_least"] must be a whole number of 1 or more, not {value!r}.'
        )
    return value


def _addresses(place: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise InvalidOptionError(f'{place}["mail"] must be a list of addresses, not {value!r}.')
    addresses = tuple(value)
    wrong = [one for one in addresses if not isinstance(one, str) or "@" not in one]
    if wrong:
        raise InvalidOptionError(f'{place}["mail"]: {wrong[0]!r} is no address.')
    return addresses


def _url(place: str, value: Any) -> str | None:
    if value is not None and (
        not isinstance(value, str) or not value.startswith(("http://", "https://"))
    ):
        raise InvalidOptionError(
            f'{place}["webhook"] must start with http:// or https://, not {value!r}.'
        )
    return value


def _headers(place: str, value: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, Mapping) or not all(
        isinstance(name, str) and isinstance(text, str) for name, text in value.items()
    ):
        raise InvalidOptionError(f'{place}["headers"] must be a dict of texts.')
    return tuple(value.items())
