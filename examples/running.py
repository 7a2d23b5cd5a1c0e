"""Running an example: its worker until it is told to stop, and its agent started under a delegation of a person's."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Protocol, cast

from temporalio.client import Client, Plugin
from temporalio.worker import Worker

from examples import scenario
from remit.assembly import Parts, assemble, temporal_client
from remit.client import Remit, Terms
from remit.client.submitting import Submitted
from remit.delegation import Scope
from remit.errors import RemitError
from remit.settings import Settings

NAMES = ("openai_agents", "pydantic_ai", "langgraph", "mcp")
TERMS = Terms(
    scenario.AGENT,
    scenario.PURPOSE,
    Scope(scenario.ACTIONS, scenario.SPACES, scenario.BUDGET),
    expires_in=3600,
    max_depth=1,
)


class Example(Protocol):
    """What `worker.py` of an example has."""

    TASK_QUEUE: str
    WORKFLOW: Any
    ARGUMENTS: Sequence[Any]

    def plugins(self, parts: Parts) -> list[Plugin]:
        """Return the framework's plugin and Remit's."""

    def worker(self, client: Client) -> Worker:
        """Return the worker of a client that has the plugins."""


def load(name: str) -> Example:
    """Return an example by its name."""
    return cast("Example", importlib.import_module(f"examples.{name}.worker"))


async def start(person: Remit, client: Client, example: Example) -> Submitted:
    """Start an example's agent under a delegation of a person's; revoked, it waits ten minutes for a fresh one."""
    return await person.start(
        client,
        example.WORKFLOW,
        *example.ARGUMENTS,
        terms=TERMS,
        task_queue=example.TASK_QUEUE,
        on_revocation=timedelta(minutes=10),
    )


def serve(plugins: Callable[[Parts], list[Plugin]], worker: Callable[[Client], Worker]) -> None:
    """Run a worker against the stack the settings name, until it is interrupted."""

    async def run() -> None:
        settings = Settings.load()
        stopped = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        async with assemble(settings) as parts:
            client = await temporal_client(settings, vault=parts.vault, plugins=plugins(parts))
            async with worker(client) as running:
                print(f"Worker ready on {running.task_queue}; Ctrl-C ends it.", flush=True)  # noqa: T201
                await stopped.wait()

    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(run())
    except RemitError as error:
        print(error.diagnostics(), file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_status)
