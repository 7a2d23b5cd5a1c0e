"""Cascading: what follows from a statement, carried on until it is complete, whoever dies meanwhile.

- Whoever starts the cascade proves nothing: the statement is read from the registry and verified here.
- A confirmed statement keeps its effect when its issuer later loses the right to make new ones.
- What a cascade does may be done twice, and by two at once.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from remit import executions
from remit.cascade import WORKFLOW, Begun, Outcome, Progress, workflow_id
from remit.chain import subject_of
from remit.destroying import Destroyed, Destroying
from remit.disabling import Disabling
from remit.errors import Held, InvalidDocument, RemitError
from remit.principals import Principal
from remit.statements import Event, Status, Subject

if TYPE_CHECKING:
    from temporalio.client import Client

    from remit.audit import AuditLog
    from remit.chain import Chain
    from remit.chains import Chains
    from remit.live import CascadeRecord
    from remit.registry import Registry
    from remit.standing import Standing
    from remit.vault import Vault

NAMED = 20
"""Most tasks named as pending; of more only the number is told."""


async def start(client: Client, statement: str, *, task_queue: str, reported: Mapping[str, Any] | None = None) -> bool:
    """Start a statement's cascade; tell whether this call did.

    Args:
        reported: What the command that stated it saw, ``{"leases_revoked", "ms_to_last_lease_dead"}``; for the record.

    Raises:
        Held: ``temporal.unreachable``.
    """
    try:
        await client.start_workflow(
            WORKFLOW,
            args=[statement, dict(reported or {})],
            id=workflow_id(statement),
            task_queue=task_queue,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
            static_summary=f"what follows from statement {statement}",
            rpc_timeout=timedelta(seconds=10),
        )
    except WorkflowAlreadyStartedError:
        return False
    except RPCError as error:
        raise Held("Temporal does not answer", code="temporal.unreachable") from error
    return True


class Cascading:
    """Carries cascades on, with the authority's rights.

    Args:
        trust_domain: Of the principals named.
        client: Returns the Temporal client.
        clock: Unix seconds.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        vault: Vault,
        standing: Standing,
        chains: Chains,
        audit: AuditLog,
        trust_domain: str,
        client: Callable[[], Client],
        clock: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._standing = standing
        self._chains = chains
        self._audit = audit
        self._trust_domain = trust_domain
        self._client = client
        self._clock = clock
        self._destroying = Destroying(registry, vault)
        self._disabling = Disabling(vault, registry)

    async def begin(self, statement: str) -> Begun:
        """Read and verify a statement, confirm it and make sure that it is in force.

        Raises:
            Held: OpenBao does not answer.
        """
        record = await self._registry.live.cascade(statement)
        if record is None:
            return Begun(Outcome.NOTHING)
        subject = await self._subject(record)
        about = subject_of(subject)
        token = await self._registry.stated(about, statement)
        if token is None:
            return Begun(Outcome.ABSENT)
        links = () if isinstance(subject, Principal) else subject.links
        epoch = await self._standing.epoch()
        try:
            found = await self._standing.statement(token, subject=about, links=links, epoch=epoch)
        except InvalidDocument as error:
            return Begun(Outcome.INVALID, code=error.code)
        await self._registry.confirm(token)
        await self._registry.raise_epoch()  # whoever stored it may have died before
        return Begun(
            Outcome.STATED,
            event=found.event.value,
            subject=about.spiffe_id if isinstance(about, Principal) else about.jti,
            by=found.iss.spiffe_id,
            reason=found.reason,
            asked_at=record.at,
        )

    async def round(self, statement: str, begun: Begun, *, everyone: bool) -> Progress:
        """Do what is left to do and tell what that was; what does not answer is pending.

        Args:
            everyone: Tell all tasks, not only those that have not heard: nobody has told them yet.

        Raises:
            Held: OpenBao does not answer at all.
        """
        record = await self._registry.live.cascade(statement)
        if record is None:
            return Progress()
        subject = await self._subject(record)
        about = subject_of(subject)
        live = await self._live(subject)
        if live is not (begun.event == Event.REINSTATED):
            return Progress(overtaken=True)
        pending: list[str] = []
        destroyed = Destroyed({}, {})
        if isinstance(about, Principal):
            pending += await _tried("identity", self._disabling.apply(about, stopped=not live))
        if not live:
            destroyed = await self._destroying.under(about, root=record.root)
            pending += [f"lease of grant {grant}: {code}" for grant, code in sorted(destroyed.pending.items())]
        last = None if destroyed.last is None else self._clock() - (time.monotonic() - destroyed.last)
        tasks = _Tasks()
        try:
            tasks = await self._told(about, since=begun.asked_at - 1, live=live, everyone=everyone)
        except Held as error:
            pending.append(f"tasks: {error.code}")
        if not live:
            pending += [f"task {task}: told, not stopped yet" for task in tasks.going[:NAMED]]
        return Progress(
            destroyed=len(destroyed.dead),
            last_dead_at=last,
            stopped=len(tasks.stopped),
            going=len(tasks.going),
            told=tasks.told,
            pending=tuple(pending),
        )

    async def complete(self, statement: str, record: Mapping[str, Any]) -> None:
        """Record how a cascade ended, and close it."""
        self._audit.append({"event": "revocation", **record})
        await self._registry.live.close_cascade(statement)

    async def _subject(self, record: CascadeRecord) -> Chain | Principal:
        if record.kind == "delegation":
            return await self._chains.down_to(record.subject, epoch=await self._standing.epoch())
        return Principal(self._trust_domain, "user" if record.kind == "user" else "agent", record.subject)

    async def _live(self, subject: Chain | Principal) -> bool:
        epoch = await self._standing.epoch()
        if isinstance(subject, Principal):
            return await self._standing.principal(subject, epoch=epoch) is Status.LIVE
        points = await self._standing.of(subject, epoch=epoch)
        return all(point.status is Status.LIVE for point in points if point.subject == subject.leaf.jti)

    async def _told(self, about: Subject, *, since: float, live: bool, everyone: bool) -> _Tasks:
        """Tell the tasks that do not yet act on the statement."""
        client = self._client()
        found = await executions.under(client, self._registry, about, since=since)
        telling = [one.id for one in found if not one.ended and (everyone or one.going is not live)]
        return _Tasks(
            stopped=tuple(one.id for one in found if one.state in executions.STOPPED),
            going=tuple(one.id for one in found if one.going),
            told=await executions.tell(client, telling),
        )


@dataclass(frozen=True, slots=True)
class _Tasks:
    stopped: tuple[str, ...] = ()
    going: tuple[str, ...] = ()
    told: int = 0


async def _tried(what: str, call: Awaitable[object]) -> list[str]:
    try:
        await call
    except RemitError as error:
        return [f"{what}: {error.code}"]
    return []
