"""The test project as web servers start it: with the doors, and with the workflows of the tests of transports."""

from __future__ import annotations

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application

settings.ROOT_URLCONF = "tests.doors.urls"

wsgi = get_wsgi_application()
asgi = get_asgi_application()

import tests.transports.runs  # noqa: E402, F401  its workflows need the apps
