"""An admin of a user's own, with the panel of jobs."""

from django.contrib import admin

from django_jobs.admin import JobsPanel

from .models import Effect


@admin.register(Effect)
class EffectAdmin(JobsPanel, admin.ModelAdmin):
    list_display = ["key", "at"]
