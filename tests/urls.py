"""The admin, the addresses of jobs, and a page that shows one."""

from django.contrib import admin
from django.urls import include, path

from tests.app import views

urlpatterns = [
    path("admin/", admin.site.urls),
    path("jobs/", include("django_jobs.urls")),
    path("page/<uuid:id>/", views.page, name="page"),
    path("thanks/", views.thanks),
]
