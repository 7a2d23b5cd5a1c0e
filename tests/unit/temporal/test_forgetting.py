"""A credential dies with its attempt, also for what goes on with a copy of the attempt's context."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment

from remit.credentials import current_credential
from remit.errors import Refused
from remit.temporal import tool
from remit.temporal._activity import GRANT
from tests.unit.temporal.authority import SECRET, Keeper
from tests.unit.temporal.conftest import bench, eventually
from tests.unit.temporal.tools import Query

OVER = threading.Event()
READ: dict[str, list[str]] = {}


@pytest.fixture(autouse=True)
def over() -> Iterator[None]:
    OVER.clear()
    READ.clear()
    yield
    OVER.set()


def note(who: str, read: Callable[[], str]) -> None:
    try:
        READ.setdefault(who, []).append(read())
    except Refused as refused:
        READ[who].append(refused.code)


def anew() -> str:
    return current_credential()["token"]


@tool(name="data.read", action="dataset:query", resource=lambda query: query.dataset, credential="p")
async def outlived(query: Query) -> Any:
    """Leave a task, a thread and a callback behind, each with a copy of the context; fail if `n` is 1."""
    kept = current_credential()
    grant = GRANT.get()
    assert grant is not None
    assert (grant.credential, grant.secrets) == (None, ()), "a grant in a context is no second way to the secret"

    async def later() -> None:
        note("task", anew)
        await asyncio.to_thread(OVER.wait)
        note("task", anew)

    def waiting() -> None:
        note("thread", anew)
        OVER.wait()
        note("thread", anew)

    LEFT.append(asyncio.create_task(later()))
    LEFT.append(asyncio.create_task(asyncio.to_thread(waiting)))
    context = contextvars.copy_context()
    note("callback", lambda: context.run(anew))
    note("object", lambda: kept["token"])
    CALLS["callback"] = lambda: note("callback", lambda: context.run(anew))
    CALLS["object"] = lambda: note("object", lambda: kept["token"])

    async def all_read() -> bool:
        return len(READ) == 4

    await eventually(all_read)
    if query.n == 1:
        raise ApplicationError("broken", non_retryable=True)
    return "done"


LEFT: list[asyncio.Task[None]] = []
CALLS: dict[str, Callable[[], None]] = {}


@tool(name="data.thread", action="dataset:query", resource=lambda query: query.dataset, credential="p")
def deaf(query: Query) -> str:
    """Read the credential on a thread until there is none, whatever the thread is told."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            note("deaf", anew)
            if READ["deaf"][-1] != SECRET:
                return "over"
            time.sleep(0.05)
        except BaseException:  # what it is told, it does not hear
            continue
    return "late"


@pytest.mark.parametrize("ending", ["returns", "fails"])
async def test_what_a_tool_leaves_behind_reads_nothing(
    server: WorkflowEnvironment, keeper: Keeper, ending: str
) -> None:
    keeper.credentials = True
    async with bench(server, keeper, activities=[outlived]) as here:
        call = ["data.read", {"dataset": "flights", "n": 1 if ending == "fails" else 0}]
        handle, _ = await here.start("CallsOnce", [call])
        try:
            await handle.result()
        except Exception:
            assert ending == "fails"
        OVER.set()
        await asyncio.gather(*LEFT)
        for call_back in CALLS.values():
            call_back()
    LEFT.clear()
    twice = [SECRET, "credential.none"]
    assert dict.fromkeys(("task", "thread", "callback", "object"), twice) == READ


async def test_a_tool_left_running_on_a_thread_reads_nothing(server: WorkflowEnvironment, keeper: Keeper) -> None:
    keeper.credentials = True
    async with bench(server, keeper, activities=[deaf]) as here:
        _, reference = await here.start("CallsOnce", [["data.thread", {"dataset": "flights"}]])

        async def reading() -> bool:
            return bool(READ.get("deaf"))

        await eventually(reading)
        keeper.revoke(reference)

        async def refused() -> bool:
            return READ["deaf"][-1] == "credential.none"

        await eventually(refused)
    assert set(READ["deaf"]) == {SECRET, "credential.none"}
