"""Overview: a name under which the admin lists the page that shows all at a glance; nothing is stored."""

from __future__ import annotations

from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from .job import Job


class Overview(Job):
    """The jobs as a whole. Who may view jobs may see it."""

    class Meta:
        proxy = True
        default_permissions = ()
        verbose_name = _("overview")
        # The admin sorts by name: a space, which HTML does not show, puts it above the other pages.
        verbose_name_plural = format_lazy(" {}", _("Overview"))
