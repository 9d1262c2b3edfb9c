"""The REST API: ``path("api/workflows/", include("django_workflow.rest.urls"))``."""
