"""What the API gives: the documented shapes of its answers."""

from __future__ import annotations

from rest_framework import serializers

from django_workflow.rest.fields import Shape


def text(*, none: bool = False, **options: object) -> serializers.CharField:
    """Return a text of an answer."""
    return serializers.CharField(allow_null=none, **options)  # type: ignore[arg-type]


def moment(*, none: bool = False) -> serializers.DateTimeField:
    """Return a time of an answer."""
    return serializers.DateTimeField(allow_null=none)


def whole(*, none: bool = False) -> serializers.IntegerField:
    """Return a whole number of an answer."""
    return serializers.IntegerField(allow_null=none)


def anything() -> serializers.JSONField:
    """Return whatever a project stores; null also where it is not shown."""
    return serializers.JSONField(allow_null=True)


def texts() -> serializers.ListField:
    """Return a list of texts."""
    return serializers.ListField(child=serializers.CharField())


class FailureShape(Shape):
    """Why something failed."""

    message = text()
    error_class = text()
    traceback = text()
    step = text(none=True)
    attempts = whole()
    run_id = text(required=False)


class AboutShape(Shape):
    """A row of the project's."""

    type = text()
    id = text()


class ProgressShape(Shape):
    """How far a run says that it is."""

    percent = serializers.FloatField()
    done = whole(none=True)
    total = whole(none=True)
    message = text()


class RunShape(Shape):
    """A run. Without view_payload, what it carries is null."""

    workflow_run_id = text()
    workflow = text()
    version = text()
    status = text()
    reason = text(none=True, help_text="Why it is not going on at this moment; may be empty.")
    labels = texts()
    about = AboutShape(allow_null=True)
    triggered_by = text(none=True)
    created_at = moment()
    started_at = moment(none=True)
    finished_at = moment(none=True)
    parent = text(none=True)  # type: ignore[assignment]
    restarted_from = text(none=True)
    schedule_id = text(none=True)
    generation = whole()
    shows_payload = serializers.BooleanField()
    payload = anything()
    headers = anything()
    result = anything()
    failure = FailureShape(allow_null=True)
    progress = ProgressShape(allow_null=True)
    state = anything()


class RunPage(Shape):
    """A page of runs."""

    next = text(none=True)
    results = RunShape(many=True)


class TriggeredShape(Shape):
    """What a trigger gives; no ID where a singleton skips it."""

    workflow_run_id = text(none=True)
    created = serializers.BooleanField()


class TriggeredMany(Shape):
    """What a trigger of many gives, in their order."""

    results = TriggeredShape(many=True)


class StepShape(Shape):
    """A step."""

    key = text()
    name = text()
    kind = text()
    status = text()
    sequence = whole(none=True)
    attempts = whole()
    reason = text(none=True)
    result = anything()
    failure = FailureShape(allow_null=True)
    created_at = moment()
    started_at = moment(none=True)
    finished_at = moment(none=True)
    wake_at = moment(none=True)


class StepPage(Shape):
    """A page of steps."""

    next = text(none=True)
    results = StepShape(many=True)


class AttemptShape(Shape):
    """A try that did not become a result."""

    step = text(none=True)
    number = whole()
    outcome = text()
    failure = FailureShape(allow_null=True)
    late_result = anything()
    started_at = moment(none=True)
    finished_at = moment()
    worker = text()


class AttemptPage(Shape):
    """A page of attempts."""

    next = text(none=True)
    results = AttemptShape(many=True)


class LogShape(Shape):
    """A line that a run has told."""

    generation = whole()
    step = text(none=True)
    attempt = whole()
    level = text()
    message = text(none=True)
    fields_ = anything()
    created_at = moment()

    def get_fields(self) -> dict[str, serializers.Field]:  # type: ignore[type-arg]
        """Give ``fields`` its name, which is taken in this class."""
        found = super().get_fields()
        found["fields"] = found.pop("fields_")
        return found


class LogPage(Shape):
    """A page of log lines."""

    next = text(none=True)
    results = LogShape(many=True)


class ActionShape(Shape):
    """Who did what to a run."""

    verb = text()
    actor = text(none=True)
    user_id = text(none=True)
    door = text()
    why = text()
    before = text()
    after = text()
    at = moment()


class ActionPage(Shape):
    """A page of actions."""

    next = text(none=True)
    results = ActionShape(many=True)


class WebhookShape(Shape):
    """A URL of a run; the URL itself is a secret and is not shown."""

    step = text()
    event_id = text()
    calls = whole()
    called_at = moment(none=True)
    single_use = serializers.BooleanField()
    expires_at = moment(none=True)
    created_at = moment()


class WebhookPage(Shape):
    """A page of webhooks."""

    next = text(none=True)
    results = WebhookShape(many=True)


class ResultShape(Shape):
    """How a run ended, or that it has not."""

    workflow_run_id = text()
    status = text()
    finished = serializers.BooleanField()
    result = anything()
    failure = FailureShape(allow_null=True)


class ChangedShape(Shape):
    """What has become of a run."""

    workflow_run_id = text()
    status = text()


class RestartedShape(Shape):
    """The run that a restart has made."""

    workflow_run_id = text()
    status = text()
    restarted_from = text()


class OutcomeShape(Shape):
    """What has become of one of many."""

    workflow_run_id = text()
    done = serializers.BooleanField()
    status = text(none=True)
    new_run_id = text(none=True)
    problem = serializers.JSONField(
        allow_null=True, help_text="Problem details, if it was refused."
    )


class OutcomesShape(Shape):
    """What has become of each."""

    results = OutcomeShape(many=True)
    done = serializers.IntegerField(help_text="To how many it was done.")
    refused = serializers.IntegerField(
        help_text="How many could not, or cannot; each has its problem."
    )
    more = serializers.BooleanField(help_text="Whether runs were left over for another request.")
    dry_run = serializers.BooleanField(help_text="Whether it was only looked.")


class DefinitionShape(Shape):
    """A workflow that this process knows."""

    name = text()
    versions = texts()
    latest_version = text()
    is_async = serializers.BooleanField()
    description = text()
    schedule = text(none=True)


class DefinitionList(Shape):
    """All of them."""

    results = DefinitionShape(many=True)


class EventShape(Shape):
    """An event."""

    event_id = text()
    workflow_run_id = text(none=True)
    event_data = anything()
    kept = serializers.BooleanField()
    reached = whole(none=True)
    created_at = moment()
    expires_at = moment(none=True)


class EventPage(Shape):
    """A page of events."""

    next = text(none=True)
    results = EventShape(many=True)


class WaiterShape(Shape):
    """A step that waits for an event."""

    workflow_run_id = text()
    workflow = text()
    step = text()
    step_key = text()
    since = moment()
    until = moment(none=True)


class WaiterList(Shape):
    """Those who wait, the longest first."""

    results = WaiterShape(many=True)


class GroupShape(Shape):
    """Dead letters whose errors are alike."""

    fingerprint = text()
    workflows = serializers.DictField(
        child=serializers.IntegerField(), help_text="How many there are of each."
    )
    statuses = serializers.DictField(
        child=serializers.IntegerField(), help_text="How many there are in each."
    )
    step = text(none=True, help_text="The key of the step in which the newest failed.")
    error_class = text(none=True)
    message = text(none=True)
    count = whole()
    newest = text()
    first_seen = moment()
    last_seen = moment()


class GroupList(Shape):
    """Dead letters by their error, the largest group first."""

    results = GroupShape(many=True)
    truncated = serializers.BooleanField(help_text="Whether older dead letters were not looked at.")


class ScheduleShape(Shape):
    """A schedule."""

    schedule_id = text()
    workflow = text()
    cron = text()
    timezone = text()
    description = text()
    overlap = text()
    catch_up = text()
    jitter_seconds = serializers.FloatField()
    declared = serializers.BooleanField()
    paused = serializers.BooleanField()
    next_fires = serializers.ListField(child=serializers.DateTimeField())
    last_slot = moment(none=True)
    last_run = text(none=True)
    skipped = whole()
    note = text()


class SchedulePage(Shape):
    """A page of schedules."""

    next = text(none=True)
    results = ScheduleShape(many=True)


class FiresShape(Shape):
    """When a schedule fires next."""

    schedule_id = text()
    paused = serializers.BooleanField()
    next_fires = serializers.ListField(child=serializers.DateTimeField())


class FlowKeyShape(Shape):
    """A flow control key at this moment."""

    key = text()
    parallelism = whole(none=True)
    rate = whole(none=True)
    period_seconds = serializers.FloatField()
    paused = serializers.BooleanField()
    pinned = serializers.BooleanField()
    waiting = whole()
    holding = whole()


class FlowKeyPage(Shape):
    """A page of keys."""

    next = text(none=True)
    results = FlowKeyShape(many=True)


class ApprovalShape(Shape):
    """A decision that a run waits for."""

    id = whole()
    workflow_run_id = text()
    title = text()
    description = text()
    has_form = serializers.BooleanField()
    created_at = moment()
    due_at = moment()
    decision = text(none=True)
    decided_by = text(none=True)
    decided_at = moment(none=True)
    comment = text()


class ApprovalPage(Shape):
    """A page of approvals."""

    next = text(none=True)
    results = ApprovalShape(many=True)
