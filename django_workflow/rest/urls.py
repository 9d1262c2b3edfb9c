"""The addresses of the API: ``path("api/workflows/", include("django_workflow.rest.urls"))``.

The IDs of runs, schedules and keys may hold a slash, so what follows an ID comes before the ID alone.
"""

from __future__ import annotations

from django.urls import path, re_path

from django_workflow.rest import (
    amending,
    approvals,
    dead_letters,
    events,
    flow,
    forking,
    runs,
    schedules,
    triggers,
    verbs,
)
from django_workflow.rest.base import Nowhere

app_name = "django_workflow_rest"

urlpatterns = [
    path("workflows/", runs.Workflows.as_view(), name="workflows"),
    path("workflows/<str:name>/", runs.OneWorkflow.as_view(), name="workflow"),
    path("workflows/<str:name>/runs/", triggers.Trigger.as_view(), name="trigger"),
    path("workflows/<str:name>/runs/bulk/", triggers.TriggerMany.as_view(), name="trigger-many"),
    path("runs/", runs.Runs.as_view(), name="runs"),
    path("runs/<path:run_id>/steps/", runs.Steps.as_view(), name="steps"),
    path("runs/<path:run_id>/attempts/", runs.Attempts.as_view(), name="attempts"),
    path("runs/<path:run_id>/logs/", runs.Logs.as_view(), name="logs"),
    path("runs/<path:run_id>/actions/", runs.Actions.as_view(), name="actions"),
    path("runs/<path:run_id>/webhooks/", runs.Webhooks.as_view(), name="webhooks"),
    path("runs/<path:run_id>/result/", runs.Result.as_view(), name="result"),
    path("runs/<path:run_id>/cancel/", verbs.Cancel.as_view(), name="cancel"),
    path("runs/<path:run_id>/pause/", verbs.Pause.as_view(), name="pause"),
    path("runs/<path:run_id>/resume/", verbs.Resume.as_view(), name="resume"),
    path("runs/<path:run_id>/restart/", verbs.Restart.as_view(), name="restart"),
    path("runs/<path:run_id>/rerun-handler/", verbs.RerunHandler.as_view(), name="rerun-handler"),
    path("runs/<path:run_id>/retry/", amending.RetryNow.as_view(), name="retry"),
    path("runs/<path:run_id>/skip-sleep/", amending.SkipSleep.as_view(), name="skip-sleep"),
    path("runs/<path:run_id>/extend/", amending.ExtendTimeout.as_view(), name="extend"),
    path("runs/<path:run_id>/priority/", amending.SetPriority.as_view(), name="priority"),
    path("runs/<path:run_id>/edit-result/", amending.EditResult.as_view(), name="edit-result"),
    path("runs/<path:run_id>/fork/", forking.Fork.as_view(), name="fork"),
    path("runs/<path:run_id>/", runs.OneRun.as_view(), name="run"),
    path("bulk/cancel/", verbs.CancelMany.as_view(), name="cancel-many"),
    path("bulk/pause/", verbs.PauseMany.as_view(), name="pause-many"),
    path("bulk/resume/", verbs.ResumeMany.as_view(), name="resume-many"),
    path("bulk/restart/", verbs.RestartMany.as_view(), name="restart-many"),
    path("bulk/fork/", forking.ForkMany.as_view(), name="fork-many"),
    path("events/", events.Events.as_view(), name="events"),
    path("events/waiters/", events.Waiters.as_view(), name="waiters"),
    path("dead-letters/", dead_letters.DeadLetters.as_view(), name="dead-letters"),
    path("dead-letters/groups/", dead_letters.Groups.as_view(), name="dead-letter-groups"),
    path("dead-letters/resume/", dead_letters.ResumeLetters.as_view(), name="resume-letters"),
    path("dead-letters/restart/", dead_letters.RestartLetters.as_view(), name="restart-letters"),
    path(
        "dead-letters/rerun-handler/", dead_letters.RerunHandlers.as_view(), name="rerun-handlers"
    ),
    path("dead-letters/delete/", dead_letters.DeleteLetters.as_view(), name="delete-letters"),
    path("schedules/", schedules.Schedules.as_view(), name="schedules"),
    path("schedules/<path:schedule_id>/fires/", schedules.Fires.as_view(), name="fires"),
    path(
        "schedules/<path:schedule_id>/pause/",
        schedules.PauseSchedule.as_view(),
        name="pause-schedule",
    ),
    path(
        "schedules/<path:schedule_id>/resume/",
        schedules.ResumeSchedule.as_view(),
        name="resume-schedule",
    ),
    path("schedules/<path:schedule_id>/run/", schedules.RunSchedule.as_view(), name="run-schedule"),
    path("schedules/<path:schedule_id>/", schedules.OneSchedule.as_view(), name="schedule"),
    path("flow-control/", flow.FlowKeys.as_view(), name="flow-keys"),
    path("flow-control/<path:key>/pause/", flow.PauseKey.as_view(), name="pause-key"),
    path("flow-control/<path:key>/resume/", flow.ResumeKey.as_view(), name="resume-key"),
    path("flow-control/<path:key>/pin/", flow.PinKey.as_view(), name="pin-key"),
    path("flow-control/<path:key>/unpin/", flow.UnpinKey.as_view(), name="unpin-key"),
    path("flow-control/<path:key>/reset/", flow.ResetKey.as_view(), name="reset-key"),
    path("flow-control/<path:key>/", flow.OneFlowKey.as_view(), name="flow-key"),
    path("approvals/", approvals.Approvals.as_view(), name="approvals"),
    path("approvals/<int:approval_id>/", approvals.OneApproval.as_view(), name="approval"),
    path("approvals/<int:approval_id>/decide/", approvals.Decide.as_view(), name="decide"),
    # Without its slash an address is left to Django, which adds it.
    re_path(r"^[\s\S]+/\Z", Nowhere.as_view()),
]
