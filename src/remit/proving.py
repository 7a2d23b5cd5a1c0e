"""Proving: what an attempt shows besides a chain that is live. Pure.

- Its presenter is the chain's leaf agent and means exactly this attempt; a proof fits no other.
- The chain lasts long enough for the attempt to begin.
- An agent that OpenBao locks out holds the attempt: it is locked out when it is stopped, and let in a moment after it
  is reinstated. A worker that is not that agent's refuses it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from remit import jose
from remit.errors import Held, NotLive, Refused, RemitError
from remit.presentation import TYP, Presentation, check

if TYPE_CHECKING:
    from remit.attempt import Attempt
    from remit.chain import Chain

MARGIN_SECONDS = 5.0
"""What a chain must have left for an attempt to begin; of a short-lived one a tenth of its life."""

_LOCKED = frozenset({"vault.login", "vault.forbidden", "transit.rejected"})
"""What OpenBao answers to an agent whose entity is disabled or whose key is deleted."""


def require_presenter(proof: str, *, attempt: Attempt, chain: Chain, arguments: str, audience: str, now: float) -> None:
    """Return only if the leaf agent's key signed this attempt.

    Args:
        proof: Compact JWS. arguments: Digest of the call. audience: ``remit:<trust-domain>``. now: Seconds.

    Raises:
        InvalidDocument: It did not.
    """
    check(
        Presentation.from_claims(jose.verify(proof, typ=TYP, key=chain.key)),
        agent=chain.agent,
        audience=audience,
        reference=chain.reference,
        workflow=attempt.task,
        run=attempt.run,
        activity=attempt.activity,
        attempt=attempt.attempt,
        arguments=arguments,
        now=int(now),
    )


def require_time(chain: Chain, *, now: float) -> None:
    """Return only if the chain lasts long enough for an attempt to begin.

    Raises:
        NotLive: ``chain.expiring``.
    """
    first = min(chain.links, key=lambda link: link.exp)
    left = first.exp - now
    if left < min(MARGIN_SECONDS, (first.exp - first.iat) / 10):
        raise NotLive(
            f"delegation {first.jti} expires in {max(0, int(left))} s: too soon to begin a step",
            status="expiring",
            subject=first.jti,
            next_action="Delegate anew and run `remit resume TASK`.",
        )


def unproven(refusal: Refused) -> RemitError:
    """Return what it means that the leaf agent could not prove who it is although its chain is live."""
    if refusal.code not in _LOCKED:
        return refusal
    return Held(
        f"the agent cannot prove who it is: {refusal.message}",
        code=refusal.code,
        next_action="Look at its entity and key in OpenBao, or run `remit bootstrap`.",
    )
