"""Standing: whether every link and every principal of a chain is live, now.

- The truth is the signed statements in the registry. Each is verified here by signature and by the right to make it;
  one that fails either check counts for nothing.
- A right that policy gave when a statement was made may be gone since: what the authority confirmed then still counts.
- One small record, the epoch, changes after every statement and before it is acknowledged. An attempt reads it anew;
  while it is unchanged, statuses read after it was first seen are still exact. So standing costs one read.
- What cannot be read is not "fine": a delegation or principal that is not there is revoked, an outage holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from remit import jose
from remit.errors import InvalidDocument, NotLive
from remit.principals import Principal
from remit.statements import TYP as SECEVENT
from remit.statements import (
    DelegationSubject,
    Event,
    Statement,
    Status,
    Subject,
    check,
    fold,
    fold_principal,
    may_state,
    whose,
)

if TYPE_CHECKING:
    from remit.chain import Chain
    from remit.delegation import Delegation
    from remit.registry import Registry


@dataclass(frozen=True, slots=True)
class Standpoint:
    """The standing of one delegation or principal: ``subject`` is its id or SPIFFE ID."""

    subject: str
    status: Status


@dataclass(slots=True)
class _Seen:
    """What was read under one epoch."""

    epoch: str
    keys: dict[str, tuple[Principal, jose.PublicKey, bool] | None] = field(default_factory=dict)
    statuses: dict[str, Status] = field(default_factory=dict)
    barred: dict[str, int] = field(default_factory=dict)
    """Until when what was delegated through a principal stays dead, by SPIFFE ID."""


class Standing:
    """Reads standing, cached under the epoch it was read in.

    Args:
        registry: Where documents are.
        audience: The audience every statement must carry.
        stops: ``stops(user, whose)``: whether policy lets a user stop what is this principal's (security staff).
        clock: Unix seconds.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        audience: str,
        stops: Callable[[Principal, Principal], bool],
        clock: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._audience = audience
        self._stops = stops
        self._clock = clock
        self._seen: _Seen | None = None

    async def epoch(self) -> str:
        """Return the epoch, from a read that began after this call.

        Raises:
            Held: The registry did not answer.
        """
        return await self._registry.epoch()

    async def signer(self, kid: str, *, epoch: str) -> tuple[Principal, jose.PublicKey]:
        """Return the principal whose present key this is.

        Raises:
            InvalidDocument: ``principal.unknown-key`` when the directory has no such key, or no longer.
        """
        principal, key, present = await self._owner(kid, epoch=epoch)
        if not present:
            raise _unknown_key()
        return principal, key

    async def _owner(self, kid: str, *, epoch: str) -> tuple[Principal, jose.PublicKey, bool]:
        """Return whose key this is or was, and whether it still is."""
        seen = self._under(epoch)
        if kid not in seen.keys:
            owner = await self._registry.key_owner(kid)
            if owner is None:
                seen.keys[kid] = None
            else:
                record = await self._registry.principal(owner[0])
                seen.keys[kid] = (*owner, record is not None and record.key.kid == kid)
        found = seen.keys[kid]
        if found is None:
            raise _unknown_key()
        return found

    async def of(self, chain: Chain, *, epoch: str) -> tuple[Standpoint, ...]:
        """Return the standing of every link, root first, then of every principal of the chain.

        Args:
            epoch: An epoch read for this very question.
        """
        seen = self._under(epoch)
        wanted = [*chain.ids, *(principal.spiffe_id for principal in chain.principals)]
        missing = [subject for subject in wanted if subject not in seen.statuses]
        if missing:
            links = {link.jti: chain.links[: number + 1] for number, link in enumerate(chain.links)}
            people = {principal.spiffe_id: principal for principal in chain.principals}
            found = await asyncio.gather(
                *(
                    self._delegation(links[subject], epoch=epoch)
                    if subject in links
                    else self._principal(people[subject], epoch=epoch)
                    for subject in missing
                )
            )
            for subject, (status, barred) in zip(missing, found, strict=True):
                seen.statuses[subject], seen.barred[subject] = status, barred
        now = self._clock()
        points = []
        for subject in wanted:
            status = seen.statuses[subject]
            if status is Status.LIVE and any(link.jti == subject and link.exp <= now for link in chain.links):
                status = Status.EXPIRED
            elif until := seen.barred.get(subject):
                dated = [link.iat for link in chain.links if subject in (link.iss.spiffe_id, link.delegate.spiffe_id)]
                if min(dated) <= until:
                    status = Status.REVOKED
            points.append(Standpoint(subject, status))
        return tuple(points)

    async def require_live(self, chain: Chain, *, epoch: str | None = None) -> None:
        """Return only if everything in the chain is live (rules 14 and 17).

        Args:
            epoch: An epoch read for this question; None reads one.

        Raises:
            NotLive: With the first subject, from the root, that is not.
            Held: The registry did not answer.
        """
        for point in await self.of(chain, epoch=epoch or await self.epoch()):
            if point.status is not Status.LIVE:
                raise NotLive(
                    f"{point.subject} is {point.status.value}",
                    status=point.status.value,
                    subject=point.subject,
                    next_action="Delegate anew and run `remit resume TASK`."
                    if point.status is not Status.SUSPENDED
                    else "It goes on when `remit reinstate` lifts the suspension.",
                )

    async def principal(self, principal: Principal, *, epoch: str) -> Status:
        """Return the standing of one principal."""
        return (await self._principal(principal, epoch=epoch))[0]

    async def spoke(self, principal: Principal, *, at: int, epoch: str) -> Status:
        """Return the standing of a principal for what it signed at this second.

        What it signed until it was reinstated after a revocation stays dead: nobody knows whose hand it was.
        """
        status, until = await self._principal(principal, epoch=epoch)
        return Status.REVOKED if status is Status.LIVE and at <= until else status

    async def _principal(self, principal: Principal, *, epoch: str) -> tuple[Status, int]:
        """Return the standing of a principal, and until when what it did before stays dead; 0: nothing does."""
        statements = await self._told(principal, self._registry.principal(principal), links=(), epoch=epoch)
        if statements is None:
            return Status.REVOKED, 0
        return fold_principal(statements, overrules=lambda later, _: self._stops(later, principal))

    async def _delegation(self, links: Sequence[Delegation], *, epoch: str) -> tuple[Status, int]:
        leaf = links[-1]
        subject = DelegationSubject(jti=leaf.jti, iss=leaf.iss)
        statements = await self._told(subject, self._registry.delegation(leaf.jti), links=links, epoch=epoch)
        if statements is None:
            return Status.REVOKED, 0
        return fold(statements, overrules=lambda later, _: self._stops(later, whose(subject, links))), 0

    async def _told(
        self, subject: Subject, record: Awaitable[object | None], *, links: Sequence[Delegation], epoch: str
    ) -> list[Statement] | None:
        """Return the statements about a subject that count; None when it has no record of its own."""
        found, tokens = await asyncio.gather(record, self._registry.statements(subject))
        if found is None:
            return None
        statements = []
        for token in tokens:
            try:
                statements.append(await self.statement(token, subject=subject, links=links, epoch=epoch))
            except InvalidDocument:
                continue  # a document nobody may act on; whoever wrote it is in OpenBao's audit log
        return statements

    async def statement(self, token: str, *, subject: Subject, links: Sequence[Delegation], epoch: str) -> Statement:
        """Return a statement whose signature, subject and right to be made hold.

        Args:
            subject: Whom or what it is read for.
            links: The chain down to that delegation; empty when the subject is a principal.

        Raises:
            InvalidDocument: Otherwise.
        """
        issuer, key, present = await self._owner(jose.peek_kid(token, typ=SECEVENT), epoch=epoch)
        statement = Statement.from_claims(jose.verify(token, typ=SECEVENT, key=key))
        if not present and statement.event is Event.REINSTATED and not await self._registry.confirmed(token):
            raise _unknown_key()  # a former key may have stopped things; it lets nothing go on anew
        if statement.iss != issuer:
            raise InvalidDocument("the statement is not its signer's", code="statement.issuer")
        check(statement, audience=self._audience, subject=subject, now=int(self._clock()))
        if not may_state(statement, links, permitted=self._stops) and not await self._registry.confirmed(token):
            raise InvalidDocument(f"{issuer.short} may not stop or reinstate this", code="statement.not-permitted")
        return statement

    def _under(self, epoch: str) -> _Seen:
        if self._seen is None or self._seen.epoch != epoch:
            self._seen = _Seen(epoch)
        return self._seen


def _unknown_key() -> InvalidDocument:
    return InvalidDocument(
        "signed with a key that the principal directory does not have",
        code="principal.unknown-key",
        rule=5,
        next_action="Sign with the key of a registered principal.",
    )
