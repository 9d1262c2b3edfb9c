from __future__ import annotations

import pytest
from django.core.management import call_command


@pytest.mark.django_db(databases=["default", "other"])
@pytest.mark.parametrize("app", ["django_workflow", "tests_app"])
def test_models_and_migrations_agree(app: str) -> None:
    call_command("makemigrations", app, check=True, dry_run=True)
