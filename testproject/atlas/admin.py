"""The atlas in the admin, beside the jobs."""

from django.contrib import admin

from django_jobs.admin import JobsPanel

from .models import Airport, Import, Page, Photo, Postcard, Report


@admin.register(Airport)
class AirportAdmin(admin.ModelAdmin):
    list_display = ["icao", "iata", "name", "city", "country"]
    list_filter = ["region"]
    search_fields = ["=icao", "=iata", "name", "city"]


@admin.register(Import)
class ImportAdmin(JobsPanel, admin.ModelAdmin):
    list_display = ["name", "created_at", "rows", "skipped"]


@admin.register(Photo)
class PhotoAdmin(JobsPanel, admin.ModelAdmin):
    list_display = ["city", "country", "thumbnail"]


@admin.register(Postcard)
class PostcardAdmin(JobsPanel, admin.ModelAdmin):
    list_display = ["photo", "recipient", "created_at", "sent_at"]


@admin.register(Page)
class PageAdmin(JobsPanel, admin.ModelAdmin):
    list_display = ["code", "title", "status", "size", "fetched_at"]


@admin.register(Report)
class ReportAdmin(admin.ModelAdmin):
    list_display = ["created_at", "total"]
