"""Workflows in which other agents act, as a script says.

A script is a list of steps, each with one key: ``call`` a tool with an input, ``as`` somebody ``do`` a script, a
``scope`` with a script, hand ``over``, do ``both`` scripts at once, go on without what was ``tried``, start a ``child``
with its calls, ``delegate`` to one, tell ``who`` acts, ``continue`` as new with a script. Whoever acts is an agent of
the mapping, a handover's keys, or None.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ApplicationError, FailureError

from remit.temporal import workflow as remit

SOON = timedelta(seconds=60)


@workflow.defn
class Plays:
    """Does what a script says and returns what came of each step."""

    @workflow.run
    async def run(self, script: list[dict[str, Any]]) -> list[Any]:
        found: list[Any] = []
        await play(script, found)
        return found


async def play(script: list[dict[str, Any]], found: list[Any]) -> None:
    for step in script:
        if "call" in step:
            tool, argument = step["call"]
            found.append(await workflow.execute_activity(tool, argument, start_to_close_timeout=SOON))
        elif "as" in step:
            async with remit.acting_as(named(step["as"])):
                await play(step["do"], found)
        elif "scope" in step:
            with remit.scope():
                await play(step["scope"], found)
        elif "over" in step:
            await remit.hand_over(named(step["over"]))
        elif "both" in step:
            await asyncio.gather(*(play(one, found) for one in step["both"]))
        elif "tried" in step:
            try:
                await play(step["tried"], found)
            except FailureError as error:
                found.append(code_of(error))
        elif "child" in step:
            kind, argument = step["child"]
            child = f"{workflow.info().workflow_id}-{kind}"
            found.append(await workflow.execute_child_workflow(kind, argument, id=child))
        elif "delegate" in step:
            kind, argument = step["delegate"]
            child = f"{workflow.info().workflow_id}-{kind}"
            handed = await remit.delegate(
                "report-writer",
                child=child,
                actions=["read"],
                spaces=["flights"],
                budget=2,
                expires_in=timedelta(minutes=5),
            )
            found.append(await remit.execute_child(kind, argument, handed=handed))
        elif "continue" in step:
            workflow.continue_as_new(step["continue"])
        else:
            found.append(remit.current().agent.rpartition("/")[2])


def named(who: Any) -> Any:
    return remit.Handover(**who) if isinstance(who, dict) else who


def code_of(error: BaseException | None) -> str:
    while isinstance(error, FailureError) and not isinstance(error, ApplicationError) and error.__cause__ is not None:
        error = error.__cause__
    return (error.type if isinstance(error, ApplicationError) else None) or type(error).__name__
