"""Deciding: Cedar's verdict on one attempt, with the approvals that hold.

- Cedar is asked as things stand. When a person is needed, the approvals given are verified and Cedar is asked again.
- The request a person sees and the binding their approval carries are made from the call itself.
- The first question may be put while what else the attempt needs is on its way from OpenBao. Its answer counts only
  if chain and moment turn out to be exactly those it was asked with; otherwise it is asked again.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from remit.errors import Denied, NeedsApproval, RemitError
from remit.policy import Approvals, RunContext
from remit.step import binding, request_id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from remit.approving import Approved, Approving
    from remit.attempt import Attempt
    from remit.chain import Chain
    from remit.policy import PolicyEngine
    from remit.recording import AttemptRecord
    from remit.verdict import Verdict

NOBODY = Approvals(0, frozenset())
_TURNS = 3
"""Turns of the event loop until requests that were just begun are sent; fewer only means that less time is won."""


@dataclass(frozen=True, slots=True)
class Foreseen:
    """Cedar's answer to the first question about an attempt, with what it was asked about."""

    chain: Chain
    run: RunContext
    verdict: Verdict


class Deciding:
    """Asks Cedar about attempts.

    Args:
        spent: What was spent under a delegation so far.
        clock: Unix seconds.
    """

    def __init__(
        self,
        policy: PolicyEngine,
        approving: Approving,
        *,
        spent: Callable[[str], int],
        clock: Callable[[], float],
    ) -> None:
        self._policy = policy
        self._approving = approving
        self._spent = spent
        self._clock = clock

    async def foresee(self, attempt: Attempt, *, chain: Chain | None) -> Foreseen | None:
        """Ask Cedar as things seem to stand, once requests begun just before are on their way.

        Args:
            chain: The chain the attempt will probably turn out to have; None when nobody knows.
        """
        if chain is None:
            return None
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        run = self._moment(attempt, chain)
        return Foreseen(chain, run, self._policy.decide(chain=chain, call=attempt.call, run=run, approvals=NOBODY))

    async def decide(
        self, attempt: Attempt, *, chain: Chain, epoch: str, record: AttemptRecord, foreseen: Foreseen | None
    ) -> tuple[Verdict, tuple[Approved, ...]]:
        """Return a permit and the approvals it rests on.

        Args:
            chain: The chain, verified and live.
            foreseen: An answer to the first question, given before that was known.

        Raises:
            Denied: Policy says no. NeedsApproval: A person must decide first. Rejected: A person said no.
            Held: An approver's standing could not be read.
        """
        call, run = attempt.call, self._moment(attempt, chain)
        if foreseen is not None and foreseen.chain is chain and foreseen.run == run:
            verdict = foreseen.verdict
        else:
            verdict = self._policy.decide(chain=chain, call=call, run=run, approvals=NOBODY)
        approvals: tuple[Approved, ...] = ()
        refused: tuple[RemitError, ...] = ()
        bound = request = ""
        if verdict.decision == "needs-approval":
            bound = binding(task=attempt.task, run=attempt.first_run, delegation=chain.leaf.jti, call=call)
            request = request_id(bound, attempt.step)
            record.note(verdict=verdict.decision, policies=list(verdict.policies), request=request, binding=bound)
            approvals, refused = await self._approving.given(
                attempt, request=request, bound=bound, approvers=verdict.approvers, chain=chain, epoch=epoch
            )
            if approvals:
                counted = self._approving.counted(approvals)
                verdict = self._policy.decide(chain=chain, call=call, run=run, approvals=counted)
        record.note(verdict=verdict.decision, policies=list(verdict.policies))
        if verdict.errors:
            record.note(errors=list(verdict.errors))
        if verdict.decision == "permit":
            return verdict, approvals
        if verdict.decision == "needs-approval":
            raise _needed(attempt, verdict, request=request, bound=bound, refused=refused)
        raise Denied(
            verdict.reason or f"policy denies {call.action} on {call.resource}",
            policies=verdict.policies,
            next_action="`remit explain` names the policies; what is delegated bounds what an agent may do.",
        )

    def _moment(self, attempt: Attempt, chain: Chain) -> RunContext:
        return RunContext(
            now=int(self._clock()),
            step=attempt.step,
            attempt=attempt.attempt,
            spent=self._spent(chain.ids[-1]),
            cost=attempt.cost,
        )


def _needed(
    attempt: Attempt, verdict: Verdict, *, request: str, bound: str, refused: Sequence[RemitError]
) -> NeedsApproval:
    call = attempt.call
    return NeedsApproval(
        f"{call.action} on {call.resource} needs approval by {', '.join(verdict.approvers)}",
        request={
            "request": request,
            "binding": bound,
            "action": call.action,
            "resource": call.resource,
            "input": dict(call.input),
            "approvers": list(verdict.approvers),
            "policies": list(verdict.policies),
            "wait": verdict.wait,
            "refused": [{"code": error.code, "message": error.message} for error in refused],
        },
        next_action="Somebody with one of these roles runs `remit approve`.",
    )
