"""What the templates of our admin pages have to know of the admin around them."""

from __future__ import annotations

from django import template
from django.apps import apps

register = template.Library()


@register.simple_tag
def unfold_is_installed() -> bool:
    """Tell whether django-unfold's templates stand in the place of Django's: they show neither title nor breadcrumbs."""
    return apps.is_installed("unfold")
