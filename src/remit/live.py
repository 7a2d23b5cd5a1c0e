"""Live: what exists now and must not outlive its use, in OpenBao's KV v1 mount ``remit-live``, where deleting deletes.

- A lease's record is there from before its credential is made until it is known to be dead.
- A cascade's record is there from before its statement until the cascade is complete, so that somebody finishes it
  whatever dies. Its cost is that of what runs, never that of what has been.

Paths, ids being UUIDs:

    leases/<root delegation>/<grant>    what the mint wrote, see `remit.credentials.mint`
    cascades/<statement>                {"kind", "subject", "root", "event", "at"}
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from remit.principals import Principal
from remit.statements import Statement
from remit.together import every
from remit.vault import Vault
from remit.vault.paths import join

LIVE_MOUNT = "remit-live"
READS = 16
"""Records of one root read side by side: each more is a new connection."""
_LEASES = f"{LIVE_MOUNT}/leases"
_CASCADES = f"{LIVE_MOUNT}/cascades"


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """A live login recorded under its root delegation; `facts` are what its mint wrote."""

    root: str
    grant: str
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CascadeRecord:
    """A statement whose consequences are not known to be complete.

    Args:
        statement: Its id. kind: ``delegation``, ``user`` or ``agent``. subject: The delegation's id or the name.
        root: Root delegation of the subject's chain; None for a principal. event: The event's URI.
        at: When the command to state it began, Unix seconds.
    """

    statement: str
    kind: str
    subject: str
    root: str | None
    event: str
    at: float

    @classmethod
    def of(cls, statement: Statement, *, root: str | None, at: float) -> CascadeRecord:
        """Return the record of a statement's cascade."""
        about = statement.subject
        if isinstance(about, Principal):
            return cls(statement.jti, about.kind, about.name, root, statement.event.value, at)
        return cls(statement.jti, "delegation", about.jti, root, statement.event.value, at)


class Live:
    """What is live, behind one session.

    Args:
        vault: OpenBao.
    """

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    async def record(self, root: str, grant: str, facts: Mapping[str, Any]) -> None:
        """Record a live login, so that whoever revokes finds it."""
        await self._vault.write(join(_LEASES, root, grant), **facts)

    async def forget(self, root: str, grant: str) -> None:
        """Delete the record of a login that is dead."""
        await self._vault.delete(join(_LEASES, root, grant))

    async def leases(self, root: str) -> list[LeaseRecord]:
        """Return the live logins under one root delegation."""
        grants = await self._vault.list(join(_LEASES, root))
        gate = asyncio.Semaphore(READS)

        async def one(grant: str) -> LeaseRecord | None:
            async with gate:
                answer = await self._vault.read(join(_LEASES, root, grant))
            return None if answer is None else LeaseRecord(root, grant, answer["data"])

        return [found for found in await every(one(grant) for grant in grants) if found is not None]

    async def all_leases(self) -> list[LeaseRecord]:
        """Return every live login."""
        roots = await self._vault.list(_LEASES)
        found = await every(self.leases(root.rstrip("/")) for root in roots)
        return [record for records in found for record in records]

    async def open_cascade(self, record: CascadeRecord) -> None:
        """Note that a statement is about to be made, whose consequences have to be completed."""
        facts = {name: getattr(record, name) for name in record.__slots__ if name != "statement"}
        await self._vault.write(join(_CASCADES, record.statement), **facts)

    async def cascade(self, statement: str) -> CascadeRecord | None:
        """Return a cascade that is not known to be complete."""
        answer = await self._vault.read(join(_CASCADES, statement))
        return None if answer is None else CascadeRecord(statement, **answer["data"])

    async def close_cascade(self, statement: str) -> None:
        """Forget a cascade that is complete, or whose statement was never made."""
        await self._vault.delete(join(_CASCADES, statement))

    async def cascades(self) -> list[CascadeRecord]:
        """Return the cascades that are not known to be complete."""
        names = await self._vault.list(_CASCADES)
        answers = await every(self._vault.read(join(_CASCADES, name)) for name in names)
        pairs = zip(names, answers, strict=True)
        return [CascadeRecord(name, **answer["data"]) for name, answer in pairs if answer is not None]
