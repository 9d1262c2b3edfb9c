"""A user who is known by a mail address and a UUID."""

from __future__ import annotations

from uuid import uuid4

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.db import models


class Person(AbstractBaseUser, PermissionsMixin):
    """Without ``username``, ``date_joined`` and a column for ``is_active``."""

    id = models.UUIDField(primary_key=True, default=uuid4)
    email = models.EmailField(unique=True)
    is_staff = models.BooleanField(default=False)

    objects = BaseUserManager["Person"]()

    USERNAME_FIELD = "email"

    class Meta:
        app_label = "people"

    def __str__(self) -> str:
        return self.email
