"""Records the histories that later versions must still replay: ``python -m tests.replay.record``.

Run it only to add histories; the ones that are there stay as they were recorded, and show what runs did at their time.
`expired_halted-1` is from before a task waited when its chain expired, `child_first_failed-1` from before a parent
looked when its child was not live. `sealed`, `acting` and `planned` are from after a run had its evidence sealed,
`begun` and `begun_mapped` from after it said as it began what it does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from temporalio import activity
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from activities.plan import Planning
from remit.errors import Held, Refused
from remit.mapping import Handover, Mapping
from remit.temporal import tool
from tests.unit.temporal import tools
from tests.unit.temporal.acting_flows import Plays
from tests.unit.temporal.authority import Keeper, decision
from tests.unit.temporal.conftest import Bench, bench, ran, temporal
from tests.unit.temporal.flows import FLOWS
from workflows.agent_task import AgentTask

HISTORIES = Path(__file__).parent / "histories"
MAPPING = Mapping(
    agents={
        "Report writer": Handover(agent="report-writer", actions=("read",), spaces=("flights",), budget=5),
        "Same": Handover(share=True),
    },
    children={"Calls": Handover(agent="clerk", actions=("read",), spaces=("flights",), budget=2)},
)
PLUGIN = {name: {"mapping": MAPPING} for name in ("acting", "begun_mapped")}
"""What the plugin of a scene is given besides."""
WORKFLOWS = [*FLOWS, AgentTask, Plays]
READ = ["data.read", {"dataset": "flights", "n": 1}]
SHORT = ["data.slow", {"dataset": "flights", "n": 1}]
SLOW = ["data.slow", {"dataset": "flights", "n": 30}]
DAY = timedelta(hours=24)
Handle = WorkflowHandle[Any, Any]


class Anything(BaseModel):
    dataset: str = "flights"
    sql: str = ""
    table: str = ""


@tool(name="sql.query", action="dataset:query", resource=lambda query: query.dataset)
async def query(query: Anything) -> dict[str, Any]:
    """Answer like the real tool."""
    return {"rows": [{"remark": query.sql}], "truncated": False}


@tool(name="report.publish", action="report:publish", resource="reports")
async def publish(report: Anything) -> dict[str, Any]:
    """Answer like the real tool."""
    return {"table": report.table, "rows": 1}


class Question(Anything):
    model: str
    conversation: list[dict[str, Any]]


@tool(name="plan.ask", action="model:invoke", resource=lambda question: question.model)
async def ask(question: Question) -> dict[str, Any]:
    """Propose as a model does: a query, something denied beside a tool that is not there, then an answer."""
    asked = {"call": "c-1", "name": "sql_query", "tool": "sql.query", "input": {"sql": "x"}, "fault": ""}
    denied = {"call": "c-2", "name": "report_publish", "tool": "report.publish", "input": {"table": "t"}, "fault": ""}
    absent = {"call": "c-3", "name": "drop", "tool": "", "input": {}, "fault": "there is no tool 'drop'"}
    turn = sum(one["role"] == "model" for one in question.conversation)
    calls = [[asked], [denied, absent], []][turn]
    return {
        "message": {"kind": "response", "parts": []},
        "text": "" if calls else "done",
        "calls": calls,
        "offered": [],
    }


async def plain(here: Bench) -> list[Handle]:
    handle, _ = await here.start("Calls", [READ, ["model.call", {}], READ])
    await handle.result()
    return [handle]


async def local(here: Bench) -> list[Handle]:
    handle, _ = await here.start("Local", [READ, READ])
    await handle.result()
    return [handle]


async def approved(here: Bench) -> list[Handle]:
    here.keeper.scripts["data.read"] = "needs-approval"
    handle, _ = await here.start("Calls", [READ])
    request = (await here.until(handle, "waiting-approval"))["waiting"]["request"]
    await handle.execute_update("remit.decide", decision("approve", request, by="alice"))
    await handle.signal("remit.decide", decision("approve", "another"))
    await handle.execute_update("remit.decide", decision("approve", request))
    await handle.result()
    return [handle]


async def denied(here: Bench) -> list[Handle]:
    here.keeper.scripts["data.read"] = "deny"
    handle, _ = await here.start("Calls", [READ])
    return [await ended(handle)]


async def halted(here: Bench) -> list[Handle]:
    handle, reference = await here.start("Stubborn", [SLOW, READ])
    await ran("data.slow started")
    here.keeper.revoke(reference)
    await handle.signal("remit.notice")
    return [await ended(handle)]


async def resumed(here: Bench) -> list[Handle]:
    handle, old = await here.start("Calls", [READ, SHORT, READ], on_revocation=DAY)
    await ran("data.slow started")
    here.keeper.revoke(old)
    await handle.signal("remit.notice")
    await here.until(handle, "suspended")
    await asyncio.sleep(0.5)
    fresh = here.keeper.hand(handle.id)
    await handle.execute_update("remit.resume", {"delegation": fresh.delegation, "digest": fresh.digest})
    await handle.result()
    return [handle]


async def suspended(here: Bench) -> list[Handle]:
    handle, reference = await here.start("Parallel", [SHORT, SHORT])
    await ran("data.slow started")
    here.keeper.suspend(reference)
    await handle.signal("remit.notice")
    await here.until(handle, "suspended")
    await asyncio.sleep(0.5)
    here.keeper.reinstate(reference)
    await handle.signal("remit.notice")
    await handle.result()
    return [handle]


async def delegating(here: Bench) -> list[Handle]:
    handle, old = await here.start("Delegator", [["flights"], [READ, SHORT]], on_revocation=DAY)
    child: Handle = here.client.get_workflow_handle(f"{handle.id}-child")
    await ran("data.slow started")
    here.keeper.revoke(old)
    await handle.signal("remit.notice")
    await here.until(child, "suspended")
    await asyncio.sleep(0.5)
    fresh = here.keeper.hand(handle.id)
    await handle.execute_update("remit.resume", {"delegation": fresh.delegation, "digest": fresh.digest})
    await handle.result()
    return [handle, child]


async def renewing(here: Bench) -> list[Handle]:
    handle, _ = await here.start("Renewing", [READ, READ])
    await handle.result()
    return [here.client.get_workflow_handle(handle.id, run_id=handle.first_execution_run_id), handle]


async def held(here: Bench) -> list[Handle]:
    here.keeper.scripts["data.read"] = "hold"
    handle, _ = await here.start("CallsOnce", [READ])
    await asyncio.sleep(11.5)
    here.keeper.scripts["data.read"] = "permit"
    await handle.result()
    return [handle]


async def agent_task(here: Bench) -> list[Handle]:
    here.keeper.scripts["report.publish"] = "needs-approval"
    part = {
        "agent": "report-writer",
        "delegation": {"actions": ["read"], "spaces": ["flights"], "budget": 5, "expires_in": 60, "max_depth": 2},
        "steps": [{"tool": "report.publish", "input": {"table": "t"}}],
    }
    task = {
        "agent": "flight-analyst",
        "purpose": "test",
        "on_denied": "continue",
        "planner": {"follow": "output", "most": 1},
        "steps": [
            {"tool": "sql.query", "input": {"sql": '{"next": {"tool": "report.publish", "input": {"table": "x"}}}'}},
            {"delegate": part},
        ],
    }
    handle, _ = await here.start("AgentTask", task)
    view = await here.until(handle, "waiting-approval")
    here.keeper.scripts["report.publish"] = "deny"
    await handle.execute_update("remit.decide", decision("approve", view["waiting"]["request"]))
    await asyncio.sleep(0.5)
    return [await ended(handle), here.client.get_workflow_handle(f"{handle.id}-3-report-writer")]


async def expired(here: Bench) -> list[Handle]:
    task = "expires"
    long = ["data.slow", {"dataset": "flights", "n": 3}]
    handle, _ = await here.start("Calls", [READ, long], reference=here.keeper.hand(task, expires_in=2), task=task)
    await here.until(handle, "suspended")
    await asyncio.sleep(0.5)
    fresh = here.keeper.hand(task)
    await handle.execute_update("remit.resume", {"delegation": fresh.delegation, "digest": fresh.digest})
    await handle.result()
    return [handle]


async def child_first(here: Bench) -> list[Handle]:
    handle, reference = await here.start("Delegator", [["flights"], [SLOW]])
    child: Handle = here.client.get_workflow_handle(f"{handle.id}-child")
    await ran("data.slow started")
    here.keeper.revoke(reference)
    await child.signal("remit.notice")
    return [await ended(handle), await ended(child)]


async def sealed(here: Bench) -> list[Handle]:
    here.keeper.unsealed = Held("down", code="vault.unreachable")
    first, _ = await here.start("Calls", [READ])
    await asyncio.sleep(9)
    here.keeper.unsealed = None
    await first.result()
    here.keeper.unsealed = Refused("no", code="vault.forbidden")
    here.keeper.scripts["data.read"] = "deny"
    second, _ = await here.start("Calls", [READ])
    return [first, await ended(second)]


async def acting(here: Bench) -> list[Handle]:
    script = [
        {"as": "Report writer", "do": [{"call": READ}, {"call": SHORT}, {"child": ["Calls", [READ]]}]},
        {"over": "Same"},
        {"call": READ},
    ]
    handle, old = await here.start("Plays", script, on_revocation=DAY)
    await ran("data.slow started")
    here.keeper.revoke(here.keeper.authorized[0].reference)
    await handle.signal("remit.notice")
    await here.until(handle, "suspended")
    here.keeper.revoke(old)
    await handle.signal("remit.notice")
    await asyncio.sleep(0.5)
    fresh = here.keeper.hand(handle.id)
    await handle.execute_update("remit.resume", {"delegation": fresh.delegation, "digest": fresh.digest})
    await handle.result()
    return [handle, here.client.get_workflow_handle(f"{handle.id}-Calls")]


async def planned(here: Bench) -> list[Handle]:
    here.keeper.scripts["report.publish"] = "deny"
    planner = {"model": "planner", "goal": "go", "most": 4, "max_tokens": 100, "on_denied": "continue"}
    first = {"tool": "sql.query", "input": {"sql": "first"}}
    task = {"agent": "flight-analyst", "purpose": "test", "steps": [first], "planner": planner}
    handle, _ = await here.start("AgentTask", task)
    await handle.result()
    unending, _ = await here.start("AgentTask", {**task, "planner": {**planner, "most": 1}})
    return [handle, await ended(unending)]


async def ended(handle: Handle) -> Handle:
    with contextlib.suppress(WorkflowFailureError):
        await handle.result()
    return handle


Scene = Callable[[Bench], Awaitable[list[Handle]]]
SCENES: list[Scene] = [
    plain, local, approved, denied, halted, resumed, suspended, delegating, renewing, held, agent_task, expired,
    child_first, sealed, acting, planned,
]  # fmt: skip


async def begun(here: Bench) -> list[Handle]:
    return await delegating(here)


async def begun_mapped(here: Bench) -> list[Handle]:
    return await acting(here)


LATER: list[Scene] = [begun, begun_mapped]
"""Scenes from above, recorded once more."""


async def main() -> None:
    """Record every scene that has no history yet."""
    async with temporal() as environment:
        for scene in (*SCENES, *LATER):
            if (HISTORIES / f"{scene.__name__}-1.json").exists():
                continue
            tools.RAN.clear()
            activities = [
                *tools.TOOLS,
                query,
                publish,
                ask,
                Planning({"sql.query", "report.publish", "plan.ask"}).propose,
            ]
            async with bench(
                environment, Keeper(), flows=WORKFLOWS, activities=activities, plugin=PLUGIN.get(scene.__name__)
            ) as here:
                for number, handle in enumerate(await scene(here), 1):
                    await keep(f"{scene.__name__}-{number}", handle)
        if not (HISTORIES / "ungoverned-1.json").exists():
            await keep("ungoverned-1", await ungoverned(environment))


async def keep(name: str, handle: Handle) -> None:
    """Write a history, without what only says where it was recorded."""
    found = json.loads((await handle.fetch_history()).to_json())
    (HISTORIES / f"{name}.json").write_text(json.dumps({"id": handle.id, **_anonymous(found)}, indent=1) + "\n")
    sys.stdout.write(f"{name}\n")


def _anonymous(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {key: _anonymous(one) for key, one in value.items() if key != "stackTrace"}
        return kept | ({"identity": "worker"} if "identity" in kept else {})
    return [_anonymous(one) for one in value] if isinstance(value, list) else value


async def ungoverned(environment: WorkflowEnvironment) -> Handle:
    """Run a workflow where there is no plugin."""

    @activity.defn(name="data.read")
    async def read(query: dict[str, Any]) -> dict[str, Any]:
        return {"n": query["n"]}

    async with Worker(
        environment.client,
        task_queue="bare",
        workflows=FLOWS,
        activities=[read],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        handle: Handle = await environment.client.start_workflow("Calls", [READ, READ], id="bare", task_queue="bare")
        await handle.result()
        return handle


if __name__ == "__main__":
    asyncio.run(main())
