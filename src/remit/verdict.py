"""Verdict: what Cedar says to one call, and which policies said it.

- Three answers: permit, needs-approval, deny. Whatever is unclear is a deny.
- The policies named are those that decided: the permits, the forbids a person may lift, or the forbids nobody lifts.
- Approvers and wait only route; nothing here widens what the decision says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Decision = Literal["permit", "needs-approval", "deny"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One decision.

    Args:
        decision: The answer.
        policies: Ids of the policies that decided; empty on a deny means that nothing permits.
        approvers: Roles to ask, when an approval is needed.
        wait: Seconds to wait for them at most, the shortest any policy names; None: no policy names one.
        ttl: Seconds a credential may live, the shortest any permit names; None: no permit names one.
        errors: What went wrong in evaluation; never empty without a deny.
        reason: One line for people.
    """

    decision: Decision
    policies: tuple[str, ...] = ()
    approvers: tuple[str, ...] = ()
    wait: int | None = None
    ttl: int | None = None
    errors: tuple[str, ...] = ()
    reason: str = ""

    @property
    def permitted(self) -> bool:
        """Whether the call may be made as things stand."""
        return self.decision == "permit"


def deny(reason: str, *, policies: tuple[str, ...] = (), errors: tuple[str, ...] = ()) -> Verdict:
    """Return a deny."""
    return Verdict("deny", policies=policies, errors=errors, reason=reason)
