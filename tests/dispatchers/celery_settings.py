"""Settings of the worker processes that these tests start; what differs from test to test comes by the environment."""

from __future__ import annotations

import json
import os

from tests.settings import *  # noqa: F403

INSTALLED_APPS = [*INSTALLED_APPS, "tests.dispatchers.app"]  # noqa: F405
ROOT_URLCONF = "tests.dispatchers.urls"
DEBUG = os.environ.get("WORKER_DEBUG") == "1"
WORKFLOW = json.loads(os.environ.get("WORKER_WORKFLOW", "{}"))

if "WORKER_BROKER" in os.environ:
    CELERY_BROKER_URL = os.environ["WORKER_BROKER"]
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_DEFAULT_QUEUE = os.environ.get("WORKER_QUEUE", "celery")
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
if "WORKER_TIME_LIMIT" in os.environ:
    CELERY_TASK_TIME_LIMIT = float(os.environ["WORKER_TIME_LIMIT"])

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "INFO"},
}

if "WORKER_NO_APP" not in os.environ:
    # As a project's __init__ does it, so that every process has the app.
    from tests.dispatchers.celery_app import app as celery_app  # noqa: F401
