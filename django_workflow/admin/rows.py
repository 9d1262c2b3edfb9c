"""What people do to rows that are no runs: each verb by POST, with its permission, after a page that asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.forms import Media
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from django_workflow.admin.base import STYLES, ReadOnlyAdmin, may_see_payloads
from django_workflow.admin.why import WhyForm, logged
from django_workflow.core.actors import Actor
from django_workflow.core.exceptions import WorkflowError

PAGES_STYLE = "django_workflow/pages.css"
#: What the admin's log keeps of one change.
LONGEST_LOGGED = 2_000


def page_context(model_admin: Any, request: HttpRequest, **more: Any) -> dict[str, Any]:
    """Return what every page needs that stands beside the lists of an admin."""
    request.current_app = model_admin.admin_site.name
    return {
        **model_admin.admin_site.each_context(request),
        "opts": model_admin.opts,
        "media": model_admin.media + Media(css={"all": [PAGES_STYLE]}),
        "may_see_payloads": may_see_payloads(request),
        **more,
    }


@dataclass(frozen=True, kw_only=True)
class RowVerb:
    """One thing that people may do to a row."""

    name: str
    label: Any
    question: Any
    tells: Any
    #: What was done, for messages and logs.
    done: Any
    #: One or several, all of them needed; separated by blanks.
    permission: str
    #: Does it; may return the id of a run that was made.
    do: Callable[[Any, Actor, dict[str, Any]], Any]
    #: Why it cannot be done to this row now; empty if it can.
    refusal: Callable[[Any], str] = lambda row: ""
    form: type[WhyForm] = WhyForm
    #: What is taken away cannot be brought back: a reason is asked for.
    is_grave: bool = False

    def is_allowed(self, request: HttpRequest) -> bool:
        """Tell whether the user has the permission."""
        return request.user.has_perms([f"django_workflow.{one}" for one in self.permission.split()])


class SteeredAdmin(ReadOnlyAdmin):
    """An admin of rows with verbs."""

    change_form_template = "django_workflow/admin/row.html"
    fields = ()
    verbs: Sequence[RowVerb] = ()
    #: The template of what the page of a row shows.
    panel = ""

    class Media:
        """Our own style."""

        css = {"all": [*STYLES, PAGES_STYLE]}

    def describe(self, row: Any) -> str:
        """Return how a row stands, for the log before and after."""
        return ""

    def panel_of(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """Return what the panel of a row's page shows."""
        return {}

    def get_urls(self) -> list[URLPattern]:
        """Add a page for each verb."""
        own = [
            path(
                f"<path:object_id>/{verb.name}/",
                self.admin_site.admin_view(self._page_of(verb)),
                name=f"django_workflow_{self.opts.model_name}_{verb.name}",
            )
            for verb in self.verbs
        ]
        return [*own, *super().get_urls()]

    def url_of(self, name: str, *args: Any) -> str:
        """Return where one of this admin's pages is."""
        found = f"{self.admin_site.name}:django_workflow_{self.opts.model_name}_{name}"
        return reverse(found, args=[quote(str(one)) for one in args])

    def page_context(self, request: HttpRequest, **more: Any) -> dict[str, Any]:
        """Return what every page of ours needs."""
        return page_context(self, request, **more)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show the list, under its own name."""
        title = capfirst(str(self.opts.verbose_name_plural))
        return super().changelist_view(request, {"title": title, **(extra_context or {})})

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show a row, and what can be done to it."""
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        context = dict(extra_context or {})
        row = self.get_object(request, unquote(object_id))
        if row is not None and self.has_view_permission(request, row):
            context |= {
                "row": row,
                "panel": self.panel,
                "verbs": self.verbs_of(request, row),
                "may_see_payloads": may_see_payloads(request),
                "title": str(row),
                "subtitle": None,
                **self.panel_of(request, row),
            }
        return super().change_view(request, object_id, form_url, context)

    def verbs_of(self, request: HttpRequest, row: Any) -> list[dict[str, Any]]:
        """Return what this user may do to a row, and why it cannot be done now."""
        return [
            {"verb": verb, "url": self.url_of(verb.name, row.pk), "refusal": verb.refusal(row)}
            for verb in self.verbs
            if verb.is_allowed(request)
        ]

    def _page_of(self, verb: RowVerb) -> Callable[..., HttpResponse]:
        def view(request: HttpRequest, object_id: str) -> HttpResponse:
            return self._verb_view(request, verb, unquote(object_id))

        return view

    def _verb_view(self, request: HttpRequest, verb: RowVerb, key: str) -> HttpResponse:
        if not self.has_view_permission(request) or not verb.is_allowed(request):
            raise PermissionDenied
        if request.method not in ("GET", "HEAD", "POST"):
            return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
        row = self.get_object(request, key)
        if row is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, key)  # type: ignore[attr-defined, no-any-return]
        url = self.url_of("change", row.pk)
        if refusal := verb.refusal(row):
            text = _("%(verb)s: nothing was done. %(why)s")
            self.message_user(request, text % {"verb": verb.label, "why": refusal}, messages.ERROR)
            return HttpResponseRedirect(url)
        is_sent = request.method == "POST"
        form = verb.form(request.POST if is_sent else None, row=row, is_grave=verb.is_grave)
        if is_sent and form.is_valid():
            try:
                return HttpResponseRedirect(self._done(request, verb, row, form.cleaned_data))
            except WorkflowError as error:
                form.add_error(None, str(error))
        context = self.page_context(
            request, title=verb.question, verb=verb, row=row, row_url=url, back=url, form=form
        )
        return TemplateResponse(request, "django_workflow/admin/ask.html", context)

    def _done(self, request: HttpRequest, verb: RowVerb, row: Any, cleaned: dict[str, Any]) -> str:
        """Do it, keep it in the admin's log too, and return where to go then."""
        before = self.describe(row)
        made = verb.do(row, Actor.of(request.user, door="admin"), cleaned)
        again = self.get_object(request, str(row.pk))
        after = "" if again is None else self.describe(again)
        changed = f" ({before} → {after})" if after and before != after else ""
        said = logged(f"{verb.done}{changed}", cleaned.get("why", ""))
        self.log_change(request, row, said[:LONGEST_LOGGED])
        told = _("“%(what)s”: %(done)s.") % {"what": row, "done": verb.done}
        self.message_user(request, told, messages.SUCCESS)
        if isinstance(made, str) and made:
            return reverse(f"{self.admin_site.name}:django_workflow_run_change", args=[quote(made)])
        return self.url_of("changelist") if again is None else self.url_of("change", row.pk)
