"""Revoking: a signed statement, in force before it is acknowledged, and the credentials under it destroyed.

Order, so that dying between any two lines leaves either nothing, or a stop that somebody completes:

1. its cascade is noted, so that whatever dies, the reaper finds what is to be completed; 2. the statement is signed and
stored; 3. the epoch changes: from here no attempt under the subject starts, and none that is minting gets its
credential; 4. every live login under the subject is ended and its lease destroyed synchronously, until none is
recorded; what cannot be destroyed now is reported as pending, with the reason.

It needs OpenBao and nothing else: no worker, no Temporal.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from remit import jose
from remit.chain import subject_of
from remit.destroying import Destroying
from remit.errors import Held, InvalidDocument, Refused
from remit.live import CascadeRecord
from remit.principals import Principal
from remit.statements import TYP, DelegationSubject, Event, Statement, Subject, may_state, next_iat
from remit.together import both

if TYPE_CHECKING:
    from remit.chain import Chain
    from remit.delegation import Delegation
    from remit.registry import Registry
    from remit.standing import Standing
    from remit.vault import Vault


@dataclass(frozen=True, slots=True)
class Declared:
    """A statement that is in force.

    Args:
        statement: It.
        root: Root delegation of the subject's chain; None for a principal.
        began: When it was asked for (`time.monotonic`).
    """

    statement: Statement
    root: str | None
    began: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a statement did.

    Args:
        statement: Its id.
        leases_revoked: How many live leases were destroyed.
        pending: What could not be, ``"lease of grant <id>: <code>"``.
        ms_to_last_lease_dead: From the call to the last lease's death; None when none was live.
    """

    statement: str
    leases_revoked: int
    pending: tuple[str, ...]
    ms_to_last_lease_dead: float | None


class Revoking:
    """Makes statements take effect.

    Args:
        registry, vault: With the session of the person who states.
        standing: Reads earlier statements.
        stops: ``stops(user, whose)``: whether policy lets a user stop what is this principal's.
        clock: Unix seconds.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        vault: Vault,
        standing: Standing,
        stops: Callable[[Principal, Principal], bool],
        clock: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._destroying = Destroying(registry, vault)
        self._standing = standing
        self._stops = stops
        self._clock = clock

    async def declare(
        self,
        *,
        signer: jose.Signer,
        issuer: Principal,
        subject: Chain | Principal,
        event: Event,
        reason: str = "",
    ) -> Declared:
        """State a revocation, suspension or reinstatement; it is in force when this returns.

        Args:
            subject: The verified chain down to the delegation concerned, or a whole principal.

        Raises:
            Refused: ``statement.not-permitted`` or ``statement.final``; nothing was written.
            Held: The registry did not answer; the statement may or may not be stored, so state it again.
        """
        began, at = time.monotonic(), self._clock()
        about = subject_of(subject)
        links = () if isinstance(subject, Principal) else subject.links
        earlier = await self._earlier(about, links)
        statement = Statement(
            jti=str(uuid.uuid4()),
            iss=issuer,
            aud=issuer.audience,
            iat=next_iat(earlier, now=int(self._clock())),
            subject=about,
            event=event,
            reason=reason,
        )
        self._require_permitted(statement, links, earlier)
        root = links[0].jti if links else None
        token, _ = await both(
            jose.sign(statement.to_claims(), typ=TYP, signer=signer),
            self._registry.live.open_cascade(CascadeRecord.of(statement, root=root, at=at)),
        )
        await self._registry.put_statement(about, statement.jti, token)  # and changes the epoch
        return Declared(statement, root, began)

    async def carry_out(self, declared: Declared, *, credentials_dead: Callable[[], None] = lambda: None) -> Outcome:
        """Destroy what is live under a stop that is in force.

        Args:
            credentials_dead: Called when the credentials are, while their logins are still being ended.
        """
        statement = declared.statement
        if statement.event is Event.REINSTATED:
            credentials_dead()
            return Outcome(statement.jti, 0, (), None)
        try:
            destroyed = await self._destroying.under(
                statement.subject, root=declared.root, credentials_dead=credentials_dead
            )
        except Held as error:
            return Outcome(statement.jti, 0, (f"leases: {error.code}",), None)
        took = None if destroyed.last is None else round((destroyed.last - declared.began) * 1000, 1)
        pending = tuple(f"lease of grant {grant}: {code}" for grant, code in sorted(destroyed.pending.items()))
        return Outcome(statement.jti, len(destroyed.dead), pending, took)

    async def _earlier(self, about: Subject, links: tuple[Delegation, ...]) -> list[Statement]:
        epoch = await self._standing.epoch()
        earlier = []
        for token in await self._registry.statements(about):
            try:
                earlier.append(await self._standing.statement(token, subject=about, links=links, epoch=epoch))
            except InvalidDocument:
                continue
        return earlier

    def _require_permitted(self, statement: Statement, links: tuple[Delegation, ...], earlier: list[Statement]) -> None:
        if not may_state(statement, links, permitted=self._stops):
            raise Refused(
                f"{statement.iss.short} may not do this to {_named(statement.subject)}",
                code="statement.not-permitted",
                next_action="The delegator, anyone above in the chain, or security staff may.",
            )
        final = isinstance(statement.subject, DelegationSubject)
        if final and statement.event is Event.REINSTATED and any(one.event is Event.REVOKED for one in earlier):
            raise Refused(
                f"{_named(statement.subject)} is revoked, and a revocation is final",
                code="statement.final",
                next_action="Delegate anew and run `remit resume TASK`.",
            )


def _named(about: Subject) -> str:
    return about.short if isinstance(about, Principal) else f"delegation {about.jti}"
