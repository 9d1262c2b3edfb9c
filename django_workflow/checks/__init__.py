"""System checks: what would not work, or not last, said before it happens. Listed in ``docs/reference/checks.md``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import django
from django.apps import apps
from django.conf import settings as django_settings
from django.core import checks
from django.core.checks import CheckMessage
from django.db import connections
from django.utils.module_loading import import_string

from django_workflow import conf
from django_workflow.at_rest import sealing
from django_workflow.checks.databases import check_database, check_mysql
from django_workflow.checks.messages import as_error, as_warning, journal_alias, read_settings
from django_workflow.core.crons import SCHEDULE_ID_LENGTH
from django_workflow.core.exceptions import InvalidOptionError, WorkflowError
from django_workflow.core.importable import load
from django_workflow.core.middleware import Middleware
from django_workflow.core.workflow import Workflow, registry
from django_workflow.dispatchers import django_tasks
from django_workflow.models import Run
from django_workflow.runtime import http_call
from django_workflow.runtime.payloads import check_payload
from django_workflow.runtime.rekeying import missing_keys
from django_workflow.runtime.urls import path_of

TAG = "django_workflow"
SHORTEST_SECRET = 32


def register_checks() -> None:
    """Register every check; ``apps.ready()`` does, once."""
    checks.register(check_settings, TAG)
    checks.register(check_access, TAG)
    checks.register(check_project, TAG)
    checks.register(check_database, TAG)
    checks.register(check_http, TAG)
    checks.register(check_calls, TAG)
    checks.register(check_celery, TAG)
    checks.register(check_tasks, TAG)
    checks.register(check_schedules, TAG)
    checks.register(check_middleware, TAG)
    checks.register(check_at_rest, TAG)
    checks.register(check_mysql, TAG, checks.Tags.database)
    checks.register(check_sealed, TAG, checks.Tags.database)
    checks.register(check_deployment, TAG, deploy=True)


def check_settings(**_: Any) -> list[CheckMessage]:
    """E001, E002, E012: the ``WORKFLOW`` setting itself."""
    hint = "docs/reference/settings.md lists every setting with its default."
    found = [as_error(1, message, hint) for _, message in conf.problems()]
    settings = read_settings()
    if settings is not None and settings.DATABASE not in connections:
        known = ", ".join(f'"{alias}"' for alias in connections)
        found.append(
            as_error(
                2,
                f'WORKFLOW["DATABASE"] names the database "{settings.DATABASE}", which DATABASES does not have.',
                f"Use one of {known}, or add it to DATABASES.",
            )
        )
    if settings is not None and settings.APPROVAL_MAILER is not None:
        try:
            load(settings.APPROVAL_MAILER, 'WORKFLOW["APPROVAL_MAILER"]')
        except InvalidOptionError as error:
            hint = "Give the dotted path of a function, or None to write to nobody."
            found.append(as_error(12, str(error), hint))
    return found


def check_access(**_: Any) -> list[CheckMessage]:
    """E013, E014: what the project says of who sees which runs."""
    settings = read_settings()
    found = []
    if settings is not None and not _leads_somewhere(settings.VISIBLE_RUNS):
        message = (
            f'WORKFLOW["VISIBLE_RUNS"] "{settings.VISIBLE_RUNS}" cannot be imported or called.'
        )
        hint = "Give the dotted path of a function of request and queryset, or None: all runs."
        found.append(as_error(13, message, hint))
    if settings is not None and not _leads_somewhere(settings.MAY_FOLLOW):
        message = f'WORKFLOW["MAY_FOLLOW"] "{settings.MAY_FOLLOW}" cannot be imported or called.'
        hint = "Give the dotted path of a function of request and run, or None: nobody."
        found.append(as_error(14, message, hint))
    return found


def _leads_somewhere(path: str | None) -> bool:
    if path is not None:
        try:
            load(path, "")
        except InvalidOptionError:
            return False
    return True


def check_project(**_: Any) -> list[CheckMessage]:
    """E003, E004, E016, W001: what the engine needs of the project around it."""
    found = []
    if not django_settings.USE_TZ:
        found.append(
            as_error(
                3,
                "USE_TZ is False, and runs sleep and wake by aware times.",
                "Set USE_TZ = True.",
            )
        )
    found += [
        as_error(
            4,
            f'Two workflows are named "{name}": {first} and {second}. Only the second one can be run.',
            'Give one of them another name: @workflow(name="…").',
        )
        for name, first, second in registry.clashes
    ]
    if apps.is_installed("django.contrib.admin") and not apps.is_installed("django_htmx"):
        found.append(
            as_error(
                16,
                "django_htmx is not in INSTALLED_APPS, and the pages of runs in the admin are made with its tags.",
                'Add "django_htmx" to INSTALLED_APPS.',
            )
        )
    needed = ("django.contrib.contenttypes", "django.contrib.auth")
    missing = [app for app in needed if not apps.is_installed(app)]
    if missing:
        found.append(
            as_warning(
                1,
                f"{' and '.join(missing)} is not in INSTALLED_APPS, so nobody can have the permission to trigger "
                "runs over HTTP or to see them in the admin.",
                "Add it to INSTALLED_APPS, or silence this check if runs are only triggered from code.",
            )
        )
    return found


def check_http(**_: Any) -> list[CheckMessage]:
    """E006, E007, W004: what workflows that run over http need."""
    settings = read_settings()
    if settings is None:
        return []
    return [*_unreachable(settings), *_reconnecting(settings)]


def check_calls(**_: Any) -> list[CheckMessage]:
    """E011, W009: what calls to other servers may reach."""
    if read_settings() is None:
        return []
    problem = http_call.problem()
    if problem is not None:
        return [
            as_error(
                11,
                f'WORKFLOW["CALL_ALLOW"] cannot work, so no call is made: {problem}.',
                'List networks, as "10.0.0.0/8", and hosts, as "erp.internal" or "*.internal".',
            )
        ]
    if not http_call.opens_metadata():
        return []
    return [
        as_warning(
            9,
            'WORKFLOW["CALL_ALLOW"] opens 169.254.169.254, where clouds hand out the credentials of their machines.',
            "List the networks and hosts that calls have to reach, and no more.",
        )
    ]


def _over_http(settings: conf.Settings) -> list[Workflow[Any, Any]]:
    default = settings.default_transport
    return [
        one
        for one in registry
        if (one.options.transport or default) == "http" and not one.options.url
    ]


def _unreachable(settings: conf.Settings) -> Iterator[CheckMessage]:
    for workflow in _over_http(settings):
        # In development, workflow_dev says where the server is: it knows its own address.
        if not settings.BASE_URL and not django_settings.DEBUG:
            yield as_error(
                6,
                f'Workflow "{workflow.name}" runs over http, but WORKFLOW["BASE_URL"] is not set.',
                'Set it to the address of your web servers ("https://example.org"), or run the workflow in the '
                'workers: @workflow(transport="inline").',
                obj=workflow,
            )
        if not getattr(django_settings, "ROOT_URLCONF", None) or path_of(workflow) is None:
            yield as_error(
                7,
                f'Workflow "{workflow.name}" runs over http, but no URL leads to it.',
                'Add path("workflows/", include("django_workflow.urls")) to your urlconf, or a path() to the workflow.',
                obj=workflow,
            )


def _reconnecting(settings: conf.Settings) -> list[CheckMessage]:
    alias = journal_alias(settings)
    if alias is None or not _over_http(settings):
        return []
    connection = connections[alias]
    has_pool = bool(connection.settings_dict.get("OPTIONS", {}).get("pool"))
    if (
        connection.vendor == "sqlite"
        or has_pool
        or connection.settings_dict.get("CONN_MAX_AGE") != 0
    ):
        return []
    return [
        as_warning(
            4,
            f'Workflows run over http, and CONN_MAX_AGE of the database "{alias}" is 0: every step opens a new '
            "connection.",
            f'Set DATABASES["{alias}"]["CONN_MAX_AGE"] = 60, or use a connection pool.',
        )
    ]


def check_schedules(**_: Any) -> list[CheckMessage]:
    """E008, E009: schedules that are declared in code."""
    found = []
    for one in registry:
        if one.options.schedule is None:
            continue
        try:
            check_payload(one, None)
        except WorkflowError as error:
            found.append(
                as_error(
                    8,
                    f'Workflow "{one.name}" has a schedule, whose runs have no payload, and its schema refuses that: {error}',
                    "Let the schema take None, or make the schedule at run time: workflow.schedule(cron, payload=…).",
                    obj=one,
                )
            )
        if len(one.name) > SCHEDULE_ID_LENGTH:
            found.append(
                as_error(
                    9,
                    f'Workflow "{one.name}" has a schedule, whose ID is the name, and the name has more than '
                    f"{SCHEDULE_ID_LENGTH} characters.",
                    'Give it a shorter one: @workflow(name="…").',
                    obj=one,
                )
            )
    return found


def check_middleware(**_: Any) -> list[CheckMessage]:
    """E010: classes that ``WORKFLOW["MIDDLEWARE"]`` names."""
    settings = read_settings()
    found = []
    for path in settings.MIDDLEWARE if settings is not None else ():
        try:
            named = import_string(path)
            reason = (
                ""
                if isinstance(named, type) and issubclass(named, Middleware)
                else "it is no subclass of django_workflow.Middleware"
            )
        except ImportError as error:
            reason = str(error)
        if reason:
            found.append(
                as_error(
                    10,
                    f'WORKFLOW["MIDDLEWARE"] names "{path}", which cannot be used: {reason}.',
                    "Name classes by their dotted paths.",
                )
            )
    return found


def check_celery(**_: Any) -> list[CheckMessage]:
    """W005: Celery closes the database connection around each task unless it is told to keep it."""
    settings = read_settings()
    if settings is None or settings.DISPATCHER != "celery" or not _broker_url():
        return []
    if getattr(django_settings, "CELERY_DB_REUSE_MAX", None) is not None:
        return []
    return [
        as_warning(
            5,
            "CELERY_DB_REUSE_MAX is not set: Celery opens a database connection for each task.",
            "Set CELERY_DB_REUSE_MAX = 1000 in your settings.",
        )
    ]


def check_tasks(**_: Any) -> list[CheckMessage]:
    """E030, E031: hints by ``django.tasks`` that nobody could be given."""
    settings = read_settings()
    if settings is None or settings.DISPATCHER != "tasks":
        return []
    if not django_tasks.is_available():
        message = f'WORKFLOW["DISPATCHER"] is "tasks", and Django {django.__version__} has no django.tasks.'
        return [as_error(30, message, 'Use Django 6.0 or newer, or "celery".')]
    problem = django_tasks.problem()
    message = f"The default backend of TASKS takes no task of django_workflow: {problem}"
    hint = f'Let TASKS["default"]["QUEUES"] list "{settings.QUEUE or "default"}", or set WORKFLOW["QUEUE"] to one of it.'
    return [] if problem is None else [as_error(31, message, hint)]


def _broker_url() -> str:
    return str(getattr(django_settings, "CELERY_BROKER_URL", "") or "")


def check_at_rest(**_: Any) -> list[CheckMessage]:
    """E020, E021, E022: texts that could not be encrypted, or not be put into files."""
    settings = read_settings()
    if settings is None:
        return []
    found = []
    if settings.ENCRYPTION_KEYS and not sealing.is_available():
        found.append(
            as_error(
                20,
                'WORKFLOW["ENCRYPTION_KEYS"] is set, and the package cryptography is not installed: no run can be triggered.',
                sealing.INSTALL,
            )
        )
    alias = settings.SPILL_STORAGE
    known = getattr(django_settings, "STORAGES", {})
    if alias is None and settings.SPILL_ABOVE is not None:
        found.append(
            as_error(
                21,
                'WORKFLOW["SPILL_ABOVE"] is set, and WORKFLOW["SPILL_STORAGE"] is not: long texts have no place to go.',
                "Name a storage of STORAGES that is private and seen by all processes.",
            )
        )
    elif alias is not None and alias not in known:
        found.append(
            as_error(
                22,
                f'WORKFLOW["SPILL_STORAGE"] names the storage "{alias}", which STORAGES does not have.',
                "Use one of "
                + ", ".join(f'"{name}"' for name in known)
                + ", or add it to STORAGES.",
            )
        )
    return found


def check_sealed(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """E023: runs that are encrypted with a key which is not there any more; asked with ``check --database``."""
    settings = read_settings()
    alias = journal_alias(settings)
    if settings is None or alias is None or alias not in (databases or ()):
        return []
    if Run._meta.db_table not in connections[alias].introspection.table_names():
        return []
    missing = missing_keys()
    return [
        as_error(
            23,
            f'Runs are encrypted with the key "{name}", which WORKFLOW["ENCRYPTION_KEYS"] does not hold: none of them can go on.',
            "Add that key behind the first one, and take it away after workflow_rekey.",
        )
        for name in missing
    ]


def check_deployment(**_: Any) -> list[CheckMessage]:
    """W006, W007, W008, W030: what is fine in development only; asked with ``check --deploy``."""
    settings = read_settings()
    if settings is None:
        return []
    found = []
    secret = str(django_settings.SECRET_KEY)
    is_weak = secret.startswith("django-insecure-") or len(secret.encode()) < SHORTEST_SECRET
    if not settings.SIGNING_KEYS and is_weak:
        found.append(
            as_warning(
                6,
                "Deliveries are signed with a key derived from SECRET_KEY, which is short or made for development: "
                "whoever guesses it can have your steps executed.",
                'Set a long random SECRET_KEY, or WORKFLOW["SIGNING_KEYS"] = [secrets.token_hex(32)].',
            )
        )
    if settings.DISPATCHER == "celery" and _broker_url().startswith("memory:"):
        found.append(
            as_warning(
                7,
                "CELERY_BROKER_URL is memory://, which no other process can read: workers find due runs only once a "
                "second, by their own sweep.",
                "Use Redis, Valkey or RabbitMQ as the broker.",
            )
        )
    if settings.DISPATCHER == "embedded":
        found.append(
            as_warning(
                8,
                'WORKFLOW["DISPATCHER"] is "embedded": only a worker in the same process is told what is due.',
                'Use "celery", and run celery worker and celery beat.',
            )
        )
    if settings.DISPATCHER == "tasks" and not check_tasks() and not django_tasks.has_workers():
        message = "The default backend of TASKS has no workers: who triggers a run carries it, or nobody does."
        found.append(as_warning(30, message, "Use a backend whose tasks are taken by workers."))
    return found
