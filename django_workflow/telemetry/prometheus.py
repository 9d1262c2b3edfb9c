"""Prometheus: a collector that asks the database, so one scrape of any process tells of the whole system.

Nothing is counted while runs run. Each scrape is about twenty short queries, each over a bounded number of rows.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from django_workflow.conf import settings
from django_workflow.runtime.measuring import ByWorkflow, Measures, measure

logger = logging.getLogger(__name__)

PREFIX: Final = "django_workflow_"
PERMISSION: Final = "django_workflow.view_run"


class WorkflowCollector(Collector):
    """What a registry asks at each scrape: ``REGISTRY.register(WorkflowCollector())``."""

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Tell the registry nothing beforehand: it would have to ask the database for it."""
        return []

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Return the numbers of this moment; ``django_workflow_up`` is 0 where the database does not answer."""
        try:
            measures = measure()
        except (OperationalError, InterfaceError) as error:
            logger.warning("Metrics cannot be read, the database says: %s", error)
            return [_gauge("up", "Whether the database answered.", 0)]
        return [
            _gauge("up", "Whether the database answered.", 1),
            *_of_queue(measures),
            _by_workflow("runs", "Runs that have not finished, and dead letters.", measures.runs),
            _by_workflow(
                "recent_runs", "Runs created within the last hour, by their state.", measures.recent
            ),
            _dead_letters(measures),
            _gauge("waiters", "Events that runs wait for.", measures.waiters),
            _lines(measures),
            *_of_steps(measures),
        ]


def _gauge(name: str, says: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, says, value=value)


def _of_queue(measures: Measures) -> list[GaugeMetricFamily]:
    oldest = measures.oldest_due.timestamp() if measures.oldest_due is not None else 0.0
    found = [
        _gauge("due", "Deliveries that wait for a worker.", measures.due),
        _gauge(
            "due_lag_seconds",
            "For how long the oldest due delivery has been due.",
            measures.lag.total_seconds(),
        ),
        _gauge(
            "oldest_due_timestamp_seconds",
            "Since when the oldest due delivery is due; 0 if nothing is.",
            oldest,
        ),
        _gauge("held", "Deliveries that workers hold under a lease.", measures.held),
        _gauge("scheduled", "Deliveries that become due later.", measures.scheduled),
    ]
    if measures.swept_at is not None:
        age = max(0.0, (measures.at - measures.swept_at).total_seconds())
        found.append(_gauge("sweep_age_seconds", "How long ago due rows were looked for.", age))
    if measures.beat_at is not None:
        age = max(0.0, (measures.at - measures.beat_at).total_seconds())
        found.append(_gauge("beat_age_seconds", "How long ago the beat ticked.", age))
    return found


def _by_workflow(name: str, says: str, counts: ByWorkflow) -> GaugeMetricFamily:
    family = GaugeMetricFamily(PREFIX + name, says, labels=["workflow", "status"])
    for (workflow, status), count in sorted(counts.items()):
        family.add_metric([workflow, status], count)
    return family


def _dead_letters(measures: Measures) -> GaugeMetricFamily:
    family = GaugeMetricFamily(
        f"{PREFIX}dead_letters", "Failed and blocked runs.", labels=["workflow"]
    )
    for workflow, count in sorted(measures.dead_letters.items()):
        family.add_metric([workflow], count)
    return family


def _lines(measures: Measures) -> GaugeMetricFamily:
    family = GaugeMetricFamily(
        f"{PREFIX}flow_tickets",
        "Bodies in line for a slot of a flow control key, or holding one.",
        labels=["key", "state"],
    )
    for key, state, count in measures.lines:
        family.add_metric([key, state], count)
    return family


def _of_steps(measures: Measures) -> list[GaugeMetricFamily]:
    took = GaugeMetricFamily(
        f"{PREFIX}step_seconds",
        "How long the latest bodies of a step took.",
        labels=["workflow", "step", "quantile"],
    )
    count = GaugeMetricFamily(
        f"{PREFIX}step_samples",
        "How many of the latest steps that is said of.",
        labels=["workflow", "step"],
    )
    for one in measures.steps:
        count.add_metric([one.workflow, one.step], one.count)
        for share, seconds in one.quantiles.items():
            took.add_metric([one.workflow, one.step, f"{share:g}"], seconds)
    return [took, count]


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Answer a scrape: ``path("metrics/", metrics)``.

    For whoever brings ``WORKFLOW["METRICS_TOKEN"]`` as a bearer token, and for users who may see runs.
    """
    if not _may_read(request):
        raise PermissionDenied
    registry = CollectorRegistry()
    registry.register(WorkflowCollector())
    response = HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
    response["Cache-Control"] = "no-store"
    return response


def _may_read(request: HttpRequest) -> bool:
    token = settings().METRICS_TOKEN
    given = request.headers.get("Authorization", "")
    if token is not None and constant_time_compare(given, f"Bearer {token}"):
        return True
    user = getattr(request, "user", None)
    return user is not None and bool(user.has_perm(PERMISSION))
