"""The addresses at which pages ask for one job: ``path("jobs/", include("django_jobs.urls"))``."""

from django.urls import path

from . import views

app_name = "django_jobs"
urlpatterns = [
    path("<str:token>/", views.job, name="job"),
    path("<str:token>/events/", views.events, name="events"),
    path("<str:token>/cancel/", views.cancel, name="cancel"),
]
