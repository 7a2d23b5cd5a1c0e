"""A worker as `worker.py` makes it, with points where it stops, and tools that write down what they did.

Run as ``python -m tests.faults.worker``; the environment has the points' folder (``FAULT_POINTS``), and may ask for the
newer build of the workflow (``FAULT_NEWER``) and for a shorter patience with OpenBao (``FAULT_SECONDS``).
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from datetime import timedelta
from functools import wraps
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from temporalio import activity
from temporalio.worker import Worker

from activities import plan, publish, sql
from activities.database import session
from activities.reaper import Reconciling
from activities.revocation import Revocations
from remit import assembly, cascade, reaping
from remit.assembly import assemble, temporal_client
from remit.authority import Authority
from remit.deciding import Deciding
from remit.live import Live
from remit.reaping import scheduling
from remit.settings import Settings
from remit.temporal import RemitPlugin, names_of, tool
from remit.toolbox import announce
from remit.vault import Login, Vault
from tests.faults.newer import Newer
from tests.faults.points import Points
from workflows.agent_task import AgentTask
from workflows.reaper import Reaper
from workflows.revocation import Revocation

COUNT = "flights.count"
NOTE = "flights.note"
HEARTBEAT = timedelta(seconds=6)
POINTS = Points(Path(os.environ.get("FAULT_POINTS", ".")))
_TOOL: ContextVar[str] = ContextVar("tool", default="")


class Asked(BaseModel):
    """Which dataset is asked; `note` tells two such steps apart."""

    dataset: str
    note: str = ""


async def _asks(asked: Asked, what: str) -> int:
    """Ask twice over one session: the credential is in use while the attempt waits at ``mid-tool``."""
    info = activity.info()
    facts: dict[str, Any] = {"task": info.workflow_id, "run": info.workflow_run_id, "activity": info.activity_id}
    facts |= {"attempt": info.attempt, "note": asked.note, "pid": os.getpid()}
    POINTS.note(what="began", **facts)
    async with session(read_only=True) as connection:
        await connection.execute("SELECT count(*) AS n FROM flights")
        await POINTS.pause(f"mid-tool.{info.activity_type}")
        found = await (await connection.execute("SELECT count(*) AS n FROM flights")).fetchone()
    POINTS.note(what=what, **facts)
    return int(found["n"]) if found else 0


@tool(name=COUNT, action="dataset:query", resource=lambda asked: asked.dataset, credential="flights-ro")
async def count(asked: Asked) -> int:
    """Count; counting twice does no harm."""
    return await _asks(asked, "count")


@tool(name=NOTE, action="dataset:query", resource=lambda asked: asked.dataset, credential="flights-ro", once=True)
async def note(asked: Asked) -> int:
    """Count, and leave a mark that must not be left twice."""
    return await _asks(asked, "effect")


def install() -> None:
    """Put the points where they belong."""

    def before(kind: type, name: str, point: str, when: Callable[..., bool] = lambda *_, **__: True) -> None:
        method: Callable[..., Awaitable[Any]] = getattr(kind, name)

        @wraps(method)
        async def pausing(*arguments: Any, **named: Any) -> Any:
            if when(*arguments, **named):
                await POINTS.pause(f"{point}.{_TOOL.get()}")
            return await method(*arguments, **named)

        setattr(kind, name, pausing)

    before(Deciding, "decide", "before-decide")
    before(Live, "record", "after-mint", lambda _live, _root, _grant, facts: bool(facts["lease"]))
    before(Authority, "release", "before-release")
    authorize = Authority.authorize

    @wraps(authorize)
    async def marked(self: Authority, attempt: Any, presentation: Awaitable[str]) -> Any:
        _TOOL.set(attempt.tool)
        return await authorize(self, attempt, presentation)

    Authority.authorize = marked  # type: ignore[method-assign]


def impatient(seconds: float) -> None:
    """Wait no longer than this for an answer of OpenBao."""

    def open_vault(settings: Settings, login: Login) -> Vault:
        return Vault(settings.openbao_address, settings.openbao_ca, login, timeout=seconds)

    assembly.open_vault = open_vault


async def main() -> None:
    """Serve until told to stop."""
    install()
    assembly.PENDING_SECONDS = 1.0  # what could not be destroyed is tried again as in production, only sooner
    if seconds := os.environ.get("FAULT_SECONDS"):
        impatient(float(seconds))
    settings = Settings.load()
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with assemble(settings) as parts:
        POINTS.note(what="writer", pid=os.getpid(), writer=parts.audit.writer, policies=parts.policy.digest)
        plugin = RemitPlugin(
            authority=parts.authority,
            presenter=parts.presenter,
            ungoverned=[plan.NEXT, cascade.WORKFLOW, *cascade.ACTIVITIES, reaping.WORKFLOW, reaping.ACTIVITY],
            watch=settings.watch_seconds,
            heartbeat=HEARTBEAT,
        )
        tools = [sql.query, publish.publish, count, note]
        announce(settings.home, names_of(tools))
        client = await temporal_client(settings, plugins=[plugin])
        own = [*Revocations(parts).activities, Reconciling(parts).reconcile]
        async with Worker(
            client,
            task_queue=settings.task_queue,
            workflows=[Newer if os.environ.get("FAULT_NEWER") else AgentTask, Revocation, Reaper],
            activities=[plan.Planning(names_of(tools)).propose, *own, *tools],
            graceful_shutdown_timeout=timedelta(seconds=10),
            # What a dead worker had in its memory is given to another one after this.
            sticky_queue_schedule_to_start_timeout=timedelta(seconds=1),
        ):
            await scheduling.keep(client, task_queue=settings.task_queue, seconds=settings.reap_seconds)
            await stopped.wait()


if __name__ == "__main__":
    asyncio.run(main())
