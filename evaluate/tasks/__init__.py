"""One file per task; the table of those there are."""

from xopt.evaluate.tasks.base import TASKS, Task

__all__ = ["TASKS", "Task"]
