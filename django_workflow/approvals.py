"""The page behind the link in an approval's mail. Looking at it changes nothing; only its button decides."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.clickjacking import xframe_options_deny
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_http_methods

from django_workflow.core.exceptions import (
    ApprovalClosedError,
    DecisionRefusedError,
    InvalidDecisionError,
    InvalidOptionError,
)
from django_workflow.core.ports import get_runtime
from django_workflow.models import Approval
from django_workflow.runtime.approval_mail import read_link
from django_workflow.runtime.approvals import form_of, may_decide, refuse_closed

PAGE = "django_workflow/approval.html"
#: Names that no form of a project is likely to use.
DECISION = "workflow_decision"
COMMENT = "workflow_comment"


@login_not_required
@never_cache
@xframe_options_deny
@csrf_protect
@require_http_methods(["GET", "HEAD", "POST"])
def approval(request: HttpRequest, token: str) -> HttpResponse:
    """Show what is asked, and take the decision of whoever the link was sent to."""
    response = _page(request, token)
    # The link decides: it is for nobody else, and no search engine. The CSRF check needs the address of this site.
    response.headers["Referrer-Policy"] = "same-origin"
    response.headers["X-Robots-Tag"] = "noindex"
    return response


def _page(request: HttpRequest, token: str) -> HttpResponse:
    link = read_link(token)
    if link is None or not may_decide(*link):
        return _told(request, HTTPStatus.NOT_FOUND, _("This link is not valid."))
    asked, by = link
    try:
        refuse_closed(asked)
        if request.method == "POST":
            return _decided(request, asked, by)
        return _shown(request, asked, by, form_of(asked))
    except ApprovalClosedError as error:
        return _told(request, HTTPStatus.GONE, str(error), asked)
    except DecisionRefusedError as error:
        return _told(request, HTTPStatus.FORBIDDEN, str(error), asked)
    except InvalidDecisionError:
        text = _("The form of this approval does not work at the moment. It stays open.")
        return _told(request, HTTPStatus.INTERNAL_SERVER_ERROR, text, asked)


def _decided(request: HttpRequest, asked: Approval, by: Any) -> HttpResponse:
    choice = request.POST.get(DECISION)
    if choice not in ("approve", "reject"):
        return _told(request, HTTPStatus.BAD_REQUEST, _("Approve or reject."), asked)
    comment = request.POST.get(COMMENT, "")
    try:
        done = get_runtime().decide_approval(
            asked, approve=choice == "approve", by=by, comment=comment, data=request.POST
        )
    except InvalidDecisionError as error:
        if not error.errors:
            raise
        bound = form_of(asked, request.POST)
        return _shown(request, asked, by, bound, comment, HTTPStatus.UNPROCESSABLE_ENTITY)
    except InvalidOptionError as error:
        return _told(request, HTTPStatus.BAD_REQUEST, str(error), asked)
    text = (
        _("You have approved this.")
        if done.decision == Approval.Decision.APPROVED
        else _("You have rejected this.")
    )
    return _told(request, HTTPStatus.OK, text, done)


def _shown(
    request: HttpRequest,
    asked: Approval,
    by: Any,
    form: Any,
    comment: str = "",
    status: HTTPStatus = HTTPStatus.OK,
) -> HttpResponse:
    try:
        fields = None if form is None else form.as_div()
    except Exception as error:  # the door of user code
        raise InvalidDecisionError(f"The form {asked.form} cannot be shown: {error}") from error
    who = by if isinstance(by, str) else by.get_username()
    context = {"approval": asked, "fields": fields, "comment": comment, "who": who}
    return render(request, PAGE, context, status=status)


def _told(
    request: HttpRequest, status: HTTPStatus, text: str, asked: Approval | None = None
) -> HttpResponse:
    return render(request, PAGE, {"message": text, "approval": asked}, status=status)
