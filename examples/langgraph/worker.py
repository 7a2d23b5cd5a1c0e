"""The worker: the framework's plugin, and Remit's with a mapping beside it."""

from __future__ import annotations

from pathlib import Path

from temporalio.client import Client, Plugin
from temporalio.langgraph import LangGraphPlugin
from temporalio.worker import Worker

from examples.langgraph.agent import DelayDesk, delays
from examples.running import serve
from examples.scenario import PROMPT
from remit.assembly import Parts
from remit.mapping import Mapping
from remit.temporal import RemitPlugin

TASK_QUEUE = "examples-langgraph"
WORKFLOW = DelayDesk.run
ARGUMENTS = (PROMPT,)
MAPPING = Mapping.load(Path(__file__).parent / "remit.toml")


def plugins(parts: Parts) -> list[Plugin]:
    """Return the framework's plugin, and Remit's."""
    return [
        LangGraphPlugin(graphs={"delays": delays()}),
        RemitPlugin(authority=parts.authority, presenter=parts.presenter, mapping=MAPPING),
    ]


def worker(client: Client) -> Worker:
    """Return the worker of a client that has the plugins; the framework's plugin brings the activities."""
    return Worker(client, task_queue=TASK_QUEUE, workflows=[DelayDesk])


if __name__ == "__main__":
    serve(plugins, worker)
