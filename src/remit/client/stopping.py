"""Stopping and letting go on: revoke, suspend, reinstate.

- A statement is in force first. Then, side by side, the credentials under it are destroyed and the running tasks told.
- With Temporal down the stop is just as complete, and says that no task was told.
- A notice carries no authority: a task reads the registry's truth and stops itself.
- The rest is the cascade's, which a worker carries on whatever becomes of this process.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from temporalio.client import WorkflowFailureError, WorkflowQueryFailedError
from temporalio.service import RPCError

from remit import cascading, executions
from remit.cascade import PROGRESS, workflow_id
from remit.chain import Chain, subject_of
from remit.client import targets
from remit.errors import Held, Refused, RemitError
from remit.principals import Principal
from remit.revoking import Outcome, Revoking
from remit.statements import Event, Status
from remit.together import both, every

if TYPE_CHECKING:
    from temporalio.client import Client

    from remit.client.connection import Connection

PATIENCE_SECONDS = 1.0
"""Longest time tasks are not told because their credentials are still being destroyed."""
TELL_SECONDS = 10.0
"""Longest time tasks are looked for and told; the stop itself is done by then."""
FOLLOW_SECONDS = 10.0
"""Longest time a command follows its cascades."""
_LOOK_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Stopped:
    """What a statement did.

    Args:
        statements: Ids, one for each delegation or principal. event: What they say.
        tasks: How many running tasks were told, once the cascade is complete how many it found stopped; None when
            Temporal did not answer.
        leases: How many live credentials were destroyed.
        pending: What could not be done yet.
        ms: From the command to the last credential's death; None when none was live.
        complete: Whether the cascade of every statement is known to be complete.
    """

    statements: tuple[str, ...]
    event: Event
    tasks: int | None
    leases: int
    pending: tuple[str, ...] = field(default=())
    ms: float | None = None
    complete: bool = False

    def document(self) -> dict[str, Any]:
        """Return its JSON form: `Stopped`'s fields under the names of `remit revoke --json`."""
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
    looking = asyncio.create_task(_running(connection, subjects, event))
    try:
        declared = [
            await revoking.declare(
                signer=signer, issuer=connection.principal, subject=subject, event=event, reason=reason
            )
            for subject in subjects
        ]
    except BaseException:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        raise
    dead = asyncio.Event()
    (told, pending), outcomes = await both(
        _tell(connection, looking, after=dead),
        every(revoking.carry_out(one, credentials_dead=dead.set) for one in declared),
    )
    return await _handed_over(connection, event, outcomes, told=told, pending=pending)


async def follow(
    connection: Connection, stopped: Stopped, *, progress: Callable[[int, int], None] = lambda stopped, going: None
) -> Stopped:
    """Follow the cascades of a stop for a while; return how it stands then.

    Args:
        progress: Told how many tasks are stopped and how many are not, each time it is looked at.
    """
    if stopped.tasks is None or stopped.complete:
        return stopped
    try:
        client = await connection.temporal()
        async with asyncio.timeout(FOLLOW_SECONDS):
            try:
                records = [await _followed(client, one, progress) for one in stopped.statements]
            except Refused as error:
                if error.code != "codec.forbidden":
                    raise
                await _closed(connection, stopped.statements)
                return replace(stopped, complete=True)
    except TimeoutError:
        return replace(stopped, pending=(*stopped.pending, "cascade: it goes on, see the Temporal UI"))
    except RemitError as error:
        return replace(stopped, pending=(*stopped.pending, f"cascade: {error.code}"))
    return replace(
        stopped,
        tasks=_reached(stopped, records),
        leases=sum(record["leases_destroyed"] for record in records),
        pending=tuple(line for record in records for line in record["pending"]),
        ms=max((ms for record in records if (ms := record["ms_to_last_lease_dead"]) is not None), default=None),
        complete=True,
    )


async def _closed(connection: Connection, statements: Sequence[str]) -> None:
    """Return once the cascades are closed, for whoever may not read payloads and so not their records."""
    while statements:
        await asyncio.sleep(_LOOK_SECONDS)
        statements = [one for one in statements if await connection.registry.live.cascade(one) is not None]


def _reached(stopped: Stopped, records: list[dict[str, Any]]) -> int:
    """Return how many tasks stand still; after a reinstatement how many were told to go on."""
    if stopped.event is Event.REINSTATED:
        return (stopped.tasks or 0) + sum(int(record["tasks_told"]) for record in records)
    return sum(int(record["tasks_stopped"]) for record in records)


async def _followed(client: Client, statement: str, progress: Callable[[int, int], None]) -> dict[str, Any]:
    """Return the completion record of a cascade."""
    handle = client.get_workflow_handle(workflow_id(statement), result_type=dict[str, Any])
    ended = asyncio.ensure_future(handle.result())
    try:
        while not ended.done():
            await asyncio.wait({ended}, timeout=_LOOK_SECONDS)
            if ended.done():
                break
            with contextlib.suppress(RPCError, WorkflowQueryFailedError):  # its end is what is waited for
                found = await handle.query(PROGRESS, result_type=dict[str, Any], rpc_timeout=timedelta(seconds=2))
                progress(found["stopped"], found["going"])
        record: dict[str, Any] = await ended
    except (RPCError, WorkflowFailureError) as error:
        raise Held("the cascade does not answer", code="cascade.unknown") from error
    finally:
        ended.cancel()
        await asyncio.gather(ended, return_exceptions=True)
    return record


async def _subjects(connection: Connection, target: str, event: Event) -> list[Chain | Principal]:
    """Return what to state the event about; of a task's delegations those it can still change.

    What stands under another of them stops with it, and needs no statement of its own.
    """
    found = await targets.resolve(connection, target)
    if isinstance(found, Principal):
        return [found]
    if len(found) == 1:
        return [found[0]]
    epoch = await connection.standing.epoch()
    changing: list[Chain] = []
    for chain in found:
        points = {point.subject: point.status for point in await connection.standing.of(chain, epoch=epoch)}
        status = points[chain.leaf.jti]
        if status is Status.LIVE or status is Status.SUSPENDED:
            changing.append(chain)
    if event is not Event.REINSTATED:
        above = {chain.leaf.jti for chain in changing}
        changing = [chain for chain in changing if above.isdisjoint(chain.ids[:-1])]
    newest = max(found, key=lambda chain: chain.leaf.iat)
    return [*changing] or [newest]


async def _running(connection: Connection, subjects: list[Chain | Principal], event: Event) -> list[str]:
    """Return the running tasks under these subjects that are to be told of an event now."""
    client = await connection.temporal()
    if event is Event.REINSTATED:
        # A principal is let in again by its cascade; what it runs is told after that.
        subjects = [subject for subject in subjects if isinstance(subject, Chain)]
    found = [await executions.under(client, connection.registry, subject_of(subject)) for subject in subjects]
    return sorted({task.id for tasks in found for task in tasks})


async def _tell(
    connection: Connection, looking: asyncio.Task[list[str]], *, after: asyncio.Event
) -> tuple[int | None, tuple[str, ...]]:
    """Tell the tasks once their credentials are dead, or will not be soon: the stop comes first."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(after.wait(), PATIENCE_SECONDS)
    try:
        async with asyncio.timeout(TELL_SECONDS):
            tasks = await looking
            return await executions.tell(await connection.temporal(), tasks), ()
    except TimeoutError:
        return None, ("temporal: it did not answer in time; tasks see it at their next step",)
    except RemitError as error:
        return None, (f"temporal: {error.code}; no task was told, each sees it at its next step",)


async def _handed_over(
    connection: Connection,
    event: Event,
    outcomes: list[Outcome],
    *,
    told: int | None,
    pending: tuple[str, ...],
) -> Stopped:
    """Hand what is left to the cascades; where Temporal does not answer, the reaper starts them."""
    if told is not None:
        try:
            client = await connection.temporal()
            for outcome in outcomes:
                reported = {
                    "leases_revoked": outcome.leases_revoked,
                    "ms_to_last_lease_dead": outcome.ms_to_last_lease_dead,
                }
                await cascading.start(
                    client, outcome.statement, task_queue=connection.settings.task_queue, reported=reported
                )
        except RemitError as error:
            pending = (*pending, f"cascade: {error.code}; it starts when Temporal answers")
    times = [outcome.ms_to_last_lease_dead for outcome in outcomes if outcome.ms_to_last_lease_dead is not None]
    return Stopped(
        statements=tuple(outcome.statement for outcome in outcomes),
        event=event,
        tasks=told,
        leases=sum(outcome.leases_revoked for outcome in outcomes),
        pending=(*(line for outcome in outcomes for line in outcome.pending), *pending),
        ms=max(times) if times else None,
    )
