"""Wires everything, once: the runtime, the doors out, the view behind workflow objects, the workflows themselves."""

from __future__ import annotations

from django.apps import AppConfig
from django.db.models.signals import post_migrate
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _


class DjangoWorkflowConfig(AppConfig):
    """The app ``django_workflow``."""

    name = "django_workflow"
    verbose_name = _("Workflows")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Fill the slots of `core.ports`, register checks, and find the ``workflows`` modules of all apps."""
        from django_workflow.at_rest.vault import Vault
        from django_workflow.checks import register_checks
        from django_workflow.core import at_rest, ports
        from django_workflow.dispatchers.celery import connect_signals
        from django_workflow.dispatchers.django_tasks import dispatcher
        from django_workflow.runtime import redriving  # noqa: F401
        from django_workflow.runtime.client import DjangoRuntime
        from django_workflow.runtime.schedules import sync_after_migrate
        from django_workflow.tasks import advance, sweep  # noqa: F401
        from django_workflow.transports.http import HttpTransport
        from django_workflow.transports.inline import InlineTransport
        from django_workflow.views import door

        at_rest.install_vault(Vault())
        ports.install_runtime(DjangoRuntime())
        ports.install_door(door)
        ports.install_transport(InlineTransport())
        ports.install_transport(HttpTransport())
        ports.install_dispatcher(dispatcher)
        connect_signals()
        register_checks()
        autodiscover_modules("workflows")
        post_migrate.connect(sync_after_migrate, sender=self, dispatch_uid="django_workflow")
