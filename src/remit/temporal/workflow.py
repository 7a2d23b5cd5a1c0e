"""What workflow code may ask of Remit: who it acts for, and handing something narrower to others.

    from remit.temporal import workflow as remit

    handed = await remit.delegate("report-writer", child="publish-1", actions=["report:publish"],
                                  spaces=["flights"], budget=10, expires_in=timedelta(hours=1))
    await remit.execute_child("AgentTask", task, handed=handed)

    async with remit.acting_as("Report writer"):      # an agent of the mapping, in this same execution
        await workflow.execute_activity("report.publish", ...)

- A child started without a delegation of its own shares its parent's, or gets what the mapping says; nothing has to be
  done for that.
- Another agent in the same execution never holds more than whoever handed over to it.
- Only pure code and Temporal are imported here, so workflows may import it inside the sandbox.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from temporalio import workflow

from remit.delegation import MAX_LINKS, Reference, Scope
from remit.errors import Denied
from remit.mapping import Handover
from remit.temporal import _names as names
from remit.temporal._agent import Agent
from remit.temporal._children import HANDED, Handed
from remit.temporal._failure import to_application_error
from remit.temporal._handlers import Handlers
from remit.temporal._header import Terms

__all__ = [
    "Current",
    "Handed",
    "Handover",
    "acting_as",
    "current",
    "delegate",
    "execute_child",
    "governed",
    "hand_over",
    "scope",
    "start_child",
]


@dataclass(frozen=True, slots=True)
class Current:
    """The task this workflow is.

    Args:
        reference: The chain it acts under now.
        root, agent: SPIFFE IDs of the human at the head and of the agent that acts now.
        purpose: The delegation's purpose.
        state: One of the words of `remit show`.
        steps: Steps made so far, by all runs.
    """

    reference: Reference
    root: str
    agent: str
    purpose: str
    state: str
    steps: int


def governed() -> bool:
    """Tell whether this workflow was started with a delegation, on a worker that has the plugin."""
    found = _handlers()
    return found is not None and found.task.reference is not None


def current() -> Current:
    """Return the task this workflow is.

    Raises:
        ApplicationError: ``delegation.missing`` in a workflow that has none.
    """
    found = _required()
    task, holder = found.task, found.children.acting.holder
    view = task.view
    agent = holder.spiffe_id if isinstance(holder, Agent) else view.agent
    return Current(holder.chain, view.root, agent, view.purpose, task.state, task.steps)


@asynccontextmanager
async def acting_as(agent: str | Handover) -> AsyncIterator[None]:
    """Have another agent act inside the block, under a delegation of its own, narrower than what holds outside.

    What is started inside, children too, is started by that agent. Blocks nest. `hand_over` inside lasts to its end.

    Args:
        agent: Its name in the mapping, or what it is handed.

    Raises:
        ApplicationError: ``agent.unmapped``, ``delegation.denied`` or another refusal; nothing inside runs.
    """
    acting = _required().children.acting
    with acting.within(await acting.found(acting.holder, agent)):
        yield


@contextmanager
def scope() -> Iterator[None]:
    """Have whoever acts go on acting inside the block; `hand_over` inside lasts to its end.

    It waits for nothing, so that a framework that returns at once, and goes on in a task of the event loop, can be
    started in it.
    """
    acting = _required().children.acting
    with acting.within(acting.holder):
        yield


async def hand_over(agent: str | Handover | None) -> None:
    """Have another agent act from now on, to the end of the innermost `acting_as` block, else of the run.

    Its delegation is made under that of whoever acts outside the block, or the task's own: who acted until now hands
    on the work, and no authority. It holds for everything in the block, in whatever task of the event loop.

    Args:
        agent: Its name in the mapping, or what it is handed; None: whoever acted when the block began.

    Raises:
        ApplicationError: ``agent.unmapped``, ``delegation.denied`` or another refusal; who acts is as before.
    """
    acting = _required().children.acting
    scope = acting.scope
    acting.hand_over(scope, scope.first if agent is None else await acting.found(scope.outer, agent))


async def delegate(
    agent: str,
    *,
    child: str,
    actions: Sequence[str],
    spaces: Sequence[str],
    budget: int,
    expires_in: timedelta,
    max_depth: int = MAX_LINKS - 1,
) -> Handed:
    """Hand something narrower to another agent, for one child workflow.

    Args:
        agent: Name of the agent.
        child: Workflow id of the child; the delegation is of no use to any other.
        actions, spaces, budget, expires_in, max_depth: At most what the task itself holds; the expiry is cut to it.

    Raises:
        ApplicationError: The refusal, e.g. ``delegation.denied``.
    """
    return await _required().children.delegate(
        child=child,
        agent=agent,
        scope=Scope(tuple(actions), tuple(spaces), budget),
        expires_in=int(expires_in.total_seconds()),
        max_depth=max_depth,
    )


async def start_child(
    workflow_type: Any,
    argument: Any,
    *,
    handed: Handed,
    on_revocation: timedelta | Literal["halt", "as-parent"] = "as-parent",
    **options: Any,
) -> workflow.ChildWorkflowHandle[Any, Any]:
    """Start a child under a delegation of its own.

    Args:
        workflow_type: The workflow's type or its name.
        argument: Its argument.
        handed: What `delegate` returned; its workflow id is the child's.
        on_revocation: What the child does when its chain stops being live.
        options: Of `temporalio.workflow.start_child_workflow`.
    """
    token = HANDED.set((handed, _terms(on_revocation)))
    try:
        return await workflow.start_child_workflow(workflow_type, argument, id=handed.child, **options)
    finally:
        HANDED.reset(token)


async def execute_child(
    workflow_type: Any,
    argument: Any,
    *,
    handed: Handed,
    on_revocation: timedelta | Literal["halt", "as-parent"] = "as-parent",
    **options: Any,
) -> Any:
    """Start a child under a delegation of its own, and return its result."""
    return await (await start_child(workflow_type, argument, handed=handed, on_revocation=on_revocation, **options))


def _terms(on_revocation: timedelta | Literal["halt", "as-parent"]) -> Terms | None:
    if isinstance(on_revocation, timedelta):
        return Terms(max(1, int(on_revocation.total_seconds())))
    return Terms() if on_revocation == "halt" else None


def _handlers() -> Handlers | None:
    # The handler the plugin registered is the one thing every context of a workflow, its handlers too, can reach.
    found = getattr(workflow.get_signal_handler(names.NOTICE), "__self__", None)
    return found if isinstance(found, Handlers) else None


def _required() -> Handlers:
    found = _handlers()
    if found is None or found.task.reference is None:
        raise to_application_error(
            Denied(
                "this workflow has no delegation",
                code="delegation.missing",
                next_action="Start it with a delegation, on a client and worker that have the plugin.",
            )
        )
    return found
