"""Flow control keys: their limits, and what operators do with them."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from django_workflow.conf import settings
from django_workflow.core.anywhere import FlowKeyHandle, flow_control
from django_workflow.core.exceptions import InvalidOptionError
from django_workflow.models import FlowKey
from django_workflow.rest import shapes
from django_workflow.rest.base import ApiView, PageQuery, documented, respond
from django_workflow.rest.fields import Shape, Text, Whole
from django_workflow.rest.paging import page
from django_workflow.rest.problems import ProblemError
from django_workflow.rest.verbs import WhyBody


class LimitsBody(Shape):
    """Limits to be set, which pins them; null takes one away."""

    parallelism = Whole(required=False, allow_null=True, min_value=1)
    rate = Whole(required=False, allow_null=True, min_value=1)
    period = Text(required=False, help_text="As `1m`.")
    why = Text(required=False, allow_blank=True)


def _shown(handle: FlowKeyHandle) -> dict[str, Any]:
    state = handle.state()
    return {
        "key": state.key,
        "parallelism": state.parallelism,
        "rate": state.rate,
        "period_seconds": state.period.total_seconds(),
        "paused": state.is_paused,
        "pinned": state.is_pinned,
        "waiting": state.waiting,
        "holding": state.holding,
    }


def _handle(key: str, *, known: bool) -> FlowKeyHandle:
    try:
        handle = flow_control(key)
    except InvalidOptionError as error:
        raise ProblemError("not-found", str(error)) from error
    rows = FlowKey.objects.using(settings().DATABASE).filter(pk=key)
    if known and not rows.exists():
        raise ProblemError("not-found", f'Nothing has used flow control key "{key}" yet.')
    return handle


class FlowKeys(ApiView):
    """Flow control keys, by name."""

    permissions = {"GET": "view_flowkey"}

    @documented(
        "list_flow_keys", query=PageQuery, gives={200: shapes.FlowKeyPage}, tag="flow control"
    )
    def get(self, request: Request) -> Response:
        """List them with who waits and who holds."""
        asked = self.asked(PageQuery)
        rows = FlowKey.objects.using(settings().DATABASE).all()
        return respond(
            page(
                request, rows, ("key",),
                lambda found: [_shown(flow_control(one.key)) for one in found], asked,
            )
        )  # fmt: skip


class OneFlowKey(ApiView):
    """A flow control key."""

    permissions = {"GET": "view_flowkey", "PATCH": "change_flowkey"}

    @documented("get_flow_key", gives={200: shapes.FlowKeyShape}, tag="flow control")
    def get(self, request: Request, key: str) -> Response:
        """Return it."""
        return respond(_shown(_handle(key, known=True)))

    @documented(
        "set_flow_key", takes=LimitsBody, gives={200: shapes.FlowKeyShape}, tag="flow control"
    )
    def patch(self, request: Request, key: str) -> Response:
        """Change its limits and pin them, whether or not anything has used it."""
        given = self.body(LimitsBody)
        why = given.pop("why", "")
        if not given:
            raise serializers.ValidationError("Give parallelism, rate or period.")
        handle = _handle(key, known=False)
        return respond(_shown(handle.set(actor=self.actor, why=why, **given)))


class _Steer(ApiView):
    permissions = {"POST": "change_flowkey"}

    def do(self, verb: str, key: str) -> Response:
        """Do a verb to a key."""
        why = self.body(WhyBody).get("why", "")
        handle = _handle(key, known=True)
        getattr(handle, verb)(actor=self.actor, why=why)
        return respond(_shown(handle))


class PauseKey(_Steer):
    """A key is paused."""

    @documented(
        "pause_flow_key", takes=WhyBody, gives={200: shapes.FlowKeyShape}, tag="flow control"
    )
    def post(self, request: Request, key: str) -> Response:
        """Let nothing begin under it."""
        return self.do("pause", key)


class ResumeKey(_Steer):
    """A key goes on."""

    @documented(
        "resume_flow_key", takes=WhyBody, gives={200: shapes.FlowKeyShape}, tag="flow control"
    )
    def post(self, request: Request, key: str) -> Response:
        """Let the line move on."""
        return self.do("resume", key)


class PinKey(_Steer):
    """A key is pinned."""

    @documented("pin_flow_key", takes=WhyBody, gives={200: shapes.FlowKeyShape}, tag="flow control")
    def post(self, request: Request, key: str) -> Response:
        """Keep its limits as they are, whatever the code says."""
        return self.do("pin", key)


class UnpinKey(_Steer):
    """A key is unpinned."""

    @documented(
        "unpin_flow_key", takes=WhyBody, gives={200: shapes.FlowKeyShape}, tag="flow control"
    )
    def post(self, request: Request, key: str) -> Response:
        """Let the limits in the code hold again."""
        return self.do("unpin", key)


class ResetKey(_Steer):
    """A key is reset."""

    @documented(
        "reset_flow_key", takes=WhyBody, gives={200: shapes.FlowKeyShape}, tag="flow control"
    )
    def post(self, request: Request, key: str) -> Response:
        """Forget what has begun in the period, resume and unpin."""
        return self.do("reset", key)
