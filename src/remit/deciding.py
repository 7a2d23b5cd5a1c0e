"""Deciding: Cedar's verdict on one attempt, with the approvals that hold.

- Cedar is asked as things stand. When a person is needed, the approvals given are verified and Cedar is asked again.
- The request a person sees and the binding their approval carries are made from the call itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from remit.errors import Denied, NeedsApproval, RemitError
from remit.policy import Approvals
from remit.step import binding, request_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from remit.approvals import Approval
    from remit.approving import Approving
    from remit.attempt import Attempt
    from remit.chain import Chain
    from remit.policy import PolicyEngine, RunContext
    from remit.recording import AttemptRecord
    from remit.verdict import Verdict

NOBODY = Approvals(0, frozenset())


class Deciding:
    """Asks Cedar about attempts."""

    def __init__(self, policy: PolicyEngine, approving: Approving) -> None:
        self._policy = policy
        self._approving = approving

    async def decide(
        self, attempt: Attempt, *, chain: Chain, run: RunContext, epoch: str, record: AttemptRecord
    ) -> tuple[Verdict, tuple[Approval, ...]]:
        """Return a permit and the approvals it rests on.

        Raises:
            Denied: Policy says no. NeedsApproval: A person must decide first. Rejected: A person said no.
            Held: An approver's standing could not be read.
        """
        call = attempt.call
        verdict = self._policy.decide(chain=chain, call=call, run=run, approvals=NOBODY)
        approvals: tuple[Approval, ...] = ()
        refused: tuple[RemitError, ...] = ()
        bound = request = ""
        if verdict.decision == "needs-approval":
            bound = binding(task=attempt.task, run=attempt.first_run, delegation=chain.leaf.jti, call=call)
            request = request_id(bound, attempt.step)
            record.note(verdict=verdict.decision, policies=list(verdict.policies))
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
