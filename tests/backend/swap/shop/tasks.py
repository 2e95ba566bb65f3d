"""Tasks as the framework's documentation shows them."""

try:
    from django.tasks import TaskContext, task
    from django.tasks.signals import task_finished
except ImportError:
    from django_tasks import TaskContext, task
    from django_tasks.signals import task_finished

from django.dispatch import receiver


@task(queue_name="emails", priority=5)
def send_receipt(order_id, *, copies=1):
    return f"{copies} receipts for order {order_id}"


@task
async def look_up(word):
    return {"word": word, "length": len(word)}


@task(takes_context=True)
def count(context: TaskContext, rows):
    return [context.attempt, context.task_result.id, len(rows)]


@task
def refuse(reason):
    raise PermissionError(reason)


@receiver(task_finished)
def remember(sender, task_result, **kwargs):
    from tests.app.models import Effect

    Effect.objects.create(key=f"swap {task_result.task.name} {task_result.status} {task_result.is_finished}")
