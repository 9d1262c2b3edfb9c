from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from rest_framework.test import APIClient

from django_workflow.rest import problems
from django_workflow.testing import WorkflowSandbox

ROOT = "/api/workflows/"


class Api:
    """A user at the API."""

    def __init__(self, user: User) -> None:
        self.user = user
        self.client = APIClient()
        self.client.force_login(user)

    def get(self, path: str, **query: Any) -> Any:
        return self.client.get(ROOT + path, query)

    def post(self, path: str, body: Any = None, **kwargs: Any) -> Any:
        return self.client.post(ROOT + path, body, format="json", **kwargs)

    def put(self, path: str, body: Any = None) -> Any:
        return self.client.put(ROOT + path, body, format="json")

    def patch(self, path: str, body: Any = None) -> Any:
        return self.client.patch(ROOT + path, body, format="json")

    def delete(self, path: str) -> Any:
        return self.client.delete(ROOT + path)

    def raw(self, path: str, body: bytes, media_type: str = "application/json") -> Any:
        return self.client.generic("POST", ROOT + path, body, content_type=media_type)


def is_problem(response: Any, status: int, kind: str) -> Any:
    assert response.status_code == status, response.content
    assert response["Content-Type"] == problems.MEDIA_TYPE
    found = json.loads(response.content)
    assert (found["type"], found["status"]) == (problems.TYPE + kind, status)
    assert found["title"] == problems.KINDS[kind].title
    return found


def user_with(name: str, *permissions: str) -> User:
    user = User.objects.create_user(name)
    user.user_permissions.set(
        Permission.objects.filter(
            content_type__app_label="django_workflow", codename__in=permissions
        )
    )
    return user


@pytest.fixture
def api(db: None) -> Api:
    """Somebody who may do everything."""
    return Api(User.objects.create_superuser("ann"))


@pytest.fixture
def box(db: None) -> Iterator[WorkflowSandbox]:
    with WorkflowSandbox() as box:
        yield box
