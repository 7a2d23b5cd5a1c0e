"""What a stop is about: a delegation, a task (the delegations made for it), an agent or a user.

- Everything is found in the registry: naming what to stop needs no Temporal.
- The delegations a human makes for a task here share the task's twelve digits, so they are found among all by name;
  for tasks named otherwise every delegation is read.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from typing import TYPE_CHECKING

from remit.chain import Chain
from remit.errors import Refused
from remit.principals import Principal

if TYPE_CHECKING:
    from remit.client.connection import Connection
    from remit.registry import DelegationRecord

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_TASK = re.compile(r"task-([0-9a-f]{12})", re.ASCII)
READS = 32
"""Records read at the same time."""


def new_delegation(task: str | None = None) -> str:
    """Return an id for a delegation; one for a task of ours begins with the task's digits."""
    fresh = uuid.uuid4()
    match = _TASK.fullmatch(task or "")
    return str(uuid.UUID(hex=match[1] + fresh.hex[12:]) if match else fresh)


def task_of(delegation: str) -> str:
    """Return the id of the task that is started with a delegation."""
    return f"task-{uuid.UUID(delegation).hex[:12]}"


async def resolve(connection: Connection, target: str) -> list[Chain] | Principal:
    """Return what a command line's TARGET names.

    Raises:
        Refused: ``delegation.unknown``, ``task.unknown``. Usage: ``catalogue.unknown``.
    """
    if target.startswith(("agent/", "user/")):
        return connection.catalogue.principal(target)
    if target.startswith("spiffe://"):
        return Principal.parse(target)
    if _UUID.fullmatch(target.lower()):
        return [await connection.chain(target.lower())]
    made = await made_for(connection, target)
    if not made:
        raise Refused(
            f"no delegation was made for a task {target[:80]!r}",
            code="task.unknown",
            next_action="Give a task, a delegation, agent/NAME or user/NAME; see `remit tasks`, `remit delegations`.",
        )
    return list(await asyncio.gather(*(connection.chain(record.jti) for record in made)))


async def made_for(connection: Connection, task: str) -> list[DelegationRecord]:
    """Return the delegations that were made for a task."""
    ids = await connection.registry.delegations()
    if match := _TASK.fullmatch(task):
        near = [jti for jti in ids if jti.replace("-", "").startswith(match[1])]
        if found := [record for record in await read(connection, near) if record.workflow_id == task]:
            return found
    return [record for record in await read(connection, ids) if record.workflow_id == task]


async def read(connection: Connection, ids: list[str]) -> list[DelegationRecord]:
    """Return these delegations' records, without those that are gone."""
    gate = asyncio.Semaphore(READS)

    async def one(jti: str) -> DelegationRecord | None:
        async with gate:
            return await connection.registry.delegation(jti)

    return [record for record in await asyncio.gather(*(one(jti) for jti in ids)) if record is not None]
