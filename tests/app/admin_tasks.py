"""Tasks for the tests of admin and schedules, in a module that is not among TASK_MODULES."""

from django_jobs import task


@task(admin=True, sensitive=["pin"])
def charge_card(order_id: int, amount: float = 1.0, *, pin: str = "", password: str = ""):
    return amount


@task(admin="tests_app.view_effect", queue_name="reports")
def report(month: str): ...


@task
def for_superusers_only(): ...


@task(takes_context=True)
def with_context(context, *numbers, **words): ...
