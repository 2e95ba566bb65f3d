from django.urls import path

from . import views

app_name = "atlas"
urlpatterns = [
    path("", views.home, name="home"),
    path("status.json", views.status, name="status"),
    path("airports/", views.import_csv, name="import"),
    path("airports/imports/<int:pk>/", views.import_page, name="import_page"),
    path("thumbnails/", views.make_thumbnails, name="thumbnails"),
    path("postcards/", views.send_postcards, name="postcards"),
    path("pages/", views.fetch_pages, name="pages"),
    path("reports/", views.write_report, name="report"),
]
