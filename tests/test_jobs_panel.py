"""The jobs of an object: the panel below its form, the list of all of them, and the way back from a job."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.http import HttpResponse
from django.test.utils import CaptureQueriesContext

from django_jobs import jobs_about
from django_jobs.admin import JobsPanel
from django_jobs.admin.panel import SHOWN
from django_jobs.models import Job, JobLabel, Worker, db_now
from django_jobs.models.label import newest_labelled
from tests.app.models import Effect
from tests.app.tasks import add
from tests.test_admin import HOSTILE, JOBS, failed_job, job, person, text

pytestmark = pytest.mark.django_db
EFFECTS = "/admin/tests_app/effect/"


@pytest.fixture(autouse=True)
def without_redis(settings):
    settings.DJANGO_JOBS = {"CACHE": None, "QUEUES": []}


@pytest.fixture
def order() -> Effect:
    return Effect.objects.create(key="order")


@pytest.fixture
def as_user(client):
    """A function that logs somebody in who may change effects, and has these permissions on our models besides."""

    def log_in(*permissions: str):
        user = person(*permissions)
        user.user_permissions.add(Permission.objects.get(codename="change_effect"))
        client.force_login(user)
        return client

    return log_in


def labelled(job: Job, *things) -> Job:
    for one in things:
        JobLabel.objects.create(job=job, label=f"{one._meta.label_lower}:{one.pk}")
    return job


def page_of(order: Effect) -> str:
    return f"{EFFECTS}{order.pk}/change/"


# The panel


def test_the_panel_shows_the_newest_jobs_with_their_errors(admin_client, order):
    labelled(failed_job(), order)
    labelled(job("running", args=[7], claimed_at=db_now()), order)
    labelled(job(args=[8]), Effect.objects.create(key="another"))

    response = admin_client.get(page_of(order))

    page = text(response)
    assert "charge_card(1042, amount=49.9)" in page and "ConnectionError: gateway timed out" in page
    assert page.index("charge_card(7") < page.index("charge_card(1042")
    assert "charge_card(8" not in page
    assert f'href="{JOBS}{Job.objects.get(state="failed").pk}/change/"' in response.content.decode()
    assert f"{JOBS}?about=tests_app.effect%3A{order.pk}" in response.content.decode()


def test_the_form_above_is_saved_as_ever(admin_client, order):
    response = admin_client.post(page_of(order), {"key": "changed"})

    assert response.status_code == 302
    assert Effect.objects.get().key == "changed"


def test_a_form_with_errors_keeps_its_panel(admin_client, order):
    page = text(admin_client.post(page_of(order), {"key": ""}))

    assert "This field is required" in page and "No job is about this effect" in page


def test_an_empty_panel_tells_how_a_job_comes_there(admin_client, order):
    assert "my_task.about(obj).enqueue()" in text(admin_client.get(page_of(order)))


def test_more_jobs_than_the_panel_shows_are_counted(admin_client, order):
    add.about(order).enqueue_many(add.s(number, 0) for number in range(SHOWN + 3))

    page = text(admin_client.get(page_of(order)))

    assert page.count("add(") == SHOWN
    assert f"All {SHOWN + 3} jobs" in page


@pytest.mark.parametrize("count", [0, 3, SHOWN + 3])
def test_the_panel_costs_two_queries_at_most(admin_client, order, count):
    add.about(order).enqueue_many(add.s(number, 0) for number in range(count))

    with CaptureQueriesContext(connection) as queries:
        admin_client.get(f"{EFFECTS}{order.pk}/jobs-about/")

    ours = [query["sql"] for query in queries if "django_jobs_job" in query["sql"]]
    assert len(ours) <= 2
    assert all("LIMIT" in sql for sql in ours)


@pytest.mark.postgresql
def test_jobs_are_found_by_their_label_however_many_are_newer(admin_client, order):
    for number in range(3 * SHOWN):
        labelled(job(args=[number]), order)
    with connection.cursor() as cursor:  # many others, all of them newer
        cursor.execute("""
            INSERT INTO django_jobs_job (id, task_path, args, kwargs, metadata, context, queue_name, priority, state,
                reason, max_losses, claim, attempt, failures, losses, interruptions, last_error, backend, created_by)
            SELECT ('ff' || lpad(to_hex(n), 30, '0'))::uuid, 'a.b', '[]', '{}', '{}', '{}', 'default', 0, 'queued',
                '', 3, 0, 0, 0, 0, 0, '', '', '' FROM generate_series(1, 20000) n
        """)
        cursor.execute("ANALYZE django_jobs_job")
        cursor.execute("ANALYZE django_jobs_joblabel")
    label = f"tests_app.effect:{order.pk}"

    plan = json.loads(newest_labelled(label, SHOWN).explain(analyze=True, format="json"))
    listed = text(admin_client.get(JOBS, {"about": label}))

    assert max(rows_read(plan[0]["Plan"])) <= 3 * SHOWN
    assert listed.count("charge_card(") == 3 * SHOWN


def rows_read(node: dict) -> Iterator[int]:
    """Yield how many rows each step of a plan has read."""
    yield (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
    for below in node.get("Plans", ()):
        yield from rows_read(below)


def test_big_arguments_are_not_read(admin_client, order):
    add.about(order).enqueue("x" * 100_000, 0)

    response = admin_client.get(page_of(order))

    assert len(response.content) < 50_000
    assert "add(" in text(response)


def test_only_who_may_view_jobs_sees_them(as_user, order):
    labelled(failed_job(), order)

    blind = as_user("change_queue")
    page, alone = blind.get(page_of(order)), blind.get(f"{EFFECTS}{order.pk}/jobs-about/")
    assert "charge_card" not in text(page) and alone.status_code == 403

    seeing = as_user("view_job")
    assert "charge_card" in text(seeing.get(page_of(order)))
    assert seeing.get(f"{EFFECTS}{order.pk}/jobs-about/").status_code == 200


def test_the_panel_is_for_those_who_may_see_the_object(client, order):
    client.force_login(person("view_job"))

    assert client.get(f"{EFFECTS}{order.pk}/jobs-about/").status_code == 403


def test_the_panel_of_an_object_that_is_gone_is_not_there(admin_client):
    assert admin_client.get(f"{EFFECTS}12345/jobs-about/").status_code == 404


def test_the_script_gets_the_panel_alone(admin_client, order):
    labelled(failed_job(), order)

    response = admin_client.get(f"{EFFECTS}{order.pk}/jobs-about/", headers={"X-Dj-Live": "1"})

    source = response.content.decode()
    assert "data-dj-live=" in source and "charge_card" in source
    assert "<form" not in source and "<html" not in source


def test_adding_an_object_shows_no_panel(admin_client):
    assert "Background jobs" not in admin_client.get(f"{EFFECTS}add/").content.decode().partition("<main")[2]


def test_a_pop_up_shows_no_panel(admin_client, order):
    assert "dj-panel" not in admin_client.get(page_of(order), {"_popup": "1"}).content.decode()


def test_hostile_text_stays_text(admin_client, order):
    labelled(failed_job(last_error=HOSTILE, args=[HOSTILE]), order)

    source = admin_client.get(page_of(order)).content.decode()

    assert "<script>alert" not in source and "&lt;script&gt;alert" in source


# Admins of all kinds


def shown_by(kind: type, order: Effect, rf, site: admin.AdminSite = admin.site) -> HttpResponse:
    request = rf.get("/")
    request.user = User.objects.create_superuser("boss")
    response = kind(Effect, site).change_view(request, str(order.pk))
    return response.render() if hasattr(response, "render") else response


def test_a_template_of_ones_own_is_kept(order, rf):
    class OwnTemplate(JobsPanel, admin.ModelAdmin):
        change_form_template = "app/own_change_form.html"

    page = text(shown_by(OwnTemplate, order, rf))

    assert "A form of one's own." in page and "Background jobs" in page


def test_a_class_with_media_and_addresses_of_its_own_is_kept(order, rf):
    class OwnMedia(JobsPanel, admin.ModelAdmin):
        class Media:
            js = ["own.js"]

    source = shown_by(OwnMedia, order, rf).content.decode()

    assert all(name in source for name in ("own.js", "django_jobs/live.js", "django_jobs/admin.css"))


def test_a_page_that_is_no_form_is_left_alone(order, rf):
    class OwnPage(JobsPanel, admin.ModelAdmin):
        def render_change_form(self, request, context, **options):
            super().render_change_form(request, context, **options)
            return HttpResponse("something else")

    assert shown_by(OwnPage, order, rf).content == b"something else"


def test_a_template_that_another_base_chooses_is_kept(order, rf):
    class Chooses:
        def render_change_form(self, request, context, **options):
            self.change_form_template = "app/own_change_form.html"
            return super().render_change_form(request, context, **options)

    class Both(JobsPanel, Chooses, admin.ModelAdmin):
        def render_change_form(self, request, context, *args, **options):
            return super().render_change_form(request, context | {"title": "Of one's own"}, *args, **options)

    page = text(shown_by(Both, order, rf))

    assert "A form of one's own." in page and "Background jobs" in page


def test_a_site_that_does_not_show_jobs_has_a_panel_without_links(order, rf):
    class Plain(JobsPanel, admin.ModelAdmin):
        pass

    labelled(failed_job(), order)

    response = shown_by(Plain, order, rf, admin.AdminSite(name="admin"))

    assert "charge_card" in text(response)
    assert JOBS not in response.content.decode()


def test_the_wrong_order_of_bases_is_refused_with_the_right_one():
    with pytest.raises(ImproperlyConfigured, match=r"class Wrong\(JobsPanel, admin\.ModelAdmin\)"):

        class Wrong(admin.ModelAdmin, JobsPanel):
            pass


def test_an_object_whose_key_makes_no_label_has_no_panel(rf):
    long = Effect(pk=1)
    long.pk = "x" * 300
    long._state.adding = False

    class Plain(JobsPanel, admin.ModelAdmin):
        def get_object(self, *args, **options):
            return long

    assert "dj-panel" not in text(shown_by(Plain, Effect(pk=1), rf))


# All jobs of an object


def test_the_list_shows_the_jobs_of_one_object(admin_client, order):
    labelled(job(args=[7]), order)
    labelled(job(args=[8]), Effect.objects.create(key="another"))

    page = text(admin_client.get(JOBS, {"about": f"tests_app.effect:{order.pk}"}))

    assert "charge_card(7" in page and "charge_card(8" not in page
    assert f"effect {order.pk}" in page  # what the list is narrowed to


def test_the_list_does_not_mention_objects_otherwise(admin_client):
    job()

    assert "By object" not in text(admin_client.get(JOBS))


@pytest.mark.parametrize("label", ["a\0b", "x" * 300, ":", "no.model:5", HOSTILE, "tests_app.effect:", "app.tasks.add"])
def test_a_label_that_nobody_has_gives_an_empty_list(admin_client, label):
    job()

    page = text(admin_client.get(JOBS, {"about": label}))

    assert "charge_card(" not in page


def test_filters_go_together(admin_client, order):
    labelled(job(args=[7]), order)
    labelled(failed_job(args=[8]), order)

    page = text(admin_client.get(JOBS, {"about": f"tests_app.effect:{order.pk}", "state": "failed"}))

    assert "charge_card(8" in page and "charge_card(7" not in page


def test_retrying_all_of_the_list_leaves_other_objects_alone(admin_client, order):
    labelled(failed_job(args=[7]), order)
    other = labelled(job("failed", args=[8]), Effect.objects.create(key="another"))
    asked = f"?about=tests_app.effect%3A{order.pk}"
    assert "Retry 1 failed job" in text(admin_client.get(JOBS + asked))

    admin_client.post(f"{JOBS}retry-all/{asked}")

    assert list(Job.objects.filter(state="failed")) == [other]


# From a job to its objects


def test_the_page_of_a_job_leads_to_the_objects_that_it_is_about(admin_client, order):
    worker = Worker.objects.create(id=uuid4(), host="h", pid=1, alive_until=db_now() + timedelta(days=1))
    one = labelled(job(), order, worker)

    source = admin_client.get(f"{JOBS}{one.pk}/change/").content.decode()

    assert f'<a href="{page_of(order)}">effect {order.pk}</a>' in source
    assert f'<a href="/admin/django_jobs/worker/{worker.pk}/change/">worker {worker.pk}</a>' in source
    assert f"?about=tests_app.effect%3A{order.pk}" in source


def test_a_copy_is_about_the_same_objects(admin_client, order):
    one = labelled(failed_job(), order)

    admin_client.post(f"{JOBS}{one.pk}/again/")

    copy = Job.objects.get(copied_from=one.pk)
    assert list(jobs_about(order)) == [copy, one]


def test_who_may_not_see_the_object_sees_its_name_alone(client, order):
    one = labelled(job(), order)
    client.force_login(person("view_job"))

    response = client.get(f"{JOBS}{one.pk}/change/")

    assert f"effect {order.pk}" in text(response)
    assert page_of(order) not in response.content.decode()


def test_labels_that_are_of_no_object_are_shown_as_they_are(admin_client):
    one = job()
    for label in (HOSTILE, "tenant 7", "gone.model:7", "auth.permission:1"):
        JobLabel.objects.create(job=one, label=label)

    response = admin_client.get(f"{JOBS}{one.pk}/change/")

    page = text(response)
    assert "tenant 7" in page and "gone.model:7" in page and "permission 1" in page
    assert "<script>alert" not in response.content.decode()
