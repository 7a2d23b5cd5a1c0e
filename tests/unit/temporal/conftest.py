"""A real Temporal for the plugin's tests; the authority is in memory."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from sys import executable
from typing import Any

import pytest
from temporalio.client import Client, WorkflowHandle
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from remit.delegation import Reference
from remit.temporal import SEARCH_ATTRIBUTES, RemitPlugin, delegated
from remit.temporal._names import STATE
from tests.unit.temporal import tools
from tests.unit.temporal.authority import Keeper
from tests.unit.temporal.flows import FLOWS

BIN = Path(executable).parent
DYNAMIC_CONFIG = {
    "history.transferProcessorMaxPollRPS": "5000",
    "frontend.WorkerCommandsEnabled": "true",
    "system.enableCancelActivityWorkerCommand": "true",
}


@dataclass
class Bench:
    """One worker on one Temporal, with its authority."""

    client: Client
    keeper: Keeper
    queue: str

    async def start(
        self,
        flow: str,
        argument: Any,
        *,
        on_revocation: Any = "halt",
        reference: Reference | None = None,
        task: str | None = None,
    ) -> tuple[WorkflowHandle[Any, Any], Reference]:
        task = task or f"task-{uuid.uuid4().hex[:8]}"
        reference = reference or self.keeper.hand(task)
        with delegated(reference, on_revocation=on_revocation):
            handle = await self.client.start_workflow(flow, argument, id=task, task_queue=self.queue)
        return handle, reference

    async def view(self, handle: WorkflowHandle[Any, Any]) -> dict[str, Any]:
        found: dict[str, Any] = await handle.query("remit.view", rpc_timeout=timedelta(seconds=10))
        return found

    async def until(self, handle: WorkflowHandle[Any, Any], state: str, *, seconds: float = 30) -> dict[str, Any]:
        return await eventually(lambda: self._in(handle, state), seconds=seconds)

    async def _in(self, handle: WorkflowHandle[Any, Any], state: str) -> dict[str, Any] | None:
        # Not by query: a worker without a cache loses a workflow task when a query comes while it runs.
        found = (await handle.describe()).typed_search_attributes.get(STATE)
        return await self.view(handle) if found == state else None


async def eventually(ask: Callable[[], Awaitable[Any]], *, seconds: float = 30) -> Any:
    """Return the first true answer."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not (found := await ask()):
        assert asyncio.get_running_loop().time() < deadline, "it did not happen in time"
        await asyncio.sleep(0.05)
    return found


async def ran(what: str) -> None:
    """Return once a tool did something."""

    async def seen() -> bool:
        return any(name == what for name, _ in tools.RAN)

    await eventually(seen)


def plugin_of(keeper: Keeper, **options: Any) -> RemitPlugin:
    return RemitPlugin(
        authority=keeper,
        presenter=keeper,
        ungoverned=["model.*", "plan.next"],
        **{"watch": 0.2, **options},
    )


@asynccontextmanager
async def bench(
    environment: WorkflowEnvironment,
    keeper: Keeper,
    *,
    client: Client | None = None,
    flows: Any = None,
    activities: Any = None,
    plugin: Any = None,
    queue: str = "",
    **options: Any,
) -> AsyncIterator[Bench]:
    if client is None:
        address = environment.client.service_client.config.target_host
        client = await Client.connect(address, plugins=[plugin_of(keeper, **(plugin or {}))])
    queue = queue or f"queue-{uuid.uuid4().hex[:8]}"
    with ThreadPoolExecutor(8) as threads:
        async with Worker(
            client,
            task_queue=queue,
            workflows=FLOWS if flows is None else flows,
            activities=tools.TOOLS if activities is None else activities,
            activity_executor=threads,
            **options,
        ):
            yield Bench(client, keeper, queue)


@asynccontextmanager
async def temporal() -> AsyncIterator[WorkflowEnvironment]:
    """Start a real Temporal with what Remit asks of one."""
    extra = [part for key, value in DYNAMIC_CONFIG.items() for part in ("--dynamic-config-value", f"{key}={value}")]
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=str(BIN / "temporal"),
        search_attributes=SEARCH_ATTRIBUTES,
        dev_server_extra_args=extra,
    ) as environment:
        yield environment


@pytest.fixture(scope="session")
async def server() -> AsyncIterator[WorkflowEnvironment]:
    async with temporal() as environment:
        yield environment


@pytest.fixture
def keeper() -> Iterator[Keeper]:
    tools.RAN.clear()
    keeper = Keeper()
    yield keeper
    assert keeper.open == 0, "a grant was never released"


@pytest.fixture
async def here(server: WorkflowEnvironment, keeper: Keeper) -> AsyncIterator[Bench]:
    async with bench(server, keeper) as found:
        yield found
