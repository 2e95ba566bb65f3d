"""The addresses of the site: the atlas at the root, and the admin."""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from django.views.static import serve

urlpatterns = [
    path("", include("atlas.urls")),
    path("admin/", admin.site.urls),
    path("jobs/", include("django_jobs.urls")),  # where pages ask for the progress of a job
    # Thumbnails only: uploaded files are not for everybody.
    path("media/thumbnails/<path:path>", serve, {"document_root": settings.MEDIA_ROOT / "thumbnails"}),
]
