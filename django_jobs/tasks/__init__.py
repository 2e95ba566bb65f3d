"""What users decorate: tasks, and what a running body is told."""

from .context import TaskContext
from .decorator import task
from .definition import Call, Task

__all__ = ["Call", "Task", "TaskContext", "task"]
