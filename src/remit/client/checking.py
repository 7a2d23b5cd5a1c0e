"""Checking: what is wrong with a job, told without asking any server.

- What nobody could do or delegate is refused here, in every part that is handed on.
- Tools are known where a worker of this state folder has said which it has; elsewhere the task itself says it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING

from remit.catalogue import nearest
from remit.errors import Usage
from remit.job import ASK, ModelPlanner

if TYPE_CHECKING:
    from remit.client.connection import Connection
    from remit.job import Handout, Job


def check(connection: Connection, job: Job) -> None:
    """Refuse what nobody could do or delegate, here and in every part handed on.

    Raises:
        Usage: ``catalogue.unknown`` for an agent, space or model, ``job.tool`` for a tool that is not there.
        Refused: ``delegation.action``.
    """
    for agent, handout in _handouts(job):
        check_handout(connection, agent, actions=handout.actions, spaces=handout.spaces)
    if isinstance(job.planner, ModelPlanner):
        _check_model(connection, job.planner.model)
    known = connection.tools
    for tool in sorted(job.tools):
        if known is not None and tool not in known:
            raise _no_tool(tool, known)


def check_handout(connection: Connection, agent: str, *, actions: Collection[str], spaces: Iterable[str]) -> None:
    """Refuse an agent, a space or an action that cannot stand in a delegation.

    Raises:
        Usage: ``catalogue.unknown``. Refused: ``delegation.action``.
    """
    connection.catalogue.agent(agent)
    for space in spaces:
        connection.catalogue.space(space)
    connection.policy.delegable(actions)


def _check_model(connection: Connection, model: str) -> None:
    models = connection.catalogue.models
    if model not in models:
        near = nearest(model, models)
        raise Usage(
            f"there is no model {model!r} in the catalogue",
            code="catalogue.unknown",
            next_action=f"Did you mean {near!r}?" if near else f"There are: {', '.join(sorted(models)) or 'none'}.",
        )


def _no_tool(tool: str, known: Collection[str]) -> Usage:
    if tool == ASK:
        return Usage(
            "no worker here plans with a model",
            code="job.tool",
            next_action="Name the model in the worker's REMIT_PLANNERS, with remit[planner] installed.",
        )
    near = nearest(tool, known)
    return Usage(
        f"there is no tool {tool!r}",
        code="job.tool",
        next_action=f"Did you mean {near!r}?" if near else f"There are: {', '.join(sorted(known))}.",
    )


def _handouts(job: Job) -> Iterator[tuple[str, Handout]]:
    """Yield every agent of a job with what it is handed, outermost first."""
    yield job.agent, job.delegation
    waiting = list(job.steps)
    while waiting:
        part = waiting.pop(0).delegate
        if part is not None:
            yield part.agent, part.delegation
            waiting += part.steps
