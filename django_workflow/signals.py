"""What happens to runs and steps, told to whoever listens, after it was committed.

``sender`` is the workflow's name (or, at ``connect``, the workflow itself); receivers get ``run``, and the step signals ``step``,
as model instances. A receiver that raises is logged and changes nothing. A process that dies between the commit and the
signal sends none: what must not be lost belongs into a step.
"""

from __future__ import annotations

from typing import Any

from django.dispatch import Signal

#: Signals tell senders apart by identity: one text stands for all equal ones, and is kept.
_senders: dict[str, str] = {}


def _sender(given: Any) -> Any:
    name = getattr(given, "name", given)
    return _senders.setdefault(name, name) if isinstance(name, str) else given


class WorkflowSignal(Signal):
    """A signal whose senders are names."""

    def connect(self, receiver: Any, sender: Any = None, *args: Any, **kwargs: Any) -> None:
        """See ``Signal.connect()``; ``sender`` is a workflow or its name."""
        super().connect(receiver, _sender(sender), *args, **kwargs)

    def disconnect(
        self, receiver: Any = None, sender: Any = None, dispatch_uid: Any = None
    ) -> bool:
        """See ``Signal.disconnect()``."""
        return super().disconnect(receiver, _sender(sender), dispatch_uid)

    def has_listeners(self, sender: Any = None) -> bool:
        """Tell whether anybody listens to this workflow."""
        return bool(self.receivers) and super().has_listeners(_senders.get(sender, sender))

    def send_robust(self, sender: Any, **named: Any) -> list[tuple[Any, Any]]:
        """See ``Signal.send_robust()``."""
        return super().send_robust(_senders.get(sender, sender), **named)


#: The run was claimed for the first time.
run_started = WorkflowSignal()
#: The function returned.
run_completed = WorkflowSignal()
#: The run is a dead letter: failed, or blocked; ``run.status`` tells.
run_failed = WorkflowSignal()
#: The run was cancelled, by a verb or from inside.
run_cancelled = WorkflowSignal()
#: The result of a step's body was recorded.
step_completed = WorkflowSignal()
#: An attempt failed, and there will be another one; ``step.wake_at`` tells when.
step_retried = WorkflowSignal()
#: The last attempt failed.
step_failed = WorkflowSignal()
#: A rule of ``WORKFLOW["ALERTS"]`` holds; ``sender`` is the rule, and receivers get ``alert``.
alert_raised = WorkflowSignal()

__all__ = [
    "alert_raised",
    "run_cancelled",
    "run_completed",
    "run_failed",
    "run_started",
    "step_completed",
    "step_failed",
    "step_retried",
]
