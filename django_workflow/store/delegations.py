"""Approvals that are handed on: other assignees of the same decision."""

from __future__ import annotations

from collections.abc import Iterable

from django.db import transaction

from django_workflow.conf import settings
from django_workflow.models import Approval, ApprovalAssignee
from django_workflow.store.approvals import ClosedError, still_open
from django_workflow.store.claims import now as database_now
from django_workflow.store.repeating import repeated
from django_workflow.store.sql import connection, dialect


@repeated
def hand_on(
    approval: Approval, to: tuple[str, str], instead_of: Iterable[tuple[str, str]], *, is_told: bool
) -> None:
    """Give an open approval one more assignee, and take others away, in the caller's transaction.

    Raises:
        ClosedError: it can no longer be decided; nothing was written.
    """
    alias = settings().DATABASE
    with transaction.atomic(using=alias):
        # The run first, then the approval: so does who decides, and who deletes a run.
        with connection().cursor() as cursor:
            if not dialect().keep_run(cursor, str(approval.run_id)):
                raise ClosedError
        moment = database_now()
        still = still_open(approval, moment)
        changes = {"next_mail_at": moment} if is_told else {"decision": ""}
        if not still.update(**changes):
            raise ClosedError
        named = ApprovalAssignee.objects.using(alias)
        for kind, value in instead_of:
            named.filter(approval=approval, kind=kind, value=value).delete()
        kind, value = to
        named.bulk_create(
            [ApprovalAssignee(approval=approval, kind=kind, value=value)], ignore_conflicts=True
        )
