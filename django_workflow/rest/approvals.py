"""Approvals: those of the one who asks, and their decision."""

from __future__ import annotations

from typing import Any

from django.db.models import Q
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from django_workflow.conf import settings
from django_workflow.core.anywhere import decide_approval
from django_workflow.models import Approval
from django_workflow.rest import shapes
from django_workflow.rest.base import ApiView, PageQuery, documented, respond
from django_workflow.rest.fields import Shape, Text, Truth
from django_workflow.rest.paging import page
from django_workflow.rest.problems import ProblemError
from django_workflow.rest.selecting import runs
from django_workflow.rest.shown import at
from django_workflow.runtime.approvals import COMMENT_LENGTH, may_decide
from django_workflow.runtime.veils import Veil
from django_workflow.runtime.visibility import sees_all_runs


class ApprovalQuery(PageQuery):
    """What the list of approvals takes."""

    open = serializers.BooleanField(
        required=False, help_text="Those alone that can be decided, unless this is false."
    )


class DecisionBody(Shape):
    """A decision."""

    approve = Truth()
    comment = Text(required=False, allow_blank=True, max_length=COMMENT_LENGTH)
    data = serializers.DictField(  # type: ignore[assignment]
        required=False, help_text="What the form is filled in with."
    )


def _shown(request: Any, approval: Approval) -> dict[str, Any]:
    return {
        "id": approval.pk,
        "workflow_run_id": Veil(request).id(approval.run_id),
        "title": approval.title,
        "description": approval.description,
        "has_form": bool(approval.form),
        "created_at": at(approval.created_at),
        "due_at": at(approval.due_at),
        "decision": approval.decision or None,
        "decided_by": approval.decided_by or None,
        "decided_at": at(approval.decided_at),
        "comment": approval.comment,
    }


class _Approvals(ApiView):
    def mine(self) -> Any:
        """Return the approvals that the user is asked for: by name or group, or by permission where the run is there."""
        user = self.request.user
        rows = Approval.objects.using(settings().DATABASE)
        asked = rows.exclude(permission="").order_by()
        named = asked.values_list("permission", flat=True).distinct()
        held = [permission for permission in named if user.has_perm(permission)]
        assigned = rows.assigned_to(user).order_by().values("pk")
        by_permission = Q(permission__in=held)
        if not sees_all_runs(self.request):
            by_permission &= Q(run__in=runs(self.request))
        return rows.filter(Q(pk__in=assigned) | by_permission)

    def approval(self, pk: int) -> Approval:
        """Return an approval of the user's; that there are others is not told."""
        rows = Approval.objects.using(settings().DATABASE)
        found = rows.filter(pk=pk).first() if pk < 2**63 else None
        if found is None or not self._is_there(found):
            raise ProblemError("not-found", f"There is no approval {pk} for you.")
        return found

    def _is_there(self, approval: Approval) -> bool:
        user = self.request.user
        rows = Approval.objects.using(settings().DATABASE).filter(pk=approval.pk)
        if rows.assigned_to(user).exists():
            return True
        is_theirs = may_decide(approval, user) or self.may("view_approval")
        return is_theirs and runs(self.request).filter(pk=approval.run_id).exists()


class Approvals(_Approvals):
    """The user's approvals."""

    permissions = {"GET": ""}

    @documented(
        "list_approvals", query=ApprovalQuery, gives={200: shapes.ApprovalPage}, tag="approvals"
    )
    def get(self, request: Request) -> Response:
        """List what waits for a decision of the one who asks, the newest first."""
        asked = self.asked(ApprovalQuery)
        rows = self.mine().open() if asked.get("open", True) else self.mine()
        return respond(
            page(
                request,
                rows,
                ("-id",),
                lambda found: [_shown(request, one) for one in found],
                asked,
            )
        )


class OneApproval(_Approvals):
    """An approval."""

    permissions = {"GET": ""}

    @documented("get_approval", gives={200: shapes.ApprovalShape}, tag="approvals")
    def get(self, request: Request, approval_id: int) -> Response:
        """Return it."""
        return respond(_shown(request, self.approval(approval_id)))


class Decide(_Approvals):
    """An approval is decided."""

    permissions = {"POST": ""}

    @documented(
        "decide_approval",
        takes=DecisionBody,
        gives={200: shapes.ApprovalShape},
        tag="approvals",
    )
    def post(self, request: Request, approval_id: int) -> Response:
        """Approve or reject, once."""
        given = self.body(DecisionBody)
        approval = self.approval(approval_id)
        return respond(_shown(request, decide_approval(approval, by=request.user, **given)))
