"""What pydantic-ai's agents are tried with: a mapping, calls, and a query that runs for as long as a test wants."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from temporalio.client import WorkflowQueryFailedError

from remit.embedded import Stack
from tests.frameworks.ground import SECONDS, Ground, Run
from tests.frameworks.pydantic_ai_agents import Desk

QUEUE = "pydantic-ai"
INLINE = """
[tools.note]
action = "dataset:query"
resource = "{dataset}"
inline = true

[tools.announce]
action = "report:publish"
resource = "reports"
inline = true
"""
TEXT = f"""
frameworks = ["pydantic-ai"]
ungoverned = ["agent__streaming__event_stream_handler"]

[models."function:scripted"]
resource = "planner"

[tools.query_flights]
action = "dataset:query"
resource = "{{dataset}}"
credential = "flights-ro"

[tools.query_in_thread]
action = "dataset:query"
resource = "{{dataset}}"
credential = "flights-ro"

[tools.publish_report]
action = "report:publish"
resource = "reports"
credential = "reports-rw"

[tools.ask]
action = "dataset:query"
resource = "flights"
inline = true

[agents.writer]
agent = "report-writer"
actions = ["report:publish", "model:invoke"]
spaces = ["flights"]
budget = 10

[agents.friend]
share = true
{INLINE}
"""
COUNT = ["query_flights", {"dataset": "flights", "sql": "select count(*) as n from flights"}]
PAYROLL = ["query_flights", {"dataset": "payroll", "sql": "select * from hr.payroll"}]
LOCK = 5_120_723
LOCKED = f"select count(*) as n from pg_advisory_lock_shared({LOCK})"


def publish(table: str) -> list[Any]:
    return ["publish_report", {"table": table, "sql": "select carrier, count(*) as n from flights group by carrier"}]


def waiting(tool: str) -> list[Any]:
    """Return a call of a query that runs for as long as the lock is held."""
    return [tool, {"dataset": "flights", "sql": LOCKED}]


@contextmanager
def held(stack: Stack) -> Iterator[None]:
    with stack.postgres.connect("flights", autocommit=True) as admin:
        admin.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        yield


async def start(ground: Ground, *turns: list[Any], agent: str = "desk", model: str | None = None, **terms: Any) -> Run:
    return await ground.start(Desk.run, agent, json.dumps(turns), model, **terms)


async def told(run: Run) -> list[Any]:
    found: list[Any] = json.loads(await run.result())
    return found


def cut_short(outcomes: list[str]) -> list[str]:
    """Return outcomes, whoever came first to end an attempt: the watch, Temporal's cancellation or PostgreSQL."""
    return ["cut short" if one in ("stopped", "cancelled", "error") else one for one in outcomes]


async def noted(run: Run) -> list[str]:
    """Return what inline tools did; a busy machine may take a worker several times to read a history again."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            found: list[str] = await run.handle.query("noted")
        except WorkflowQueryFailedError:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
        else:
            return found
