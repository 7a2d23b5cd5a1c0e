"""The recorder: what the suite's activities really did, written by themselves.

- One execution for each time an activity's code was entered, whatever the governor or Temporal says about it.
- While it runs it gives a sign of life every 50 ms; the last one tells when it really stopped.
- Children are found under their task: their ids are ``<task>.<name>``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from temporalio import activity
from temporalio.exceptions import CancelledError

TICK = 0.05
"""Seconds between two signs of life."""

Outcome = Literal["running", "ended", "failed", "cancelled"]


@dataclass(slots=True)
class Execution:
    """One time an activity's code ran.

    Args:
        workflow: Id of the workflow it ran for.
        tool: Activity type. step: Which call of the workflow. attempt: From 1.
        began, seen: Seconds of the recorder's clock; `seen` is its last sign of life.
        outcome: How it ended, as its own code saw it.
    """

    workflow: str
    tool: str
    step: str
    attempt: int
    began: float
    seen: float
    outcome: Outcome = "running"


class Recorder:
    """Collects executions.

    Args:
        clock: Seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._executions: list[Execution] = []
        self._finished: set[str] = set()
        self._closed = False

    def of(self, task: str, step: str | None = None) -> list[Execution]:
        """Return the executions of a task and its children, oldest first."""
        return [
            one
            for one in list(self._executions)
            if (one.workflow == task or one.workflow.startswith(f"{task}.")) and step in (None, one.step)
        ]

    def finish(self, task: str) -> None:
        """Let every long activity of a task come to its end."""
        self._finished.add(task)

    def close(self) -> None:
        """Let every activity come to its end."""
        self._closed = True

    def goes_on(self, one: Execution, seconds: float) -> bool:
        """Give a sign of life; tell whether the activity has longer to run."""
        one.seen = self.clock()
        task = one.workflow.split(".", 1)[0]
        return one.seen - one.began < seconds and not self._closed and task not in self._finished

    @contextmanager
    def execution(self, step: str) -> Iterator[Execution]:
        """Record the activity that is running."""
        info, now = activity.info(), self.clock()
        one = Execution(str(info.workflow_id), info.activity_type, step, info.attempt, now, now)
        self._executions.append(one)
        try:
            yield one
        except (asyncio.CancelledError, CancelledError):
            one.outcome = "cancelled"
            raise
        except BaseException:
            one.outcome = "failed"
            raise
        else:
            one.outcome = "ended"
        finally:
            one.seen = self.clock()
