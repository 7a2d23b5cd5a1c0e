"""Stopping and letting go on: revoke, suspend, reinstate.

- A statement is in force and the credentials under it are dead before anything is told to Temporal; with Temporal down
  the stop is just as complete, and says that no task was told.
- Tasks are told in parallel. A notice carries no authority: a task reads the registry's truth and stops itself.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from remit.chain import Chain
from remit.client import targets
from remit.errors import RemitError
from remit.principals import Principal
from remit.revoking import Outcome, Revoking
from remit.statements import Event, Status

if TYPE_CHECKING:
    from remit.client.connection import Connection

TELL_SECONDS = 10.0
"""Longest time tasks are looked for and told; the stop itself is done by then."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """What a statement did.

    Args:
        statements: Ids, one for each delegation or principal.
        tasks: How many running tasks were told; None when Temporal did not answer.
        leases: How many live credentials were destroyed.
        pending: What could not be done yet.
        ms: From the command to the last credential's death; None when none was live.
    """

    statements: tuple[str, ...]
    tasks: int | None
    leases: int
    pending: tuple[str, ...] = field(default=())
    ms: float | None = None

    def document(self) -> dict[str, Any]:
        """Return ``{"statement", "tasks_stopped", "leases_revoked", "pending", "ms_to_last_lease_dead"}``."""
        document: dict[str, Any] = {
            "statement": self.statements[0],
            "tasks_stopped": self.tasks,
            "leases_revoked": self.leases,
            "pending": list(self.pending),
            "ms_to_last_lease_dead": self.ms,
        }
        return document | ({"statements": list(self.statements)} if len(self.statements) > 1 else {})


async def state(connection: Connection, target: str, event: Event, reason: str) -> Stopped:
    """State an event about a target and carry it out.

    Raises:
        Refused: Nothing was stated, and why. Held: OpenBao did not answer; state it again.
    """
    subjects = await _subjects(connection, target, event)
    revoking = Revoking(
        registry=connection.registry,
        vault=connection.vault,
        standing=connection.standing,
        stops=connection.stops,
        clock=connection.clock,
    )
    signer = await connection.signer()
    looking = asyncio.create_task(_running(connection, subjects))
    try:
        outcomes = [
            await revoking.state(
                signer=signer, issuer=connection.principal, subject=subject, event=event, reason=reason
            )
            for subject in subjects
        ]
    except BaseException:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        raise
    told, pending = await _tell(connection, looking)
    return _together(outcomes, told, pending)


async def _subjects(connection: Connection, target: str, event: Event) -> list[Chain | Principal]:
    """Return what to state the event about; of a task's delegations those it can still change."""
    found = await targets.resolve(connection, target)
    if isinstance(found, Principal):
        return [found]
    if len(found) == 1:
        return [found[0]]
    epoch = await connection.standing.epoch()
    changing: list[Chain | Principal] = []
    for chain in found:
        points = {point.subject: point.status for point in await connection.standing.of(chain, epoch=epoch)}
        status = points[chain.leaf.jti]
        if status is Status.LIVE or status is Status.SUSPENDED:
            changing.append(chain)
    newest = max(found, key=lambda chain: chain.leaf.iat)
    return changing or [newest]


async def _running(connection: Connection, subjects: list[Chain | Principal]) -> list[str]:
    """Return the running tasks under these subjects."""
    from remit.client.workflows import attributes, listed, quoted

    found: dict[str, Any] = {}
    delegations: set[str] = set()
    for subject in subjects:
        if isinstance(subject, Chain):
            delegations.add(subject.leaf.jti)
            continue
        name = "RemitRoot" if subject.kind == "user" else "RemitAgent"
        query = f"{name} = {quoted(subject.spiffe_id)} AND ExecutionStatus = 'Running'"
        for execution in await listed(connection, query):
            found[execution.id] = execution
            # what this agent delegated on runs under its own delegation
            delegations |= set((attributes(execution).get("RemitDelegations") or ())[-1:])
    for jti in sorted(delegations):
        query = f"RemitDelegations = {quoted(jti)} AND ExecutionStatus = 'Running'"
        found |= {execution.id: execution for execution in await listed(connection, query)}
    return sorted(found)


async def _tell(connection: Connection, looking: asyncio.Task[list[str]]) -> tuple[int | None, tuple[str, ...]]:
    from remit.client.workflows import notify

    try:
        async with asyncio.timeout(TELL_SECONDS):
            return await notify(connection, await looking), ()
    except TimeoutError:
        return None, ("temporal: it did not answer in time; tasks see it at their next step",)
    except RemitError as error:
        return None, (f"temporal: {error.code}; no task was told, each sees it at its next step",)


def _together(outcomes: list[Outcome], told: int | None, pending: tuple[str, ...]) -> Stopped:
    times = [outcome.ms_to_last_lease_dead for outcome in outcomes if outcome.ms_to_last_lease_dead is not None]
    return Stopped(
        statements=tuple(outcome.statement for outcome in outcomes),
        tasks=told,
        leases=sum(outcome.leases_revoked for outcome in outcomes),
        pending=(*(line for outcome in outcomes for line in outcome.pending), *pending),
        ms=max(times) if times else None,
    )
