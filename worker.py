"""A worker of the service: settings → authority and presenter → plugin → worker. Run it as often as there is work."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from datetime import timedelta

from temporalio.worker import Worker

from activities import http, model, plan, publish, sql
from activities.reaper import Reconciling
from activities.revocation import Revocations
from remit import cascade, reaping
from remit.assembly import assemble, temporal_client
from remit.credentials import guard_logs
from remit.errors import RemitError
from remit.reaping import scheduling
from remit.settings import Settings
from remit.temporal import RemitPlugin, names_of
from remit.toolbox import announce
from workflows.agent_task import AgentTask
from workflows.reaper import Reaper
from workflows.revocation import Revocation


async def main() -> None:
    """Serve until told to stop; then let running attempts end, and their credentials with them."""
    guard_logs()
    settings = Settings.load()
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with assemble(settings) as parts:
        plugin = RemitPlugin(
            authority=parts.authority,
            presenter=parts.presenter,
            ungoverned=[plan.NEXT, cascade.WORKFLOW, *cascade.ACTIVITIES, reaping.WORKFLOW, reaping.ACTIVITY],
            watch=settings.watch_seconds,
        )
        services = {name: service.url for name, service in parts.catalogue.services.items()}
        tools = [sql.query, publish.publish, http.requests(services)]
        if models := model.configured(settings.planners):
            tools.append(model.asking(parts, models, tools))
        announce(settings.home, names_of(tools))
        client = await temporal_client(settings, vault=parts.vault, plugins=[plugin])
        own = [*Revocations(parts).activities, Reconciling(parts).reconcile]
        async with Worker(
            client,
            task_queue=settings.task_queue,
            workflows=[AgentTask, Revocation, Reaper],
            activities=[plan.Planning(names_of(tools)).propose, *own, *tools],
            graceful_shutdown_timeout=timedelta(seconds=10),
        ):
            await scheduling.keep(client, task_queue=settings.task_queue, seconds=settings.reap_seconds)
            await stopped.wait()


if __name__ == "__main__":
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(main())
    except RemitError as error:
        print(error.diagnostics(), file=sys.stderr)  # noqa: T201 - the process's last words
        sys.exit(error.exit_status)
