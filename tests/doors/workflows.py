"""Workflows whose doors differ."""

from __future__ import annotations

import hmac
import json
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow


@workflow(name="guarded")
def guarded(ctx: WorkflowContext[Any]) -> Any:
    return ctx.request_payload


@workflow(name="async_guarded")
async def async_guarded(ctx: AsyncWorkflowContext[Any]) -> Any:
    return ctx.request_payload


def has_token(request: HttpRequest) -> bool:
    return request.headers.get("X-Token") == "open sesame"


async def has_token_async(request: HttpRequest) -> bool:
    return has_token(request)


def denied(request: HttpRequest) -> bool:
    raise PermissionDenied("The office is closed.")


@workflow(name="by_token", trigger_permission=has_token)
def by_token(ctx: WorkflowContext[Any]) -> Any:
    return ctx.request_payload


@workflow(name="by_async_token", trigger_permission=has_token_async)
def by_async_token(ctx: WorkflowContext[Any]) -> Any:
    return ctx.request_payload


@workflow(name="async_by_async_token", trigger_permission=has_token_async)
async def async_by_async_token(ctx: AsyncWorkflowContext[Any]) -> Any:
    return ctx.request_payload


@workflow(name="closed", trigger_permission=denied)
def closed(ctx: WorkflowContext[Any]) -> Any:
    return ctx.request_payload


def anybody(request: HttpRequest) -> bool:
    return True


@workflow(name="open", trigger_permission=anybody)
def open_to_all(ctx: WorkflowContext[Any]) -> Any:
    return ctx.request_payload


def order(payload: Any) -> Any:
    if payload["amount"] < 1:
        raise ValueError("amount: must be positive")
    return payload


@workflow(name="with_schema", trigger_permission=anybody, payload_schema=order)
def with_schema(ctx: WorkflowContext[Any]) -> Any:
    return ctx.request_payload


PARTNER_KEY = b"of the partner"


def partner_payload(request: HttpRequest) -> Any:
    expected = hmac.digest(PARTNER_KEY, request.body, "sha256").hex()
    if not hmac.compare_digest(request.headers.get("X-Partner", ""), expected):
        raise PermissionDenied
    return {"order": json.loads(request.body)["id"]}


@workflow(name="for_partner", trigger_permission=anybody, payload_parser=partner_payload)
def for_partner(ctx: WorkflowContext[Any]) -> Any:
    return ctx.request_payload
