"""A worker of the service: settings → authority and presenter → plugin → worker. Run it as often as there is work."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from datetime import timedelta

from temporalio.worker import Worker

from activities import http, plan, publish, sql
from activities.revocation import Revocations
from remit import cascade
from remit.assembly import assemble, temporal_client
from remit.errors import RemitError
from remit.settings import Settings
from remit.temporal import RemitPlugin, names_of
from remit.toolbox import announce
from workflows.agent_task import AgentTask
from workflows.revocation import Revocation


async def main() -> None:
    """Serve until told to stop; then let running attempts end, and their credentials with them."""
    settings = Settings.load()
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with assemble(settings) as parts:
        plugin = RemitPlugin(
            authority=parts.authority,
            presenter=parts.presenter,
            ungoverned=[plan.NEXT, cascade.WORKFLOW, *cascade.ACTIVITIES],
            watch=settings.watch_seconds,
        )
        services = {name: service.url for name, service in parts.catalogue.services.items()}
        tools = [sql.query, publish.publish, http.requests(services)]
        announce(settings.home, names_of(tools))
        async with Worker(
            await temporal_client(settings, plugins=[plugin]),
            task_queue=settings.task_queue,
            workflows=[AgentTask, Revocation],
            activities=[plan.Planning(names_of(tools)).propose, *Revocations(parts).activities, *tools],
            graceful_shutdown_timeout=timedelta(seconds=10),
        ):
            await stopped.wait()


if __name__ == "__main__":
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(main())
    except RemitError as error:
        print(error.diagnostics(), file=sys.stderr)  # noqa: T201 - the process's last words
        sys.exit(error.exit_status)
