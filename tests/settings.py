"""Settings of the test suite.

The databases follow the environment, because worker processes that tests start must find the same ones:

- ``TEST_DB``: ``sqlite``, ``postgres`` or ``mariadb``; unset, ``DATABASE_URL`` decides, and without it SQLite.
- ``DATABASE_URL``: the server to use; for ``postgres`` and ``mariadb`` one is started when it is not given.
- ``WORKFLOW_TESTS_DIR``: where this run keeps its files; made by ``tests.services``.
- ``WORKFLOW_TESTS_DB_NAMES``: set for child processes only, the names of the test databases themselves.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import dj_database_url
import django

BASE_DIR = Path(__file__).resolve().parent.parent
RUN_DIR = Path(os.environ.get("WORKFLOW_TESTS_DIR", BASE_DIR / ".run"))
RUN_DIR.mkdir(exist_ok=True)


def sqlite(name: str) -> dict[str, Any]:
    file = str(RUN_DIR / f"{name}.sqlite3")
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": file,
        "OPTIONS": {
            # Without it a transaction that reads before it writes fails as soon as somebody else writes.
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
        # A file: a database in memory cannot be shared among threads and processes.
        "TEST": {"NAME": file},
    }


def default_database() -> dict[str, Any]:
    url = os.environ.get("DATABASE_URL")
    if os.environ.get("TEST_DB") == "sqlite" or not url:
        return sqlite("default")
    return dict(dj_database_url.parse(url))


DATABASES: dict[str, dict[str, Any]] = {"default": default_database(), "other": sqlite("other")}
for alias, database_name in json.loads(os.environ.get("WORKFLOW_TESTS_DB_NAMES", "{}")).items():
    DATABASES[alias]["NAME"] = database_name

SECRET_KEY = "only-for-tests, and long enough for every check"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "testserver"]
USE_TZ = True
TIME_ZONE = "UTC"
ROOT_URLCONF = "tests.urls"
STATIC_URL = "static/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
# Users of tests log in often, and nobody attacks them.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "django_htmx",
    "django_workflow",
    "tests.app",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

if django.VERSION >= (6, 1):
    MAILERS = {"default": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}}

# No broker: triggers of tests tell nobody. Tests that start workers have settings of their own.
WORKFLOW = {"DISPATCHER": "embedded"}

STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    "spilled": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": str(RUN_DIR / "spilled")},
    },
}
AT_REST = {
    "ENCRYPTION_KEYS": ["the first key of the tests, 32 bytes or more"],
    "SPILL_ABOVE": 120,
    "SPILL_STORAGE": "spilled",
}
# For a look at the whole suite with every text encrypted and most of them in files.
if os.environ.get("TEST_AT_REST"):
    WORKFLOW |= AT_REST
