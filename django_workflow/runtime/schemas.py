"""The data of events against what their waiters ask for.

Asked twice: before an event is sent, so that the sender is told, and when it is matched, which is what counts. User code
is called outside the transaction that matches.
"""

from __future__ import annotations

import logging
from typing import Any

from django_workflow.conf import settings
from django_workflow.core.at_rest import opened
from django_workflow.core.codec import codec
from django_workflow.core.exceptions import InvalidEventError
from django_workflow.core.importable import load
from django_workflow.models import Waiter
from django_workflow.runtime.payloads import fitting

logger = logging.getLogger(__name__)


def refuse_unfitting(event_id: str, data_text: str, run_id: str | None) -> None:
    """Refuse an event whose data fit none of those who wait for it at this moment.

    Raises:
        InvalidEventError: there are such, and all refuse; the text tells why.
    """
    waiting = Waiter.objects.using(settings().DATABASE).present_for(event_id, run_id)
    schemas = list(waiting.order_by().values_list("schema", flat=True).distinct())
    if not schemas or "" in schemas:
        return
    reasons = []
    for schema in sorted(schemas):
        try:
            _cleaned(schema, data_text)
        except (
            Exception
        ) as error:  # the door of user code: whatever it raises, it does not take the data
            reasons.append(f"{schema}: {error}")
        else:
            return
    raise InvalidEventError(
        f'The data of event "{event_id}" fit none of the runs that wait for it. {" ".join(reasons)}',
        reasons=reasons,
    )


def fitting_text(schema: str, data_text: str | None) -> str | None:
    """Return the data as this schema cleans them, stored; None where they do not fit."""
    # Nobody refuses what cannot be read at this moment.
    plain_text = None if data_text is None else opened(data_text)
    try:
        return codec.dumps(_cleaned(schema, plain_text), what="event_data")
    except (
        Exception
    ) as error:  # the door of user code: whatever it raises, it does not take the data
        logger.info("The data of an event do not fit %s: %s", schema, error)
        return None


def _cleaned(schema: str, data_text: str | None) -> Any:
    return fitting(load(schema, "schema"), None if data_text is None else codec.loads(data_text))
