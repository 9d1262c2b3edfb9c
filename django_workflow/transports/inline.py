"""In the worker's process: the pass stays on the stack, step after step."""

from __future__ import annotations

from django_workflow.runtime import Claim
from django_workflow.runtime.worker import carry_inline


class InlineTransport:
    """Carries deliveries out where they were claimed."""

    name = "inline"

    def deliver(self, claim: Claim) -> None:
        """See `core.ports.Transport.deliver()`."""
        carry_inline(claim)
