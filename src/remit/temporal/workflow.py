"""What workflow code may ask of Remit: who it acts for, and handing something narrower to a child.

    from remit.temporal import workflow as remit

    handed = await remit.delegate("report-writer", child="publish-1", actions=["report:publish"],
                                  spaces=["flights"], budget=10, expires_in=timedelta(hours=1))
    await remit.execute_child("AgentTask", task, handed=handed)

- A child started without a delegation of its own shares its parent's; nothing has to be done for that.
- Only pure code and Temporal are imported here, so workflows may import it inside the sandbox.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from temporalio import workflow

from remit.delegation import MAX_LINKS, Reference, Scope
from remit.errors import Denied
from remit.temporal import _names as names
from remit.temporal._children import HANDED, Handed
from remit.temporal._failure import to_application_error
from remit.temporal._handlers import Handlers
from remit.temporal._header import Terms

__all__ = ["Current", "Handed", "current", "delegate", "execute_child", "governed", "start_child"]


@dataclass(frozen=True, slots=True)
class Current:
    """The task this workflow is.

    Args:
        reference: The chain it acts under now.
        root, agent: SPIFFE IDs of the human at the head and of the agent it acts as.
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
    task = _required().task
    view = task.view
    return Current(task.chain, view.root, view.agent, view.purpose, task.state, task.steps)


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
