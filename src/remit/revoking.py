"""Revoking: a signed statement, effective before it is acknowledged, and the credentials under it destroyed.

Order, so that dying between any two lines leaves the stop in force and only clean-up undone:

1. the statement is signed and stored; 2. the epoch changes: from here no attempt under the subject starts, and none
that is minting gets its credential; 3. every live login under the subject is ended and its lease destroyed
synchronously, until none is recorded; what cannot be destroyed now is reported as pending, with the reason.

It needs OpenBao and nothing else: no worker, no Temporal.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from remit import jose
from remit.destroying import Destroying
from remit.errors import InvalidDocument, Refused
from remit.principals import Principal
from remit.statements import TYP, DelegationSubject, Event, Statement, Subject, may_state, next_iat

if TYPE_CHECKING:
    from remit.chain import Chain
    from remit.delegation import Delegation
    from remit.registry import Registry
    from remit.standing import Standing
    from remit.vault import Vault


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a statement did.

    Args:
        statement: Its id.
        leases_revoked: How many live leases were destroyed.
        pending: Those that could not be, ``"<grant>: <code>"``.
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
        stops: Whether policy lets this user stop what others delegated.
        clock: Unix seconds.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        vault: Vault,
        standing: Standing,
        stops: Callable[[Principal], bool],
        clock: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._destroying = Destroying(registry, vault)
        self._standing = standing
        self._stops = stops
        self._clock = clock

    async def state(
        self,
        *,
        signer: jose.Signer,
        issuer: Principal,
        subject: Chain | Principal,
        event: Event,
        reason: str = "",
    ) -> Outcome:
        """State a revocation, suspension or reinstatement and carry it out.

        Args:
            subject: The verified chain down to the delegation concerned, or a whole principal.

        Raises:
            Refused: ``statement.not-permitted``; nothing was written.
            Held: The registry did not answer; the statement may or may not be stored, so state it again.
        """
        began = time.monotonic()
        about: Subject
        links: tuple[Delegation, ...]
        if isinstance(subject, Principal):
            about, links = subject, ()
        else:
            about, links = DelegationSubject(jti=subject.leaf.jti, iss=subject.leaf.iss), subject.links
        epoch = await self._standing.epoch()
        earlier = []
        for token in await self._registry.statements(about):
            try:
                earlier.append(await self._standing.statement(token, subject=about, links=links, epoch=epoch))
            except InvalidDocument:
                continue
        statement = Statement(
            jti=str(uuid.uuid4()),
            iss=issuer,
            aud=issuer.audience,
            iat=next_iat(earlier, now=int(self._clock())),
            subject=about,
            event=event,
            reason=reason,
        )
        if not may_state(statement, links, permitted=self._stops):
            raise Refused(
                f"{issuer.short} may not do this to {_named(about)}",
                code="statement.not-permitted",
                next_action="The delegator, anyone above in the chain, or security staff may.",
            )
        if event is Event.REINSTATED and any(one.event is Event.REVOKED for one in earlier):
            raise Refused(
                f"{_named(about)} is revoked, and a revocation is final",
                code="statement.final",
                next_action="Delegate anew and run `remit resume TASK`.",
            )
        token = await jose.sign(statement.to_claims(), typ=TYP, signer=signer)
        await self._registry.put_statement(about, statement.jti, token)  # and changes the epoch
        if event is Event.REINSTATED:
            return Outcome(statement.jti, 0, (), None)
        destroyed = await self._destroying.under(about, root=links[0].jti if links else None)
        took = round((destroyed.last - began) * 1000, 1) if destroyed.last is not None else None
        pending = tuple(f"{grant}: {code}" for grant, code in sorted(destroyed.pending.items()))
        return Outcome(statement.jti, len(destroyed.dead), pending, took)


def _named(about: Subject) -> str:
    return about.short if isinstance(about, Principal) else f"delegation {about.jti}"
