"""The one reader of the ``WORKFLOW`` setting.

``settings()`` returns a frozen, typed view of the dict, with defaults; ``override_settings`` is seen
because the view is dropped on ``setting_changed``. Everything wrong with the dict is found by
``problems()``, which the system checks print; reading a broken dict raises the first of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, fields
from datetime import timedelta
from difflib import get_close_matches
from functools import cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, Final, NamedTuple

from django.conf import settings as django_settings
from django.core.signals import setting_changed

from django_workflow.core.alerts import AlertRule, parse_rules
from django_workflow.core.durations import parse_duration
from django_workflow.core.exceptions import InvalidOptionError
from django_workflow.core.retry import RetryPolicy
from django_workflow.core.types import DEAD_LETTER, FINISHED

DEFAULT_POLICY = RetryPolicy()
FINISHED_STATES = tuple(sorted(map(str, FINISHED)))
ENDED_STATES = (*FINISHED_STATES, *sorted(map(str, DEAD_LETTER)))
SHORTEST_TOKEN: Final = 16
HOST: Final = re.compile(r"(\*\.)?[^\s/:@*?#\[\]]+")


class Allowed(NamedTuple):
    """What calls may reach although it is private."""

    networks: tuple[IPv4Network | IPv6Network, ...]
    hosts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """The values of ``WORKFLOW``, each documented in ``docs/reference/settings.md``."""

    DATABASE: str = "default"
    BASE_URL: str | None = None
    TRANSPORT: str | None = None
    DISPATCHER: str = "celery"
    QUEUE: str | None = None
    SWEEP_QUEUE: str | None = None
    BEAT: bool = True
    RETENTION: Mapping[str, timedelta] | None = None
    EVENT_RETENTION: timedelta = timedelta(days=7)
    RETRIES: RetryPolicy = DEFAULT_POLICY
    LEASE: timedelta = timedelta(seconds=30)
    STEP_TIMEOUT: timedelta | None = None
    ATOMIC_TIMEOUT: timedelta = timedelta(seconds=30)
    PASS_BUDGET: timedelta = timedelta(seconds=1)
    STEPS_PER_PASS: int | None = None
    CLAIM_BATCH: int = 24
    SWEEP_INTERVAL: timedelta = timedelta(seconds=1)
    HTTP_TIMEOUT: timedelta = timedelta(minutes=15)
    HTTP_CONCURRENCY: int = 4
    CALL_TIMEOUT: timedelta = timedelta(seconds=60)
    CALL_ALLOW: tuple[str, ...] = ()
    CALL_PROXY: str | None = None
    CALL_MAX_BYTES: int = 5_000_000
    CALLS_AT_ONCE: int = 500
    MAX_PAYLOAD_BYTES: int = 10_000_000
    MAX_RESULT_BYTES: int = 10_000_000
    STEPS_WARNING: int | None = 5_000
    MAX_STEPS: int | None = 50_000
    WEBHOOK_MAX_BYTES: int = 1_000_000
    WEBHOOK_CALLS_PER_MINUTE: int = 300
    APPROVAL_MAILER: str | None = "django_workflow.runtime.approval_mail.send_mail"
    MAX_INVOKE_DEPTH: int = 16
    SIGNING_KEYS: tuple[str, ...] = ()
    ISSUER: str = "django_workflow"
    ENCRYPTION_KEYS: tuple[str, ...] = ()
    SPILL_ABOVE: int | None = None
    SPILL_STORAGE: str | None = None
    VISIBLE_RUNS: str | None = None
    MAY_FOLLOW: str | None = None
    MIDDLEWARE: tuple[str, ...] = ()
    ALERTS: tuple[AlertRule, ...] = ()
    METRICS_TOKEN: str | None = None

    @property
    def default_transport(self) -> str:
        """Return the transport of workflows that name none: http where the URL is known."""
        return self.TRANSPORT or ("http" if self.BASE_URL else "inline")


def _duration(name: str, value: Any) -> timedelta:
    duration = parse_duration(value)
    if not duration:
        raise InvalidOptionError(f'WORKFLOW["{name}"] must be longer than zero, not {value!r}.')
    return duration


def _optional_duration(name: str, value: Any) -> timedelta | None:
    return None if value is None else _duration(name, value)


def _retention(name: str, value: Any) -> dict[str, timedelta] | None:
    """Return how long ended runs are kept, by state; states that are kept for ever are left out."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        # Dead letters wait for a person: they go only where they are named.
        return dict.fromkeys(FINISHED_STATES, _duration(name, value))
    unknown = [state for state in value if state not in ENDED_STATES]
    if unknown:
        raise InvalidOptionError(
            f'WORKFLOW["{name}"] names the state {unknown[0]!r}. Only runs that have ended are ever deleted: '
            f"{', '.join(ENDED_STATES)}."
        )
    found = {state: _optional_duration(name, age) for state, age in value.items()}
    return {str(state): age for state, age in found.items() if age is not None} or None


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidOptionError(f'WORKFLOW["{name}"] must be a text, not {value!r}.')
    return value


def _optional_text(name: str, value: Any) -> str | None:
    return None if value is None else _text(name, value)


def _base_url(name: str, value: Any) -> str | None:
    if value is None:
        return None
    text = _text(name, value)
    if not text.startswith(("http://", "https://")):
        raise InvalidOptionError(
            f'WORKFLOW["{name}"] must start with http:// or https://, not {value!r}.'
        )
    return text.rstrip("/")


def _proxy(name: str, value: Any) -> str | None:
    return _base_url(name, value)


def _boolean(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidOptionError(f'WORKFLOW["{name}"] must be True or False, not {value!r}.')
    return value


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidOptionError(
            f'WORKFLOW["{name}"] must be a whole number of 1 or more, not {value!r}.'
        )
    return value


def _optional_count(name: str, value: Any) -> int | None:
    return None if value is None else _count(name, value)


def _policy(name: str, value: Any) -> RetryPolicy:
    return RetryPolicy.of(value, DEFAULT_POLICY)


def _allow(name: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise InvalidOptionError(f'WORKFLOW["{name}"] must be a list of texts, not {value!r}.')
    entries = tuple(_text(name, entry) for entry in value)
    allowed_of(entries)
    return entries


def allowed_of(entries: Iterable[str]) -> Allowed:
    """Sort what ``CALL_ALLOW`` lists into networks and hosts.

    Raises:
        InvalidOptionError: an entry is neither.
    """
    networks: list[IPv4Network | IPv6Network] = []
    hosts: list[str] = []
    for entry in entries:
        try:
            networks.append(ip_network(entry))
        except ValueError as error:
            if HOST.fullmatch(entry) is None or entry.rpartition(".")[2].isdecimal():
                raise InvalidOptionError(
                    'WORKFLOW["CALL_ALLOW"] lists networks, as "10.0.0.0/8", and hosts, as "erp.internal" or '
                    f'"*.internal"; {entry!r} is neither.'
                ) from error
            hosts.append(entry.lower())
    return Allowed(tuple(networks), tuple(hosts))


def _keys(name: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not all(isinstance(key, str) and key for key in value):
        raise InvalidOptionError(
            f'WORKFLOW["{name}"] must be a list of texts, the current key first.'
        )
    short = [key for key in value if len(key.encode()) < 32]
    if short:
        raise InvalidOptionError(
            f'WORKFLOW["{name}"] holds a key of {len(short[0].encode())} bytes; each needs 32 or more.'
        )
    return tuple(value)


def _paths(name: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not all(isinstance(path, str) and path for path in value):
        raise InvalidOptionError(f'WORKFLOW["{name}"] must be a list of dotted paths to classes.')
    return tuple(value)


def _alerts(name: str, value: Any) -> tuple[AlertRule, ...]:
    return parse_rules(value)


def _token(name: str, value: Any) -> str | None:
    if value is not None and len(_text(name, value)) < SHORTEST_TOKEN:
        raise InvalidOptionError(
            f'WORKFLOW["{name}"] needs {SHORTEST_TOKEN} characters or more: whoever guesses it reads your metrics.'
        )
    return _optional_text(name, value)


def _one_of(*names: str | None) -> Callable[[str, Any], Any]:
    def read(name: str, value: Any) -> Any:
        if value not in names:
            raise InvalidOptionError(
                f'WORKFLOW["{name}"] must be one of {", ".join(map(repr, names))}, not {value!r}.'
            )
        return value

    return read


_READERS: Mapping[str, Callable[[str, Any], Any]] = {
    "DATABASE": _text,
    "BASE_URL": _base_url,
    "TRANSPORT": _one_of(None, "inline", "http"),
    "DISPATCHER": _one_of("celery", "tasks", "embedded"),
    "QUEUE": _optional_text,
    "SWEEP_QUEUE": _optional_text,
    "BEAT": _boolean,
    "RETENTION": _retention,
    "EVENT_RETENTION": _duration,
    "RETRIES": _policy,
    "LEASE": _duration,
    "STEP_TIMEOUT": _optional_duration,
    "ATOMIC_TIMEOUT": _duration,
    "PASS_BUDGET": _duration,
    "STEPS_PER_PASS": _optional_count,
    "CLAIM_BATCH": _count,
    "SWEEP_INTERVAL": _duration,
    "HTTP_TIMEOUT": _duration,
    "HTTP_CONCURRENCY": _count,
    "CALL_TIMEOUT": _duration,
    "CALL_ALLOW": _allow,
    "CALL_PROXY": _proxy,
    "CALL_MAX_BYTES": _count,
    "CALLS_AT_ONCE": _count,
    "MAX_PAYLOAD_BYTES": _count,
    "MAX_RESULT_BYTES": _count,
    "STEPS_WARNING": _optional_count,
    "MAX_STEPS": _optional_count,
    "WEBHOOK_MAX_BYTES": _count,
    "WEBHOOK_CALLS_PER_MINUTE": _count,
    "APPROVAL_MAILER": _optional_text,
    "MAX_INVOKE_DEPTH": _count,
    "SIGNING_KEYS": _keys,
    "ISSUER": _text,
    "ENCRYPTION_KEYS": _keys,
    "SPILL_ABOVE": _optional_count,
    "SPILL_STORAGE": _optional_text,
    "VISIBLE_RUNS": _optional_text,
    "MAY_FOLLOW": _optional_text,
    "MIDDLEWARE": _paths,
    "ALERTS": _alerts,
    "METRICS_TOKEN": _token,
}


def problems() -> list[tuple[str, str]]:
    """Return what is wrong with ``WORKFLOW`` as pairs of setting name and message."""
    configured = getattr(django_settings, "WORKFLOW", {})
    if not isinstance(configured, Mapping):
        return [("WORKFLOW", f"WORKFLOW must be a dict, not {type(configured).__name__}.")]
    found = []
    for name, value in configured.items():
        if name not in _READERS:
            near = get_close_matches(str(name), _READERS, n=1)
            hint = f' Did you mean "{near[0]}"?' if near else ""
            found.append(
                (str(name), f'WORKFLOW["{name}"] is not a setting of django_workflow.{hint}')
            )
            continue
        try:
            _READERS[name](name, value)
        except (InvalidOptionError, TypeError) as error:
            found.append((name, str(error)))
    return found


_overrides: dict[str, Any] = {}


def override(**values: Any) -> None:
    """Put these over what the project's ``WORKFLOW`` says, in this process; without any, take earlier ones away."""
    _overrides.clear()
    _overrides.update(values)
    settings.cache_clear()


@contextmanager
def overridden(**values: Any) -> Iterator[None]:
    """Put these over the settings of this process, and over earlier overrides, for a while."""
    before = dict(_overrides)
    override(**{**before, **values})
    try:
        yield
    finally:
        override(**before)


@cache
def settings() -> Settings:
    """Return the current settings.

    Raises:
        InvalidOptionError: ``WORKFLOW`` holds an unknown name or a value that cannot work.
    """
    for _, message in problems():
        raise InvalidOptionError(message)
    configured = {**getattr(django_settings, "WORKFLOW", {}), **_overrides}
    return Settings(**{name: _READERS[name](name, value) for name, value in configured.items()})


def defaults() -> dict[str, Any]:
    """Return every setting with its default, as the reference page lists them."""
    return {field.name: field.default for field in fields(Settings) if field.default is not MISSING}


def _forget(*, setting: str, **_: Any) -> None:
    if setting in {"WORKFLOW", "SECRET_KEY", "SECRET_KEY_FALLBACKS"}:
        settings.cache_clear()


setting_changed.connect(_forget, dispatch_uid="django_workflow.conf")
