"""One file per task; the table of those there are."""

from xopt.evaluate.tasks.base import TASKS, Task, fitting_tasks

__all__ = ["TASKS", "Task", "fitting_tasks"]
