"""Leases: the registry's live logins against what OpenBao holds.

- A record whose login and lease are both dead is forgotten; one whose lease outlived its login has it revoked, and
  stays until that is acknowledged.
- A live login under a chain that carries no authority is destroyed. Every other live login is a running attempt's and
  is left alone.
- A lease nobody recorded is revoked once it is older than any mint takes to record it.
- OpenBao gives a lease up after six tries ("irrevocable"); here it is tried again in every run.
- Only leases under the catalogue's own paths are looked at: what others mint on the same server is theirs.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from remit.chain import chain_digest
from remit.delegation import Reference
from remit.destroying import AT_ONCE, Destroying
from remit.errors import Held, Refused, RemitError
from remit.reaping import report
from remit.reaping.sweep import ROLE as SWEEP
from remit.statements import Status
from remit.vault import answers

if TYPE_CHECKING:
    from remit.chain import Chain
    from remit.live import LeaseRecord
    from remit.reaping.report import Findings
    from remit.registry import Registry
    from remit.standing import Standpoint
    from remit.vault import Vault

GRACE_SECONDS = 30.0
"""Longest time between a lease's issue and its id in the registry: three times what a write may take."""
Describe = Callable[[Reference], Awaitable[tuple["Chain", Sequence["Standpoint"]]]]


class Leases:
    """Reconciles leases with the authority's session.

    Args:
        vault, registry: With the same session.
        paths: Where the catalogue's credentials are minted, e.g. ``database/creds/flights-ro``.
        describe: Returns a chain and the standing of every link and principal of it.
        clock: Unix seconds.
        grace: Seconds an unrecorded lease is left to whoever mints it.
    """

    def __init__(
        self,
        vault: Vault,
        registry: Registry,
        *,
        paths: Iterable[str],
        describe: Describe,
        clock: Callable[[], float],
        grace: float = GRACE_SECONDS,
    ) -> None:
        self._vault = vault
        self._registry = registry
        self._destroying = Destroying(registry, vault)
        self._paths = sorted(set(paths))
        self._describe = describe
        self._clock = clock
        self._grace = grace

    async def reap(self, found: Findings) -> None:
        """Reconcile everything once.

        Raises:
            Held: OpenBao does not answer. Refused: The session may not do this.
        """
        # Listed before the records are read: what is recorded meanwhile is then not taken for unrecorded.
        given_up = await self._given_up(found)
        listed = [
            f"{path}/{key}" for path in self._paths for key in await self._vault.list(f"sys/leases/lookup/{path}")
        ]
        records = await self._registry.live.all_leases()
        run = _Run(found, given_up)
        await _each(lambda record: self._record(record, run), records)
        recorded = {record.facts.get("lease") for record in records}
        await _each(lambda lease: self._unrecorded(lease, run), sorted({*listed, *given_up} - recorded))

    async def _given_up(self, found: Findings) -> frozenset[str]:
        """Return the leases of ours that OpenBao does not try to revoke any more; without the right to ask, none.

        They are found as recorded or unrecorded ones all the same, only not told apart.
        """
        try:
            answer = await self._vault.read("sys/leases", type="irrevocable") or {}
        except Refused as error:
            found.not_set_up["irrevocable leases"] = error.code
            return frozenset()
        leases = (str(one["lease_id"]) for one in answer.get("data", {}).get("leases") or ())
        return frozenset(lease for lease in leases if lease.startswith(tuple(f"{path}/" for path in self._paths)))

    async def _record(self, record: LeaseRecord, run: _Run) -> None:
        lease = record.facts.get("lease")
        name = report.digest(str(lease or record.facts["accessor"]))
        if await self._login(record.facts["accessor"]):
            if await self._carries_authority(record.facts["chain"]):
                run.found.live += 1
            elif (code := await self._destroying.destroy(record)) is None:
                run.found.did(report.DESTROYED, name)
            else:
                run.found.left(report.DESTROYED, name, code)
            return
        if lease and await self._lease(lease) is not None:
            if not await self._revoke(lease, run.kind(lease, report.REVOKED), run):
                return
        else:
            run.found.did(report.FORGOTTEN, name)
        await self._registry.live.forget(record.root, record.grant)

    async def _unrecorded(self, lease: str, run: _Run) -> None:
        held = await self._lease(lease)
        if held is None:
            return
        # A user that sweeps is in no record; no run uses one as long as this.
        grace = GRACE_SECONDS if lease.split("/")[-2] == SWEEP else self._grace
        if lease in run.given_up or self._clock() - _seconds(held["issue_time"]) > grace:
            await self._revoke(lease, run.kind(lease, report.ORPHANS), run)

    async def _revoke(self, lease: str, kind: str, run: _Run) -> bool:
        """Revoke a lease; tell whether it is dead."""
        mount = lease.partition("/")[0]
        if (code := run.silent.get(mount)) is None:
            try:
                await self._vault.write(f"sys/leases/revoke/{lease}", sync=True)
            except Held as error:
                code = error.code
                if code == "vault.unreachable":  # the database behind it hangs: the others would wait as long
                    run.silent[mount] = code
            except Refused as error:
                code = error.code
        if code is None:
            run.found.did(kind, report.digest(lease))
        else:
            run.found.left(kind, report.digest(lease), code)
        return code is None

    async def _login(self, accessor: str) -> bool:
        """Tell whether a login is alive."""
        return await self._known("auth/token/lookup-accessor", b"invalid accessor", accessor=accessor) is not None

    async def _lease(self, lease: str) -> dict[str, Any] | None:
        """Return what OpenBao holds of a lease; None when it is dead."""
        return await self._known("sys/leases/lookup", b"invalid lease", lease_id=lease)

    async def _known(self, path: str, dead: bytes, **data: str) -> dict[str, Any] | None:
        status, body = await self._vault.call("POST", path, data)
        if status != 200 and dead in body:  # the status differs between products and versions, the words do not
            return None
        answer = answers.read(status, body, asked=f"write {path}")
        if answer is None:
            raise Refused(f"{path} gives no answer", code="vault.rejected")
        return dict(answer["data"])

    async def _carries_authority(self, chain: Sequence[str]) -> bool:
        """Tell whether every link and principal of a recorded chain is live; one that cannot be verified is not."""
        links = await asyncio.gather(*(self._registry.delegation(jti) for jti in chain))
        try:
            digest = chain_digest([link.jws for link in links if link is not None])
            _, points = await self._describe(Reference(chain[-1], digest))
        except Held:
            raise
        except RemitError:
            return False
        return all(point.status is Status.LIVE for point in points)


class _Run:
    """What one run knows: leases OpenBao has given up on, and mounts that did not answer."""

    def __init__(self, found: Findings, given_up: frozenset[str]) -> None:
        self.found = found
        self.given_up = given_up
        self.silent: dict[str, str] = {}

    def kind(self, lease: str, otherwise: str) -> str:
        return report.IRREVOCABLE if lease in self.given_up else otherwise


async def _each(call: Callable[[Any], Awaitable[None]], items: Iterable[Any]) -> None:
    """Do something with each, a few at once; the first failure is raised when all are done."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(item: Any) -> None:
        async with gate:
            await call(item)

    for answer in await asyncio.gather(*(one(item) for item in items), return_exceptions=True):
        if isinstance(answer, BaseException):
            raise answer


def _seconds(moment: str) -> float:
    """Return OpenBao's time, which has nanoseconds, as Unix seconds."""
    return datetime.fromisoformat(re.sub(r"\.(\d{1,6})\d*", r".\1", moment)).timestamp()
