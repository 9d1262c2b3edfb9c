"""Log lines know their run, step and attempt: the project's own, and the engine's."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from django_workflow import AsyncWorkflowContext, WorkflowContext, workflow
from django_workflow.telemetry.logs import JsonFormatter, RunContext
from django_workflow.testing import WorkflowSandbox

logger = logging.getLogger("shop.orders")


class Kept(logging.Handler):
    """Keeps lines as they are written."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[dict[str, Any]] = []
        self.setFormatter(JsonFormatter())
        self.addFilter(RunContext())

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(json.loads(self.format(record)))

    def saying(self, message: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["message"] == message]


@pytest.fixture
def kept() -> Iterator[Kept]:
    handler = Kept()
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.setLevel(before)
    root.removeHandler(handler)


tries: list[int] = []


def charge() -> None:
    logger.info("charging")
    tries.append(1)
    if len(tries) == 1:
        raise ValueError("declined")


@workflow(name="logged", retries=1, retry_delay="1s")
def logged(ctx: WorkflowContext[Any]) -> None:
    logger.info("between")
    ctx.run("charge", charge)
    ctx.atomic("reserve", logger.info, "reserving")
    ctx.map("mail", lambda item: logger.info("mailing"), [1])


@workflow(name="logged_async")
async def logged_async(ctx: AsyncWorkflowContext[Any]) -> None:
    async def body() -> None:
        logger.info("awaited", extra={"order": 7})

    logger.info("between")
    await ctx.run("body", body)


@pytest.mark.django_db
def test_lines_of_bodies_know_step_and_attempt(kept: Kept) -> None:
    tries.clear()
    with WorkflowSandbox() as box:
        run = logged.trigger()
        box.advance("1m")

    assert run.refresh().status == "completed"
    charging = kept.saying("charging")
    assert [(line["step"], line["attempt"]) for line in charging] == [("charge", 1), ("charge", 2)]
    [reserving] = kept.saying("reserving")
    assert (reserving["step"], reserving["attempt"]) == ("reserve", 1)
    [mailing] = kept.saying("mailing")
    assert mailing["step"] == "mail"
    said = [*charging, reserving, mailing]
    assert {line["run_id"] for line in said} == {run.id}
    assert {line["workflow"] for line in said} == {"logged"}


@pytest.mark.django_db
def test_lines_between_steps_know_the_run(kept: Kept) -> None:
    with WorkflowSandbox():
        run = logged_async.trigger()

    between = kept.saying("between")
    assert {line["run_id"] for line in between} == {run.id}
    assert all("step" not in line for line in between)
    [awaited] = kept.saying("awaited")
    assert (awaited["run_id"], awaited["step"], awaited["order"]) == (run.id, "body", 7)


@pytest.mark.django_db
def test_lines_of_the_engine_say_it_themselves(kept: Kept) -> None:
    tries.clear()
    with WorkflowSandbox():
        run = logged.trigger()

    [retried] = [line for line in kept.lines if "is tried again" in line["message"]]
    assert (retried["run_id"], retried["step"], retried["attempt"]) == (run.id, "charge", 1)


def test_line_outside_any_run_has_no_fields(kept: Kept) -> None:
    try:
        raise ValueError("oh")
    except ValueError:
        logger.exception("outside")

    [line] = kept.saying("outside")
    assert "run_id" not in line
    assert "ValueError: oh" in line["error"]
    record = logging.makeLogRecord({"msg": "plain"})
    RunContext().filter(record)
    assert (record.run_id, record.step) == ("-", "-")  # type: ignore[attr-defined]
