"""A project whose admin is django-unfold's."""

from __future__ import annotations

import os

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS as APPS
from tests.settings import MIDDLEWARE as BEFORE
from tests.settings import default_database, sqlite

DATABASES = {"default": default_database()}
# Beside the databases of the tests that run at the same time.
DATABASES["default"]["TEST"] = {"NAME": f"test_unfolded_{os.getpid()}"}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    DATABASES["default"] = sqlite(f"unfolded-{os.getpid()}")

ROOT_URLCONF = "tests.unfolded.urls"
INSTALLED_APPS = ["unfold", *APPS]
MIDDLEWARE = [*BEFORE, "tests.unfolded.urls.as_strict_as_unfold"]
