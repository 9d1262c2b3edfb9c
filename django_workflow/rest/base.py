"""What all addresses of the API share: who may, how often, what is read, and how it is documented."""

from __future__ import annotations

from collections.abc import Callable
from json import JSONDecoder
from typing import Any, NoReturn, TypeVar

from django.db import connections, transaction
from django.http import UnreadablePostError
from rest_framework import permissions, serializers
from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.throttling import ScopedRateThrottle
from rest_framework.views import APIView

from django_workflow.conf import settings
from django_workflow.core.actors import Actor
from django_workflow.rest.fields import Shape, Text
from django_workflow.rest.problems import MEDIA_TYPE, ProblemError, answer

try:
    from drf_spectacular.openapi import AutoSchema
    from drf_spectacular.utils import extend_schema
except ImportError:  # The extra "openapi" is not installed: there is nothing to document for.
    AutoSchema = None  # type: ignore[assignment, misc]

HandlerT = TypeVar("HandlerT", bound=Callable[..., Any])

APP = "django_workflow"
#: What a body may have besides a payload of the greatest length.
ROOM_BYTES = 100_000


class Problem(Shape):
    """An error: problem details of RFC 9457."""

    type = serializers.CharField(help_text="What kind of problem it is, as a URN.")
    title = serializers.CharField(help_text="The kind in words.")
    status = serializers.IntegerField()
    detail = serializers.CharField(help_text="What is wrong here.")
    path = serializers.CharField(required=False, help_text="What of the request is wrong.")
    state = serializers.CharField(required=False, help_text="The state that was found.")
    workflow_run_id = serializers.CharField(required=False)
    errors = serializers.ListField(  # type: ignore[assignment]
        required=False, child=serializers.DictField(child=serializers.CharField())
    )


class JSONBody(JSONParser):
    """A body of JSON, of a bounded length and depth."""

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        """Return what the body holds."""
        limit = settings().MAX_PAYLOAD_BYTES + ROOM_BYTES
        try:
            body = stream.read(limit + 1)
        except UnreadablePostError as error:
            raise ParseError("The body could not be read.") from error
        if len(body) > limit:
            raise ProblemError("too-large", f"The body may have {limit:,} bytes at most.")
        try:
            return _decoder.decode(body.decode())
        except RecursionError as error:
            raise ParseError("The body is nested too deep.") from error
        except ValueError as error:
            raise ParseError(f"The body is not JSON: {error}.") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}")


_decoder = JSONDecoder(parse_constant=_refuse_constant)


class PlainJSON(JSONRenderer):
    """JSON in ASCII: a stored text may hold half a character, which no other encoding has."""

    ensure_ascii = True


_configured: Any = api_settings.DEFAULT_RENDERER_CLASSES
RENDERERS = [PlainJSON if one is JSONRenderer else one for one in _configured]


class Throttle(ScopedRateThrottle):
    """The rate that ``DEFAULT_THROTTLE_RATES`` gives to a scope of ours; without one there is no limit."""

    def get_rate(self) -> str | None:
        """Return the rate as it is set now."""
        rates: dict[str, Any] = api_settings.DEFAULT_THROTTLE_RATES
        return rates.get(self.scope or "")


class MayDo(permissions.BasePermission):
    """The permissions that a view names for the method; without a name, whoever is signed in."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Tell whether the user is active and has them."""
        user = request.user
        if not user.is_authenticated or not user.is_active:
            return False
        names = view.permissions.get("GET" if request.method == "HEAD" else request.method, "")
        missing = [name for name in names.split() if not user.has_perm(f"{APP}.{name}")]
        if missing:
            self.message = f"It takes the permission {APP}.{missing[0]}."
        return not missing


class PageQuery(Shape):
    """What every list by cursor takes."""

    cursor = Text(required=False, help_text="From `next` of the page before.")
    page_size = serializers.IntegerField(
        required=False, min_value=1, help_text="50 unless given, and never more than 200."
    )


class ApiView(APIView):
    """One address of the API."""

    #: Names of permissions by method, separated by spaces; an empty text lets in whoever is signed in.
    permissions: dict[str, str] = {}
    #: Throttle scopes by method; reads are ``workflow_read``, all else ``workflow_write``.
    scopes: dict[str, str] = {}
    permission_classes = [MayDo]
    parser_classes = [JSONBody]
    renderer_classes = RENDERERS
    if AutoSchema is not None:
        schema = AutoSchema()

    @classmethod
    def as_view(cls, **initkwargs: Any) -> Any:
        """Return the view, in no transaction of its own: every verb is whole by itself, and waits are in none."""
        view = super().as_view(**initkwargs)
        for alias in connections:
            transaction.non_atomic_requests(using=alias)(view)
        return view

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse a body in pieces: Django would take it for none, and a run would start without its payload."""
        super().initial(request, *args, **kwargs)
        if request.headers.get("Transfer-Encoding") and not request.headers.get("Content-Length"):
            raise ProblemError("no-length", "Send Content-Length, not Transfer-Encoding: chunked.")

    def get_throttles(self) -> list[Any]:
        """Return the project's throttles, and ours by scope."""
        method = self.request.method or "GET"
        usual = "workflow_read" if method in permissions.SAFE_METHODS else "workflow_write"
        self.throttle_scope = self.scopes.get(method, usual)
        return [*super().get_throttles(), Throttle()]

    def get_exception_handler(self) -> Any:
        """Return ours: the shape of errors is a part of the API."""
        return answer

    def finalize_response(self, request: Any, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Name the media type of problems."""
        found = super().finalize_response(request, response, *args, **kwargs)
        renderer = getattr(found, "accepted_renderer", None)
        if found.status_code >= 400 and getattr(renderer, "format", "") == "json":
            found.content_type = MEDIA_TYPE
        return found

    # What is read

    def asked(self, shape: type[Shape]) -> dict[str, Any]:
        """Return what the query asks for.

        Raises:
            ValidationError: it asks for what there is not, or twice.
        """
        given = self.request.query_params
        fields = shape().fields
        asked: dict[str, Any] = {}
        for name in given:
            if name == api_settings.URL_FORMAT_OVERRIDE and name not in fields:
                continue
            values = given.getlist(name)
            if isinstance(fields.get(name), serializers.ListField):
                asked[name] = values
            elif len(values) > 1:
                raise serializers.ValidationError({name: "It is given more than once."})
            else:
                asked[name] = values[0]
        return self._checked(shape, asked)

    def body(self, shape: type[Shape]) -> dict[str, Any]:
        """Return what the body holds; none at all is an empty object.

        Raises:
            ValidationError: a field is missing, unknown, or of another type.
        """
        data = self.request.data
        return self._checked(shape, {} if hasattr(data, "getlist") else data)

    def _checked(self, shape: type[Shape], data: Any) -> dict[str, Any]:
        found = shape(data=data)
        found.is_valid(raise_exception=True)
        return dict(found.validated_data)

    # Who asks

    @property
    def actor(self) -> Actor:
        """Who asks, and through this door."""
        return Actor.of(self.request.user, door="rest")

    def may(self, permission: str) -> bool:
        """Tell whether the user has a permission of ours."""
        return bool(self.request.user.has_perm(f"{APP}.{permission}"))

    def demand(self, permission: str) -> None:
        """Refuse who has not this permission."""
        if not self.may(permission):
            raise ProblemError("forbidden", f"It takes the permission {APP}.{permission}.")

    @property
    def sees(self) -> bool:
        """Whether payloads, results and errors are shown."""
        return self.may("view_payload")


class Nowhere(ApiView):
    """An address at which there is nothing: a problem as any other, and no page of the site's."""

    schema = None  # type: ignore[assignment]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Say so, to whoever is signed in."""
        super().initial(request, *args, **kwargs)
        raise ProblemError("not-found", "There is nothing at this address.")


USUAL_PROBLEMS = (400, 401, 403, 404, 406, 429, 500, 503)
BODY_PROBLEMS = (409, 411, 413, 415)


def documented(
    operation_id: str,
    *,
    gives: dict[int, Any],
    query: type[Shape] | None = None,
    takes: type[Shape] | None = None,
    tag: str,
) -> Callable[[HandlerT], HandlerT]:
    """Say what a handler takes and gives, for OpenAPI; all can answer with the usual problems besides."""

    def decorate(handler: HandlerT) -> HandlerT:
        if AutoSchema is None:
            return handler
        answers: dict[Any, Any] = dict(gives)
        changes = not operation_id.startswith(("list_", "get_"))
        for status in (*USUAL_PROBLEMS, *(BODY_PROBLEMS if changes else ())):
            answers[(status, MEDIA_TYPE)] = Problem
        # Otherwise the project's default class would be extended, which may know nothing of this.
        handler.schema = AutoSchema  # type: ignore[attr-defined]
        done: HandlerT = extend_schema(
            operation_id=f"workflow_{operation_id}",
            parameters=[query] if query is not None else None,
            request=takes,
            responses=answers,
            tags=[tag],
            filters=False,
        )(handler)
        return done

    return decorate


def respond(content: Any, status: int = 200) -> Response:
    """Return an answer."""
    return Response(content, status=status)
