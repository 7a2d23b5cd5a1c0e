"""The worker: `MCPPlugin` as it was, and one line for Remit."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

from mcp import Client as MCPClient
from mcp.client.stdio import StdioServerParameters
from temporalio.client import Client, Plugin
from temporalio.mcp import MCPPlugin
from temporalio.worker import Worker

from examples.mcp.agent import DelayReport
from examples.running import serve
from examples.scenario import CALLS
from remit.assembly import Parts
from remit.credentials import CREDENTIAL
from remit.mapping import Mapping
from remit.temporal import RemitPlugin

TASK_QUEUE = "examples-mcp"
WORKFLOW, ARGUMENTS = DelayReport.run, ([asdict(call) for call in CALLS],)
HERE = Path(__file__).parent


def flights(attempt: str | None) -> MCPClient:
    """Return a server's process with the credential of this attempt; without one for what only lists."""
    credential = CREDENTIAL.get()
    environment = {"DATABASE_URL": credential["dsn"]} if credential else {}
    return MCPClient(
        StdioServerParameters(
            command=sys.executable, args=["-m", "examples.mcp.server"], env=environment, cwd=HERE.parents[1]
        )
    )


def plugins(parts: Parts) -> list[Plugin]:
    """Return the framework's plugin and Remit's."""
    return [
        MCPPlugin({"flights": flights}),
        RemitPlugin(authority=parts.authority, presenter=parts.presenter, mapping=Mapping.load(HERE / "remit.toml")),
    ]


def worker(client: Client) -> Worker:
    """Return the worker."""
    return Worker(client, task_queue=TASK_QUEUE, workflows=[DelayReport])


if __name__ == "__main__":
    serve(plugins, worker)
