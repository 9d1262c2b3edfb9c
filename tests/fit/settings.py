"""A project with a user model of its own, and its runs on a second database; with django-celery-beat where that is installed."""

from __future__ import annotations

import os
from importlib.util import find_spec

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS as APPS
from tests.settings import default_database, sqlite

HAS_BEAT = find_spec("django_celery_beat") is not None

DATABASES = {"default": sqlite("fit"), "journal": default_database()}
# Beside the databases of the tests that run at the same time.
DATABASES["journal"]["TEST"] = {"NAME": f"test_fit_{os.getpid()}"}
if DATABASES["journal"]["ENGINE"].endswith("sqlite3"):
    DATABASES["journal"] = sqlite(f"fit-journal-{os.getpid()}")
DATABASE_ROUTERS = ["tests.fit.routers.JournalRouter"]

AUTH_USER_MODEL = "people.Person"
ROOT_URLCONF = "tests.fit.urls"
WORKFLOW = {"DISPATCHER": "embedded", "DATABASE": "journal"}
INSTALLED_APPS = [*APPS, "tests.fit.people", *["django_celery_beat"] * HAS_BEAT]
