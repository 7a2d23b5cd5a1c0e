"""Tools of the tests, and a model call that carries no authority."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel
from temporalio import activity
from temporalio.exceptions import ApplicationError

from remit.errors import Held
from remit.temporal import current_credential, tool


class Query(BaseModel):
    dataset: str
    n: int = 0


RAN: list[tuple[str, Any]] = []


@tool(name="data.read", action="dataset:query", resource=lambda query: query.dataset)
async def read(query: Query) -> dict[str, Any]:
    """Answer at once."""
    RAN.append(("data.read", query.n))
    return {"n": query.n}


@tool(name="data.slow", action="dataset:query", resource=lambda query: query.dataset)
async def slow(query: Query) -> dict[str, Any]:
    """Take `n` seconds; count how often it got to the end."""
    RAN.append(("data.slow started", query.n))
    await asyncio.sleep(query.n)
    RAN.append(("data.slow", query.n))
    return {"n": query.n}


@tool(name="data.thread", action="dataset:query", resource=lambda query: query.dataset)
def thread(query: Query) -> dict[str, Any]:
    """Block a thread for `n` seconds."""
    RAN.append(("data.thread started", query.n))
    until = time.monotonic() + query.n
    while time.monotonic() < until:
        time.sleep(0.02)
    RAN.append(("data.thread", query.n))
    return {"n": query.n}


@tool(name="data.deaf", action="dataset:query", resource=lambda query: query.dataset)
async def deaf(query: Query) -> dict[str, Any]:
    """Take `n` seconds, whatever it is told."""
    RAN.append(("data.deaf started", query.n))
    until = time.monotonic() + query.n
    while time.monotonic() < until:
        try:
            await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            RAN.append(("data.deaf told", query.n))
    RAN.append(("data.deaf", query.n))
    return {"n": query.n}


@tool(name="data.once", action="dataset:query", resource=lambda query: query.dataset, once=True)
async def once(query: Query) -> dict[str, Any]:
    """Fail in a way that would be tried again, unless `n` is 0."""
    RAN.append(("data.once", query.n))
    if query.n == 1:
        raise ApplicationError("half of it was done", type="half")
    if query.n == 2:
        raise Held("the resource is busy")
    return {"n": query.n}


@tool(name="data.beats", action="dataset:query", resource=lambda query: query.dataset)
async def beats(query: Query) -> Any:
    """Report progress once, then fail its first attempt after our own beats had their turn."""
    info = activity.info()
    if info.attempt == 1:
        activity.heartbeat({"row": 41})
        await asyncio.sleep(1.5)
        raise ApplicationError("once more")
    return list(info.heartbeat_details)


@tool(name="data.leaks", action="dataset:query", resource=lambda query: query.dataset, credential="p")
async def leaks(query: Query) -> Any:
    """Do everything wrong with a secret that can be done."""
    secret = current_credential()["token"]
    if query.n == 0:
        return {"dsn": f"postgres://u:{secret}@h", "list": [secret], "bytes": len(secret)}
    if query.n == 1:
        activity.heartbeat({"progress": secret})
        await asyncio.sleep(1.2)
        raise ApplicationError(f"could not connect with {secret}", secret, non_retryable=True)
    try:
        raise RuntimeError(f"driver: {secret}")
    except RuntimeError as error:
        raise ApplicationError("query failed", non_retryable=True) from error


@activity.defn(name="model.call")
async def model(prompt: dict[str, Any]) -> str:
    """Carry no authority."""
    RAN.append(("model.call", prompt))
    return "hello"


TOLD: list[Callable[[], None]] = []
"""What `data.fragile` does once, when it is told to stop."""


@tool(name="data.fragile", action="dataset:query", resource=lambda query: query.dataset)
async def fragile(query: Query) -> dict[str, Any]:
    """Break when told to stop: for good if `n` is 0, else in a way that may be tried again."""
    RAN.append(("data.fragile", query.n))
    try:
        if TOLD:
            await asyncio.Event().wait()
    except asyncio.CancelledError:
        TOLD.pop()()
        raise ApplicationError("broken", type="Broken", non_retryable=query.n == 0) from None
    return {"n": query.n}


TOOLS = [read, slow, thread, deaf, once, beats, leaks, model, fragile]
