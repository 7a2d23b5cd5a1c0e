"""The worker: the framework's plugin, and Remit's with a mapping beside it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from temporalio.client import Client, Plugin
from temporalio.openai_agents import ModelActivityParameters, OpenAIAgentsPlugin
from temporalio.worker import Worker

from examples.openai_agents import tools
from examples.openai_agents.agent import DelayDesk
from examples.openai_agents.scripted import Scripted
from examples.running import serve
from examples.scenario import PROMPT
from remit.assembly import Parts
from remit.mapping import Mapping
from remit.temporal import RemitPlugin

TASK_QUEUE = "examples-openai_agents"
WORKFLOW = DelayDesk.run
ARGUMENTS = (PROMPT,)
MAPPING = Mapping.load(Path(__file__).parent / "remit.toml")


def plugins(parts: Parts) -> list[Plugin]:
    """Return the framework's plugin, and Remit's."""
    return [
        OpenAIAgentsPlugin(
            model_params=ModelActivityParameters(start_to_close_timeout=timedelta(minutes=1)),
            model_provider=Scripted(),
        ),
        RemitPlugin(authority=parts.authority, presenter=parts.presenter, mapping=MAPPING),
    ]


def worker(client: Client) -> Worker:
    """Return the worker of a client that has the plugins."""
    return Worker(
        client,
        task_queue=TASK_QUEUE,
        workflows=[DelayDesk],
        activities=[tools.query_flights, tools.publish_report],
    )


if __name__ == "__main__":
    serve(plugins, worker)
