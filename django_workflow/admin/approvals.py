"""Approvals: what the signed-in user may decide, and the page on which they do."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_workflow.admin.base import badge
from django_workflow.admin.rows import LONGEST_LOGGED, SteeredAdmin
from django_workflow.admin.seeing import linked, veil_over
from django_workflow.admin.why import WhyForm, logged
from django_workflow.conf import settings
from django_workflow.core.actors import Actor
from django_workflow.core.exceptions import (
    ApprovalClosedError,
    InvalidDecisionError,
    WorkflowError,
)
from django_workflow.core.ports import get_runtime
from django_workflow.models import Approval
from django_workflow.runtime.approvals import COMMENT_LENGTH, form_of, may_decide, refuse_closed
from django_workflow.runtime.delegating import delegate
from django_workflow.runtime.visibility import visible_runs

#: Names that no form of a project is likely to use; those of the page behind the mail's link.
DECISION = "workflow_decision"
COMMENT = "workflow_comment"


class DelegateForm(WhyForm):
    """To whom it is handed on."""

    to = forms.CharField(
        label=gettext_lazy("User name"),
        max_length=254,
        widget=forms.TextInput(attrs={"class": "vTextField", "autocomplete": "off"}),
        help_text=gettext_lazy("Who is to decide in your place."),
    )
    field_order = ["to", "why"]

    def clean_to(self) -> Any:
        """Find the user."""
        model: Any = get_user_model()
        try:
            return model._default_manager.get_by_natural_key(self.cleaned_data["to"].strip())
        except model.DoesNotExist:
            raise forms.ValidationError(_("There is no user of this name.")) from None


class StandingFilter(admin.SimpleListFilter):
    """Open ones, unless others are asked for."""

    title = gettext_lazy("decision")
    parameter_name = "standing"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Offer all ends."""
        return [("all", _("All")), *Approval.Decision.choices]  # type: ignore[list-item]

    def choices(self, changelist: Any) -> Any:
        """Say what is shown where nothing was chosen."""
        yield {
            "selected": self.value() is None,
            "query_string": changelist.get_query_string(remove=[self.parameter_name]),
            "display": _("To be decided"),
        }
        for value, title in self.lookup_choices:
            yield {
                "selected": self.value() == value,
                "query_string": changelist.get_query_string({self.parameter_name: value}),
                "display": title,
            }

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Keep the chosen ones."""
        wanted = self.value()
        if wanted == "all":
            return queryset
        return queryset.filter(decision=wanted) if wanted else queryset.open()


def _visible(request: HttpRequest) -> Q:
    return Q(run_id__in=visible_runs(request).order_by().values("pk"))


@admin.register(Approval)
class ApprovalAdmin(SteeredAdmin):
    """An inbox: everybody who may enter the admin finds what they may decide, and no more without ``view_approval``."""

    list_display = ("title", "standing", "run_link", "asked", "due")
    list_filter = (StandingFilter,)
    search_fields = ("title", "run_id__startswith")
    search_help_text = gettext_lazy("A part of the title, or the beginning of a run's ID")
    ordering = ("due_at", "id")
    change_list_template = "django_workflow/admin/rows.html"
    empty_text = gettext_lazy(
        "Nothing waits for your decision. Runs ask with ctx.wait_for_approval(); choose “All” to see what was decided."
    )

    def get_urls(self) -> list[URLPattern]:
        """Add the page on which an approval is handed on."""
        own = path(
            "<path:object_id>/delegate/",
            self.admin_site.admin_view(self.delegate_view),
            name="django_workflow_approval_delegate",
        )
        return [own, *super().get_urls()]

    # Who sees what

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Show the inbox to everybody who may enter."""
        return bool(request.user.is_active and request.user.is_staff)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Let everybody see what they may decide; the others with ``view_approval``."""
        if not self.has_module_permission(request):
            return False
        return obj is None or super().has_view_permission(request) or may_decide(obj, request.user)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return those of the user, or all with ``view_approval``."""
        found: QuerySet[Any] = super().get_queryset(request)
        user: Any = request.user
        asked = found.exclude(permission="").order_by()
        named = asked.values_list("permission", flat=True).distinct()
        held = [permission for permission in named if user.has_perm(permission)]
        mine = Approval.objects.using(settings().DATABASE).assigned_to(user).order_by()
        own = Q(Exists(mine.filter(pk=OuterRef("pk")))) | Q(permission__in=held)
        if not super().has_view_permission(request):
            return found.filter(own)
        # What one is asked to decide one may see, whatever its run is about.
        return found if settings().VISIBLE_RUNS is None else found.filter(own | _visible(request))

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Find out which of the runs of these approvals the user may see."""
        found = super().get_changelist_instance(request)
        found.result_list = list(found.result_list)
        veil = veil_over(request)
        for row in found.result_list:
            row.run_shown = linked(row.run_id, veil, self.admin_site.name)
        return found

    @admin.display(description=gettext_lazy("run"), ordering="run_id")
    def run_link(self, obj: Any) -> Any:
        """Return a link to the run, for who may see that too."""
        return obj.run_shown

    # The list

    @admin.display(description=gettext_lazy("state"), ordering="decision")
    def standing(self, row: Approval) -> SafeString:
        """Return what was decided, or that it waits."""
        if not row.decision:
            is_late = row.due_at <= timezone.now()
            return badge("failed", _("late")) if is_late else badge("waiting", _("waits"))
        mark = {"approved": "completed", "rejected": "failed"}.get(row.decision, "cancelled")
        shown = badge(mark, row.get_decision_display())
        return format_html('{}<span class="dw-why">{}</span>', shown, row.decided_by)

    @admin.display(description=gettext_lazy("asked"), ordering="created_at")
    def asked(self, row: Approval) -> str:
        """Return since when it waits."""
        return f"{timezone.localtime(row.created_at):%Y-%m-%d %H:%M}"

    @admin.display(description=gettext_lazy("due"), ordering="due_at")
    def due(self, row: Approval) -> str:
        """Return until when it is to be decided."""
        return f"{timezone.localtime(row.due_at):%Y-%m-%d %H:%M}"

    # The page

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show what is asked, and take the decision."""
        if request.method not in ("GET", "HEAD", "POST"):
            return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
        row = self.get_object(request, unquote(object_id))
        if row is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[attr-defined, no-any-return]
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        if request.method == "POST":
            return self._decide(request, row)
        return self._show(request, row)

    def _decide(self, request: HttpRequest, row: Approval) -> HttpResponse:
        if not may_decide(row, request.user):
            raise PermissionDenied
        choice = request.POST.get(DECISION)
        if choice not in ("approve", "reject"):
            return self._show(request, row, trouble=_("Approve or reject."))
        comment = request.POST.get(COMMENT, "")
        try:
            done = get_runtime().decide_approval(
                row,
                approve=choice == "approve",
                by=request.user,
                comment=comment,
                data=request.POST,
            )
        except InvalidDecisionError as error:
            if error.errors:
                return self._show(request, row, data=request.POST, comment=comment)
            return self._show(request, row, trouble=str(error), comment=comment)
        except WorkflowError as error:
            return self._show(request, row, trouble=str(error), comment=comment)
        said = logged(done.get_decision_display(), comment)
        self.log_change(request, row, said[:LONGEST_LOGGED])
        told = _("“%(title)s” was %(decision)s.")
        words = {"title": row.title, "decision": done.get_decision_display()}
        self.message_user(request, told % words, messages.SUCCESS)
        return HttpResponseRedirect(self.url_of("changelist"))

    def _show(
        self,
        request: HttpRequest,
        row: Approval,
        *,
        data: Any = None,
        comment: str = "",
        trouble: str = "",
    ) -> HttpResponse:
        closed, fields, form = "", None, None
        is_mine = may_decide(row, request.user)
        try:
            refuse_closed(row)
            form = form_of(row, data) if is_mine else None
            fields = None if form is None else form.as_div()
        except ApprovalClosedError as error:
            closed = str(error)
        except InvalidDecisionError as error:
            trouble = trouble or str(error)
        except Exception as error:  # the door of user code: the form may raise while it is drawn
            trouble = trouble or _("The form cannot be shown: %(error)s") % {"error": error}
        context = self.page_context(
            request,
            title=row.title or _("Approval"),
            row=row,
            run=linked(row.run_id, veil_over(request), self.admin_site.name),
            assignees=list(row.assignees.order_by("kind", "value")),
            is_mine=is_mine,
            closed=closed,
            fields=fields,
            form=form,
            comment=comment,
            comment_length=COMMENT_LENGTH,
            trouble=trouble,
            delegate_url=self.url_of("delegate", row.pk) if is_mine and not closed else "",
        )
        status = 422 if data is not None or (trouble and request.method == "POST") else 200
        return TemplateResponse(
            request, "django_workflow/admin/approval.html", context, status=status
        )

    def delegate_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask to whom it is handed on, and do it."""
        if request.method not in ("GET", "HEAD", "POST"):
            return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
        if not self.has_view_permission(request):
            raise PermissionDenied
        row = self.get_object(request, unquote(object_id))
        if row is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[attr-defined, no-any-return]
        if not may_decide(row, request.user):
            raise PermissionDenied
        is_sent = request.method == "POST"
        form = DelegateForm(request.POST if is_sent else None, row=row)
        if is_sent and form.is_valid():
            to, why = form.cleaned_data["to"], form.cleaned_data["why"]
            try:
                delegate(row, to=to, by=request.user, actor=self._actor(request), why=why)
            except WorkflowError as error:
                form.add_error(None, str(error))
            else:
                told = _("handed on to %(name)s") % {"name": to.get_username()}
                self.log_change(request, row, logged(told, why))
                self.message_user(request, f"“{row.title}”: {told}.", messages.SUCCESS)
                return HttpResponseRedirect(self.url_of("changelist"))
        url = self.url_of("change", row.pk)
        context = self.page_context(
            request,
            title=_("Let somebody else decide?"),
            tells=_("They may decide in your place. Others who are asked may still decide too."),
            action=_("Hand on"),
            row=row,
            row_url=url,
            back=url,
            form=form,
        )
        return TemplateResponse(request, "django_workflow/admin/ask.html", context)

    def _actor(self, request: HttpRequest) -> Any:
        return Actor.of(request.user, door="admin")
