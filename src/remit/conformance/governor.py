"""`Governor`: what a product provides to be judged. Five methods, and three for what it may lack.

- A grant is whatever the product calls its authority for one task: a token, a delegation, a row. The suite only
  carries it from `grant` to `start` and `revoke`.
- Every method may raise. Refusing to start a revoked task, or to take an approval for it, is as good as any answer.
- The suite's workflows and activities are plain Temporal code; how they are declared to the product is the adapter's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

SENSITIVE = "conformance.sensitive"
"""The one activity type that needs a person's approval, where the governor has approvals; all others need none."""


class Capability(StrEnum):
    """What a governor may lack; scenarios about it are then reported as not supported."""

    APPROVALS = "approvals"
    """A step can wait for a person: `Governor.waiting` and `Governor.approve`."""
    RESUMPTION = "resumption"
    """A stopped task can go on under a fresh grant: `Governor.regrant`."""
    CHILDREN = "children"
    """A governed workflow may start child workflows, which act under its grant."""
    LOCAL_ACTIVITIES = "local-activities"
    """A governed workflow may run local activities."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a worker is to run.

    Args:
        queue: Task queue.
        workflows: Workflow classes.
        activities: Activity functions; some are async, one runs on a thread.
        executor: Where activities on threads run.
    """

    queue: str
    workflows: Sequence[type]
    activities: Sequence[Callable[..., Any]]
    executor: Executor


class Governor(Protocol):
    """A product that governs Temporal activities, as the suite sees it.

    The worker has to run in the process of the suite: its activities write down there what they do.
    """

    @property
    def name(self) -> str:
        """What the report is headed with."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What it has. A scenario that needs something else is not run."""

    def worker(self, work: Work) -> AbstractAsyncContextManager[object]:
        """Run a governed worker while the block lasts.

        Must: serve `work.queue` with every workflow and activity given, unchanged; end when the block ends. It may be
        entered again afterwards, and for several queues at a time.
        Must not: know scenarios, or treat tasks differently by their ids.
        """

    async def grant(self, task: str) -> Any:
        """Make a fresh grant for the workflow that will be started with the id `task`, good for ten minutes.

        It must allow every activity and child workflow of the suite; `SENSITIVE` only after an approval.
        """

    async def start(self, workflow: str, argument: Any, *, task: str, queue: str, grant: Any, waits: bool) -> object:
        """Start a workflow type under exactly this grant.

        Must not: make, renew or repair a grant. One that is revoked stays so; raising is fine.

        Args:
            workflow: Workflow type.
            argument: Its one argument.
            task: Workflow id; it is used twice where a scenario starts a terminated task again.
            queue: Task queue.
            grant: What `grant` returned, perhaps revoked meanwhile.
            waits: Whether the task is to wait for `regrant` once its grant is revoked, not to end; only ever True
                where `Capability.RESUMPTION` is declared.
        """

    async def revoke(self, grant: Any) -> object:
        """Revoke a grant; return as soon as the revocation is in force.

        The suite's clock starts when this returns. It must return while no worker runs.
        """

    async def waiting(self, task: str) -> bool:
        """Tell whether a step of the task waits for a person now. Only with `Capability.APPROVALS`."""

    async def approve(self, task: str) -> object:
        """Approve the step that waits, as a person who may; return when the approval was sent.

        It must be sent also when the grant is revoked; that it is refused there is fine.
        Only with `Capability.APPROVALS`.
        """

    async def regrant(self, task: str) -> object:
        """Give a stopped task a fresh grant, under which it goes on. Only with `Capability.RESUMPTION`."""


Adapter = Callable[[str, str], AbstractAsyncContextManager[Governor]]
"""From Temporal's address and namespace to the governor, opened and closed by the suite."""
