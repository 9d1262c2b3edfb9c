"""What a play needs to be called from outside: URLs, and tokens that are the same in every performance."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from tests.transports.wsgi import served_at


@contextmanager
def reachable() -> Iterator[None]:
    """Mount our own views, and let the only webhook of the play have a token that is no secret."""
    with (
        served_at("http://testserver"),
        patch("django_workflow.runtime.webhooks.secrets.token_urlsafe", lambda size: "t" * size),
        patch("django_workflow.runtime.webhooks.secrets.token_hex", lambda size: "e" * size),
    ):
        yield
