"""How long texts in columns may be. On MariaDB an index takes 768 characters in all."""

from __future__ import annotations

from django_workflow.core.actors import NAME_LENGTH as ACTOR_LENGTH
from django_workflow.core.steps import KEY_LENGTH as STEP_KEY_LENGTH
from django_workflow.core.steps import NAME_LENGTH as STEP_NAME_LENGTH

RUN_ID_LENGTH = 128
WORKFLOW_NAME_LENGTH = 200
LABEL_LENGTH = 100
MODEL_LABEL_LENGTH = 200
OBJECT_ID_LENGTH = 255

__all__ = [
    "ACTOR_LENGTH",
    "LABEL_LENGTH",
    "MODEL_LABEL_LENGTH",
    "OBJECT_ID_LENGTH",
    "RUN_ID_LENGTH",
    "STEP_KEY_LENGTH",
    "STEP_NAME_LENGTH",
    "WORKFLOW_NAME_LENGTH",
]
