"""The worker: `MCPPlugin` as it was, and one line for Remit."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

from mcp import StdioServerParameters
from temporalio.client import Client, Plugin
from temporalio.mcp import MCPPlugin
from temporalio.worker import Worker

from examples.mcp.agent import DelayReport
from examples.running import serve
from examples.scenario import CALLS
from remit.assembly import Parts
from remit.delivery.mcp import stdio
from remit.mapping import Mapping
from remit.temporal import RemitPlugin

TASK_QUEUE = "examples-mcp"
WORKFLOW, ARGUMENTS = DelayReport.run, ([asdict(call) for call in CALLS],)
HERE = Path(__file__).parent
MAPPING = Mapping.load(HERE / "remit.toml")


# Each call has a process of its own, with the database user that was minted for it.
FLIGHTS = stdio(
    StdioServerParameters(command=sys.executable, args=["-m", "examples.mcp.server"], cwd=HERE.parents[1]),
    {"DATABASE_URL": "dsn"},
)


def plugins(parts: Parts) -> list[Plugin]:
    """Return the framework's plugin and Remit's."""
    return [
        MCPPlugin({"flights": FLIGHTS}),
        RemitPlugin(authority=parts.authority, presenter=parts.presenter, mapping=MAPPING),
    ]


def worker(client: Client) -> Worker:
    """Return the worker."""
    return Worker(client, task_queue=TASK_QUEUE, workflows=[DelayReport])


if __name__ == "__main__":
    serve(plugins, worker)
