"""A worker for the delay desk: pydantic-ai's plugin line, and Remit's."""

from __future__ import annotations

from pathlib import Path

from pydantic_ai.durable_exec.temporal import PydanticAIPlugin
from temporalio.client import Client, Plugin
from temporalio.worker import Worker

from examples import scenario
from examples.pydantic_ai.agent import DelayDesk
from examples.running import serve
from remit.assembly import Parts
from remit.mapping import Mapping
from remit.temporal import RemitPlugin

TASK_QUEUE = "examples-pydantic_ai"
WORKFLOW = DelayDesk.run
ARGUMENTS = (scenario.PROMPT,)
MAPPING = Path(__file__).parent / "remit.toml"


def plugins(parts: Parts) -> list[Plugin]:
    """Return what the client is given."""
    return [
        PydanticAIPlugin(),
        RemitPlugin(authority=parts.authority, presenter=parts.presenter, mapping=Mapping.load(MAPPING)),
    ]


def worker(client: Client) -> Worker:
    """Return the worker."""
    return Worker(client, task_queue=TASK_QUEUE, workflows=[DelayDesk])


if __name__ == "__main__":
    serve(plugins, worker)
