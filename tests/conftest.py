"""The real servers, started once per run, and what talks to them."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from temporalio.service import RPCError
from temporalio.worker import _workflow

from remit.assembly import Parts, assemble, temporal_client
from remit.embedded import Stack
from remit.embedded.openbao import OpenBao
from remit.embedded.postgres import Postgres
from remit.embedded.provision import provision
from remit.settings import Settings

os.environ["OPENAI_AGENTS_DISABLE_TRACING"] = "1"  # before it is imported: traces of the tests go nowhere
# A shell that runs this in the background has it ignored, and so would every process that the tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
# A machine that stalls for a moment breaks no rule: an example may take its time, and so may a workflow's turn.
hypothesis.settings.register_profile("remit", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("remit")
_made = _workflow._WorkflowWorker.__init__


def _patient(self: Any, **given: Any) -> None:
    _made(self, **given)
    self._deadlock_timeout_seconds = 60


_workflow._WorkflowWorker.__init__ = _patient  # type: ignore[method-assign]
REPOSITORY = Path(__file__).parent.parent
POLICIES = REPOSITORY / "policies"
STARTED: list[Stack] = []


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """OpenBao, PostgreSQL with the flights, and Temporal: provisioned."""
    home = tmp_path_factory.mktemp("stack") / "home"
    running = Stack(home, port_base=0, bootstrap=lambda started: provision(started, policies=POLICIES))
    running.start()
    STARTED.append(running)
    yield running
    STARTED.remove(running)
    running.stop()


@pytest.fixture(scope="module", autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """End what a file leaves in Temporal, after its workers are gone: the next finds no task nobody answers for."""
    yield
    for running in STARTED:
        with ThreadPoolExecutor(1) as elsewhere:  # an event loop may run here
            elsewhere.submit(asyncio.run, _ended(Settings.load(home=running.home))).result()


async def _ended(settings: Settings) -> None:
    client = await temporal_client(settings)
    async for schedule in await client.list_schedules():
        await client.get_schedule_handle(schedule.id).delete()
    async for one in client.list_workflows("ExecutionStatus = 'Running'"):
        with suppress(RPCError):  # it ended meanwhile
            await client.get_workflow_handle(one.id).terminate("the tests of this file are over")


@pytest.fixture(scope="session")
def openbao(stack: Stack) -> OpenBao:
    return stack.openbao


@pytest.fixture(scope="session")
def postgres(stack: Stack) -> Postgres:
    return stack.postgres


@pytest.fixture(scope="session")
def settings(stack: Stack) -> Settings:
    """The settings every command and worker of that stack finds."""
    return Settings.load(home=stack.home)


@pytest.fixture
async def parts(settings: Settings) -> AsyncIterator[Parts]:
    """A worker's authority and presenter."""
    async with assemble(settings) as made:
        yield made
