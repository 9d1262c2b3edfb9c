"""What moves runs: triggered by the client, claimed by workers, passed by the executor, watched by the leases."""

from __future__ import annotations

from django_workflow.store.rows import Claim

__all__ = ["Claim"]
