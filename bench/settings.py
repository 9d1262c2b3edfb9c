"""Settings of the benchmark: the tests' ones, with a broker and without debugging."""

from __future__ import annotations

import os

from tests.settings import *  # noqa: F403

DEBUG = False
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = [*INSTALLED_APPS, "bench"]  # noqa: F405
ROOT_URLCONF = "bench.urls"
MIDDLEWARE = []
LOGGING_CONFIG = None
DATABASES["default"]["CONN_MAX_AGE"] = None  # noqa: F405
if "BENCH_SQLITE" in os.environ:
    DATABASES["default"]["NAME"] = os.environ["BENCH_SQLITE"]  # noqa: F405
WORKFLOW = {
    "BASE_URL": os.environ.get("BENCH_BASE_URL", "http://127.0.0.1:1"),
    "TRANSPORT": "inline",
    "CALL_ALLOW": ["127.0.0.0/8"],
}
CELERY_BROKER_URL = os.environ.get("BENCH_BROKER", "memory://")
CELERY_DB_REUSE_MAX = 1_000_000
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
