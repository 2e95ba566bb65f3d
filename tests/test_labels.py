"""Labels: jobs know what they are about, from the enqueueing to the deletion, and others pay nothing for it."""

from __future__ import annotations

from uuid import uuid4

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import Group, User
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

import django_jobs
from django_jobs import InvalidTask, enqueue, jobs_about, testing
from django_jobs.backend import framework
from django_jobs.models import Job, JobLabel, Worker
from django_jobs.scheduler.prune import prune
from tests.app import framework_tasks
from tests.app.models import Effect
from tests.app.tasks import add, keep_nothing

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def without_redis(settings):
    settings.DJANGO_JOBS = {"CACHE": None, "QUEUES": []}


@pytest.fixture
def order() -> Effect:
    return Effect.objects.create(key="order")


@pytest.fixture
def customer() -> User:
    return User.objects.create(username="ada")


def labels(job: Job) -> list[str]:
    return sorted(JobLabel.objects.filter(job=job.pk).values_list("label", flat=True))


# Enqueueing


def test_a_job_is_labelled_with_the_objects_that_it_is_about(order, customer):
    one = add.about(order).enqueue(1, 2)
    both = add.about(order, customer).enqueue(1, 2)
    chained = add.about(order).using(priority=5).about(customer).enqueue(1, 2)

    assert labels(one) == [f"tests_app.effect:{order.pk}"]
    assert labels(both) == labels(chained) == [f"auth.user:{customer.pk}", f"tests_app.effect:{order.pk}"]
    assert chained.priority == 5


def test_the_task_itself_stays_as_it_was(order):
    add.about(order)

    assert labels(add.enqueue(1, 2)) == []


def test_an_object_named_twice_is_one_label(order):
    assert len(labels(add.about(order, order).about(order).enqueue(1, 2))) == 1


def test_a_label_may_be_any_text():
    job = add.using(labels=["tenant 7", "tenant 7", "ümlaut:\x1b"]).enqueue(1, 2)

    assert labels(job) == ["tenant 7", "ümlaut:\x1b"]


def test_async_code_labels_as_well(order):
    job = async_to_sync(add.about(order).aenqueue)(1, 2)

    assert labels(job) == [f"tests_app.effect:{order.pk}"]


def test_of_many_jobs_each_has_its_own_labels_and_those_of_all(order):
    first, second = Effect.objects.bulk_create([Effect(key="a"), Effect(key="b")])
    calls = [add.about(first).s(1, 2), add.about(second).s(3, 4), {"a": 5, "b": 6}]

    jobs = add.about(order).enqueue_many(calls)

    assert [labels(job) for job in jobs] == [
        sorted([f"tests_app.effect:{one.pk}", f"tests_app.effect:{order.pk}"])
        if one
        else [f"tests_app.effect:{order.pk}"]
        for one in (first, second, None)
    ]


def test_jobs_that_follow_others_are_labelled_too(order):
    follower = add.enqueue(1, 2).then(add.about(order).s(3, 4))

    assert list(jobs_about(order)) == [follower]


def test_a_rolled_back_transaction_takes_labels_along(order):
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        add.about(order).enqueue(1, 2)
        _ = 1 / 0

    assert not JobLabel.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_without_a_transaction_a_job_is_saved_with_its_labels_or_not_at_all():
    job = add.prepare((1, 2), {})
    job.new_labels = ("twice", "twice")

    with pytest.raises(IntegrityError):
        enqueue.save([job])

    assert not Job.objects.exists()


def test_labels_are_one_statement_more_and_nothing_for_jobs_that_have_none(order, customer):
    def statements(enqueue) -> list[str]:
        with CaptureQueriesContext(connection) as queries:
            enqueue()
        return [query["sql"] for query in queries if "SAVEPOINT" not in query["sql"]]

    add.enqueue(1, 2)  # makes the row of its queue
    plain = statements(lambda: add.enqueue(1, 2))
    labelled = statements(lambda: add.about(order, customer).enqueue(1, 2))
    many = statements(lambda: add.about(order, customer).enqueue_many(add.s(number, 1) for number in range(10)))

    assert not [sql for sql in plain if "joblabel" in sql]
    assert len(labelled) == len(many) == len(plain) + 1
    if connection.vendor == "postgresql":
        assert len(plain) == 1


# What has no label


@pytest.mark.parametrize(
    ("thing", "said"),
    [(5, "this is a int"), (None, "this is a NoneType"), (User, "this is the class User")],
)
def test_what_is_no_object_of_the_database_is_refused_with_what_to_do(thing, said):
    with pytest.raises(TypeError, match=rf"^add\.about\(\): .*{said}\. Pass the object itself"):
        add.about(thing)
    with pytest.raises(TypeError, match=r"^jobs_about\(\): "):
        jobs_about(thing)


@pytest.mark.parametrize("thing", [Effect(), Effect(pk=5), Worker(pk=uuid4())], ids=["no key", "a key", "a UUID"])
def test_an_object_that_is_not_saved_is_refused_with_what_to_do(thing):
    with pytest.raises(InvalidTask, match=r"is not saved yet, so it has no key\. Save it first\."):
        add.about(thing)


@pytest.mark.parametrize("key", ["x" * 200, "a\0b", "a\ud800"], ids=["long", "NUL", "surrogate"])
def test_a_key_that_cannot_be_stored_is_refused(key):
    group = Group(pk=key)
    group._state.adding = False

    with pytest.raises(InvalidTask, match="makes no label"):
        add.about(group)


# Finding


def test_jobs_about_an_object_come_newest_first_and_no_others(order, customer):
    other = Effect.objects.create(key="other")
    first = add.about(order).enqueue(1, 1)
    add.about(other, customer).enqueue(2, 2)
    second = add.about(customer, order).enqueue(3, 3)

    assert list(django_jobs.jobs_about(order)) == [second, first]
    assert list(jobs_about(order).filter(state="running")) == []


def test_the_key_may_be_of_any_kind():
    worker = Worker.objects.create(id=uuid4(), host="h", pid=1, alive_until="2030-01-01T00:00Z")

    job = add.about(worker).enqueue(1, 2)

    assert labels(job) == [f"django_jobs.worker:{worker.pk}"]
    assert list(jobs_about(worker)) == [job]


def test_a_proxy_is_the_object_that_it_stands_for(customer):
    class Person(User):
        class Meta:
            proxy = True
            app_label = "app"

    add.about(Person.objects.get()).enqueue(1, 2)

    assert jobs_about(customer).count() == 1


# The end


def test_labels_go_with_the_pruned_job(order):
    over, kept = add.about(order).enqueue(1, 1), add.about(order).enqueue(2, 2)
    testing.run_jobs()
    Job.objects.filter(pk=over.pk).update(prune_at="2020-01-01T00:00Z")

    assert prune() == 1

    assert list(JobLabel.objects.values_list("job", flat=True)) == [kept.pk]


def test_labels_go_with_a_job_that_is_not_kept(order):
    keep_nothing.about(order).enqueue("x")

    testing.run_jobs()

    assert not Job.objects.exists()
    assert not JobLabel.objects.exists()


@pytest.mark.parametrize("way", ["list", "page", "orm"])
def test_labels_go_with_a_deleted_job(way, order, admin_client):
    job = add.about(order).enqueue(1, 2)

    match way:
        case "list":
            data = {"action": "delete_selected", "_selected_action": [job.pk], "post": "yes"}
            admin_client.post("/admin/django_jobs/job/", data)
        case "page":
            admin_client.post(f"/admin/django_jobs/job/{job.pk}/delete/", {"post": "yes"})
        case "orm":
            Job.objects.get().delete()

    assert not Job.objects.exists()
    assert not JobLabel.objects.exists()


def test_a_deleted_object_leaves_its_jobs_alone(order):
    job = add.about(order).enqueue(1, 2)

    order.delete()

    assert labels(job) == [f"tests_app.effect:{JobLabel.objects.get().label.rpartition(':')[2]}"]


# Django's Tasks framework


def test_tasks_of_the_framework_label_as_well(order):
    result = framework_tasks.plus.about(order).enqueue(1)
    many = framework_tasks.plus.enqueue_many([framework_tasks.plus.about(order).s(2), {"a": 3}])

    assert [str(job.pk) for job in jobs_about(order)] == [many[0].id, result.id]
    assert Job.objects.count() == 3


def test_another_backend_of_the_framework_takes_no_notice_of_labels(order):
    result = framework_tasks.plus.about(order).using(backend="immediate").enqueue(1, 2)

    assert result.return_value == 3
    assert not JobLabel.objects.exists()


def test_refusals_are_the_frameworks_too():
    with pytest.raises(framework.InvalidTask):
        framework_tasks.plus.about(Effect())
