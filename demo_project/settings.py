"""Settings of the demo: one process, SQLite, no broker. Nothing here is fit for production."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import dj_database_url

BASE_DIR = Path(__file__).resolve().parent.parent
RUN_DIR = BASE_DIR / ".run"
RUN_DIR.mkdir(exist_ok=True)

SECRET_KEY = "django-insecure-only-for-the-demo-which-guards-nothing-at-all"
DEBUG = True
ALLOWED_HOSTS = ["*"]
USE_TZ = True
TIME_ZONE = "UTC"
ROOT_URLCONF = "demo_project.urls"
STATIC_URL = "static/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

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
    "demo_project.shop",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
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


def sqlite(file: str) -> dict[str, Any]:
    """Return a SQLite database that several threads and processes can write to."""
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": file,
        "OPTIONS": {
            # Without it a transaction that reads before it writes fails as soon as somebody else writes.
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }


# DATABASE_URL puts the demo on PostgreSQL; DEMO_DATABASE keeps it in another file.
if os.environ.get("DATABASE_URL"):
    DATABASES = {"default": dict(dj_database_url.config(conn_max_age=60))}
else:
    DATABASES = {"default": sqlite(os.environ.get("DEMO_DATABASE", str(BASE_DIR / "demo.sqlite3")))}

# The address follows from the server that the demo starts; with it, workflows run over http unless they say otherwise.
WORKFLOW: dict[str, Any] = {
    # The partner that "slow-partner" calls is this very site.
    "CALL_ALLOW": ["127.0.0.0/8", "::1/128"],
    "MAY_FOLLOW": "demo_project.shop.views.may_follow",
    "APPROVAL_MAILER": "demo_project.shop.mail.ask",
}

# The terminal shows the runs; what the server and the engine have to say goes to a file.
LOG_FILE = os.environ.get("DEMO_LOG", str(RUN_DIR / "demo.log"))
# Mails go to a folder, one file each.
EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
EMAIL_FILE_PATH = str(Path(LOG_FILE).parent / "mail")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"},
    },
    "handlers": {
        "file": {
            "class": "logging.FileHandler",
            "filename": LOG_FILE,
            "formatter": "line",
            "delay": True,
        },
    },
    "root": {"handlers": ["file"], "level": "WARNING"},
    "loggers": {
        "django": {"handlers": ["file"], "level": "INFO", "propagate": False},
        "django.server": {"handlers": ["file"], "level": "WARNING", "propagate": False},
        "django_workflow": {"level": "INFO"},
    },
}
