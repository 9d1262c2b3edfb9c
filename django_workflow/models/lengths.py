"""How long texts in columns may be. On MariaDB an index takes 768 characters in all."""

from __future__ import annotations

from django_workflow.core.steps import KEY_LENGTH as STEP_KEY_LENGTH
from django_workflow.core.steps import NAME_LENGTH as STEP_NAME_LENGTH

RUN_ID_LENGTH = 128
WORKFLOW_NAME_LENGTH = 200
LABEL_LENGTH = 100

__all__ = [
    "LABEL_LENGTH",
    "RUN_ID_LENGTH",
    "STEP_KEY_LENGTH",
    "STEP_NAME_LENGTH",
    "WORKFLOW_NAME_LENGTH",
]
