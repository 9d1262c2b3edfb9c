"""How often journals are asked for."""

from __future__ import annotations

from typing import Any

import pytest

from django_workflow.store import records


class Loads:
    """Counts how journals are loaded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.single: list[str] = []
        self.ahead: list[list[str]] = []
        load, load_all = records.load, records.load_all

        def counted(run_id: str, *given: Any, **options: Any) -> Any:
            self.single.append(run_id)
            return load(run_id, *given, **options)

        def counted_all(run_ids: list[str]) -> Any:
            self.ahead.append(sorted(run_ids))
            return load_all(run_ids)

        monkeypatch.setattr(records, "load", counted)
        monkeypatch.setattr(records, "load_all", counted_all)
