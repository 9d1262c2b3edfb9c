"""A courier whose label printer has moods."""

from __future__ import annotations

from django_workflow import current_step

MOODY = "moody"


def print_label(order: str, courier: str) -> str:
    """Return the number of a label; a moody courier answers only when asked for the third time.

    Raises:
        ConnectionError: the courier does not answer; worth another try.
    """
    attempt = current_step().attempt
    if courier == MOODY and attempt <= 2:
        raise ConnectionError(f"The courier did not answer (attempt {attempt}).")
    return f"label-{order}"
