"""What OpenAI's agents are tried with: a mapping, scripts of their model, and a worker."""

from __future__ import annotations

import json
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from temporalio.openai_agents import (
    ModelActivityParameters,
    OpenAIAgentsPlugin,
    StatelessMCPServerProvider,
)

from examples.openai_agents import tools
from examples.openai_agents.connections import flights
from examples.openai_agents.scripted import Scripted
from examples.scenario import Call
from remit.credentials import CREDENTIAL
from remit.embedded import Stack
from remit.mapping import Mapping
from remit.settings import Settings
from tests.frameworks import openai_tools
from tests.frameworks.ground import Ground, governed
from tests.frameworks.openai_workflows import WORKFLOWS

COUNT = Call("query_flights", {"dataset": "flights", "sql": "select count(*) as n from flights"})
PAYROLL = Call("query_flights", {"dataset": "payroll", "sql": "select * from hr.payroll"})
ALL = "[{'n': 336776}]"
NAP = Call("query_flights", {"dataset": "flights", "sql": "select pg_sleep(12)::text as slept"})
SERVER = """
[servers.{0}.tools.query_flights]
action = "dataset:query"
resource = "{{dataset}}"
credential = "flights-ro"
"""
MAPPING = Mapping.parse(
    """
frameworks = ["openai-agents"]
ungoverned = ["acme.clock"]

[models.planner]
resource = "planner"

[models.writer]
resource = "planner"

[tools.query_flights]
action = "dataset:query"
resource = "{dataset}"
credential = "flights-ro"

[tools.publish_report]
action = "report:publish"
resource = "reports"
credential = "reports-rw"

[tools.lookup]
activity = "acme.lookup"
action = "dataset:query"
resource = "{dataset}"

[tools.note]
action = "dataset:query"
resource = "{dataset}"
inline = true

[tools.announce]
action = "report:publish"
resource = "reports"
inline = true

[tools.web_search]
action = "http:request"
resource = "status-page"
inline = true

[agents."Trusted writer"]
share = true

[agents."Report writer"]
agent = "report-writer"
actions = ["report:publish", "model:invoke"]
spaces = ["flights"]
budget = 10

[agents."Greedy writer"]
agent = "report-writer"
actions = ["report:publish", "model:invoke"]
spaces = ["hr"]
budget = 10
"""
    + SERVER.format("pipe")
    + SERVER.format("old")
)


def publish(table: str) -> Call:
    return Call("publish_report", {"table": table, "sql": "select count(*) as n from flights"})


SCRIPTS = {
    "count": [[COUNT]],
    "count twice at once": [[COUNT, COUNT]],
    "payroll": [[COUNT], [PAYROLL], [COUNT]],
    "payroll beside": [[COUNT, PAYROLL]],
    "publish": [[publish("openai_published")]],
    "publish and be refused": [[publish("openai_refused")], [COUNT]],
    "nap": [[NAP]],
    "nap for long": [[Call("query_flights", {"dataset": "flights", "sql": "select pg_sleep(120)::text as slept"})]],
    "look up": [[Call("lookup", {"dataset": "flights", "word": "late"}), Call("clock", {})]],
    "note": [[Call("note", {"dataset": "flights"})]],
    "note payroll": [[Call("note", {"dataset": "payroll"})]],
    "announce": [[Call("announce", {"text": "delays"})]],
    "scribble": [[Call("scribble", {"text": "x"})]],
    "hand over": [[Call("transfer_to_trusted_writer", {})], [publish("openai_handed")]],
    "ask": [[Call("ask_writer", {"input": "count"})]],
    "hand over, and back": [
        [COUNT],
        [Call("transfer_to_report_writer", {})],
        [COUNT],
        [publish("openai_narrower")],
        [Call("transfer_to_desk", {})],
        [COUNT],
    ],
    "ask, and go on": [[Call("ask_writer", {"input": "count"})], [COUNT]],
    "be greedy": [[Call("transfer_to_greedy_writer", {})], [COUNT]],
    "payroll, and what is not mapped": [[COUNT, PAYROLL, publish("openai_unmapped")]],
}


@asynccontextmanager
async def worker(stack: Stack, settings: Settings, queue: str) -> AsyncIterator[Ground]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old = StatelessMCPServerProvider("old", lambda: flights(CREDENTIAL.get()))
    plugin = OpenAIAgentsPlugin(
        model_params=PARAMETERS,
        model_provider=Scripted(SCRIPTS),
        mcp_servers={"pipe": flights},
        mcp_server_providers=[old],
    )
    async with governed(
        stack,
        settings,
        MAPPING,
        plugins=[plugin],
        workflows=WORKFLOWS,
        activities=ACTIVITIES,
        queue=queue,
    ) as made:
        yield made


ACTIVITIES: list[Any] = [tools.query_flights, tools.publish_report, openai_tools.lookup, openai_tools.clock]
PARAMETERS = ModelActivityParameters(start_to_close_timeout=timedelta(minutes=1), streaming_topic="events")


def heard(result: Any) -> list[Any]:
    """What the model was given, as it says itself in the end."""
    found: list[Any] = json.loads(result)
    return found
