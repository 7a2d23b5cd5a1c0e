"""What can be seen of pydantic-ai's agents when a worker starts.

- They are found where its plugins find them: a workflow's ``__pydantic_ai_agents__``, an `AgentPlugin`'s activities.
- An agent that cannot be looked into is refused, so that no tool of its runs unseen.
- What only shows when it runs (MCP servers' tools, dynamic toolsets, toolsets of other kinds) is decided then.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from remit.errors import Usage

if TYPE_CHECKING:
    from temporalio.worker import WorkerConfig

_SETTINGS = "temporal"
"""The key of a tool's metadata that says where it runs."""


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent.

    Args:
        name: As its activities have it.
        model: Name of its default model; empty when it has none.
        tools: Each function tool that is no child workflow, with whether it runs inside the workflow.
    """

    name: str
    model: str
    tools: tuple[tuple[str, bool], ...]


def agents(config: WorkerConfig, names: Collection[str]) -> Iterator[Agent]:
    """Return the agents of a worker.

    Args:
        names: Those whose activities are registered there.

    Raises:
        Usage: ``agent.unseen`` for one that cannot be found or looked into.
    """
    found = {name: durability for durability in _durabilities(config) if (name := durability.name)}
    for name in sorted(names):
        if name not in found:
            raise _unseen(name)
        yield Agent(name, _model_of(found[name]), tuple(_tools_of(name, found[name].agent)))


def _durabilities(config: WorkerConfig) -> Iterator[Any]:
    """Return the capability that runs each agent."""
    from pydantic_ai.durable_exec.temporal import TemporalDurability

    for workflow in config.get("workflows") or ():
        for agent in getattr(workflow, "__pydantic_ai_agents__", None) or ():
            if hasattr(agent, "root_capability") and (found := TemporalDurability.from_agent(agent)) is not None:
                yield found
    for activity in config.get("activities") or ():
        found = _behind(activity)
        if isinstance(found, TemporalDurability):
            yield found


def _behind(activity: Callable[..., Any]) -> Any:
    """Return what an activity runs for; there is no public way to ask, and what is not found is refused above."""
    if not inspect.isfunction(activity):
        return None
    return getattr(inspect.getclosurevars(activity).nonlocals.get("transport"), "_durability", None)


def _model_of(durability: Any) -> str:
    default = getattr(durability.agent, "model", None)
    name = durability.default_model_id or getattr(default, "model_id", default)
    return name if isinstance(name, str) else ""


def _tools_of(name: str, agent: Any) -> Iterator[tuple[str, bool]]:
    from pydantic_ai.toolsets import FunctionToolset

    leaves: list[Any] = []
    if agent is None:
        raise _unseen(name)
    for toolset in agent.toolsets:
        toolset.apply(leaves.append)
    for leaf in leaves:
        if isinstance(leaf, FunctionToolset):
            for key, tool in leaf.tools.items():
                settings = (tool.metadata or {}).get(_SETTINGS)
                if not (isinstance(settings, dict) and "child_workflow" in settings):
                    yield key, settings is False


def _unseen(name: str) -> Usage:
    return Usage(
        f"the tools of the pydantic-ai agent {name!r} cannot be seen",
        code="agent.unseen",
        next_action="Give it the TemporalDurability capability, and name it in the workflow's __pydantic_ai_agents__.",
    )
