"""What verbs are given, checked before a step is made of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction, signature
from types import FunctionType
from typing import Any

from django_workflow.core.codec import codec
from django_workflow.core.events import check_event_id
from django_workflow.core.exceptions import InvalidOptionError
from django_workflow.core.flow import FlowControl
from django_workflow.core.ports import get_runtime


def notify_fields(
    event_id: Any, event_data: Any, workflow_run_id: Any, keep: Any
) -> tuple[str, str, str | None, bool]:
    """Check what an event is to be sent with, and return it with the data as stored.

    Raises:
        InvalidOptionError: an argument cannot work.
        NotSerializableError: the data cannot be stored.
    """
    if workflow_run_id is not None and not isinstance(workflow_run_id, str):
        raise InvalidOptionError(f"workflow_run_id is the ID of a run, not {workflow_run_id!r}.")
    if not isinstance(keep, bool):
        raise InvalidOptionError(f"keep is True or False, not {keep!r}.")
    text = codec.dumps(event_data, what="event_data")
    return check_event_id(event_id), text, workflow_run_id, keep


def invoke_fields(
    workflow: Any,
    payload: Any,
    cascade: Any,
    options: Mapping[str, Any],
    flow_control: FlowControl | None = None,
) -> tuple[str, str | None, bool, Callable[[str], Any]]:
    """Check what a child is to be, as far as no database is needed; its payload is checked when it is started.

    Raises:
        InvalidOptionError: an argument cannot work.
        WorkflowNotFoundError: no workflow of this name is registered.
    """
    name = workflow if isinstance(workflow, str) else getattr(workflow, "name", None)
    if not isinstance(name, str) or not name:
        raise InvalidOptionError(
            f"ctx.invoke takes a workflow or the name of one, not {workflow!r}: "
            "ctx.invoke(name, workflow, payload)."
        )
    if not isinstance(cascade, bool):
        raise InvalidOptionError(f"cascade is True or False, not {cascade!r}.")
    if flow_control is not None and options.get("flow_control") is None:
        options = {**options, "flow_control": flow_control}
    # At every pass, before the step is met: an error that the workflow catches must come again at replay.
    plan = get_runtime().child(workflow, payload, dict(options))
    return name, options.get("workflow_run_id"), cascade, plan


def check_branches(
    branches: tuple[Any, ...], *, verb: str = "parallel", may_be_awaitable: bool = False
) -> None:
    """Refuse what cannot be told apart: functions made in a loop over one variable.

    Raises:
        InvalidOptionError: a branch cannot be called, or two share their code and what they close over.
    """
    seen: dict[Any, int] = {}
    for index, branch in enumerate(branches):
        if not callable(branch) and not (may_be_awaitable and isinstance(branch, Awaitable)):
            raise InvalidOptionError(
                f"Branch {index} of ctx.{verb} is {branch!r}; give a function without arguments."
            )
        if not may_be_awaitable and iscoroutinefunction(branch):
            raise InvalidOptionError(
                f"Branch {index} of ctx.{verb} is async, and this workflow is a plain function, which awaits nothing: give "
                "a plain function, or make the workflow async."
            )
        if not isinstance(branch, FunctionType) or branch.__defaults__ or branch.__kwdefaults__:
            continue
        # By identity: cells compare by what is in them, and code by what it does.
        closure = tuple(map(id, branch.__closure__ or ()))
        twin = seen.setdefault((id(branch.__code__), closure), index)
        if branches[twin] is not branch:
            raise InvalidOptionError(
                f"Branches {twin} and {index} of ctx.{verb} are the same function over the same variables, as a "
                "loop makes them: all would see the last value. Use ctx.map, or bind the value as a default."
            )


def check_function(function: Callable[..., Any], what: str, *given: str) -> None:
    """Refuse what could never be entered, where it is defined: ``given`` are the arguments it is called with.

    Raises:
        InvalidOptionError: it is a class or a generator, or takes other arguments.
    """
    given = given or ("ctx",)
    if isinstance(function, type):
        raise InvalidOptionError(f"{what} is a function, not the class {function.__qualname__}.")
    if isgeneratorfunction(function) or isasyncgenfunction(function):
        raise InvalidOptionError(
            f'{what} is a generator: "{_name_of(function)}" holds a yield. Steps are called or awaited, not yielded.'
        )
    try:
        takes = signature(function)
    except Exception:  # broad: C code may have none, and Python 3.14 evaluates annotations for it
        return
    try:
        takes.bind(*given)
    except TypeError as error:
        raise InvalidOptionError(
            f'{what} is called with {" and ".join(given)} alone, which "{_name_of(function)}" does not take: {error}.'
        ) from error


def _name_of(function: Any) -> str:
    return str(getattr(function, "__qualname__", function))
