"""Approving: which of the decisions that were sent count for a step.

- A decision counts by its signature, for exactly this request and binding, within its time.
- Its signer must be live and not have been revoked since, must not be the root human nor anyone in the chain, nor hold
  a key of it, and Cedar must permit `approve` now.
- Approvers are distinct by principal and by key; one person counts once.
- An approval is consumed in the registry for one step of one run before anything is minted.
- A rejection is recorded in the registry before it is acknowledged: no reset of the workflow undoes it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from remit import jose
from remit.approvals import TYP as APPROVAL
from remit.approvals import Approval, check, distinct, rejection
from remit.attempt import Admission
from remit.delegation import TYP as DELEGATION
from remit.errors import Held, InvalidDocument, NotLive, Refused, Rejected, RemitError
from remit.policy import Approvals
from remit.principals import Principal
from remit.statements import Status

if TYPE_CHECKING:
    from remit.attempt import Attempt
    from remit.audit import AuditLog
    from remit.chain import Chain
    from remit.policy import PolicyEngine
    from remit.registry import Registry
    from remit.standing import Standing

MOST = 16
"""Most decisions looked at for one attempt."""


@dataclass(frozen=True, slots=True)
class Approved:
    """A decision that holds, with the key it was signed by and as it was signed."""

    approval: Approval
    kid: str
    jws: str


class Approving:
    """Verifies, counts and consumes approvals."""

    def __init__(
        self,
        *,
        registry: Registry,
        policy: PolicyEngine,
        standing: Standing,
        audit: AuditLog,
        audience: str,
        clock: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._policy = policy
        self._standing = standing
        self._audit = audit
        self._audience = audience
        self._clock = clock

    async def verify(
        self, token: str, *, request: str, bound: str, approvers: Sequence[str], chain: Chain, epoch: str
    ) -> Approved:
        """Return the decision if it counts for this request.

        Raises:
            InvalidDocument, NotLive, Refused: It does not count, and why.
        """
        signer, key = await self._standing.signer(jose.peek_kid(token, typ=APPROVAL), epoch=epoch)
        approval = Approval.from_claims(jose.verify(token, typ=APPROVAL, key=key))
        if approval.iss != signer:
            raise InvalidDocument("the approval is not its signer's", code="approval.issuer")
        if not bound:
            raise InvalidDocument("no step of this task waits for this decision", code="approval.no-request")
        if key.kid in _keys(chain):
            raise InvalidDocument("the approver's key is part of the task", code="approval.four-eyes")
        check(
            approval,
            request=request,
            binding=bound,
            audience=self._audience,
            root=chain.root,
            principals=chain.principals,
            now=int(self._clock()),
        )
        status = await self._standing.spoke(signer, at=approval.iat, epoch=epoch)
        if status is not Status.LIVE:
            raise NotLive(
                f"{signer.short} is {status.value}, or was after it decided",
                status=status.value,
                subject=signer.spiffe_id,
            )
        verdict = self._policy.may_approve(approver=signer, requester=chain.root, approvers=approvers)
        if verdict.decision != "permit":
            raise Refused(
                f"{signer.short} may not approve this",
                code="approval.not-permitted",
                next_action=f"Approvers are: {', '.join(approvers) or 'nobody'}.",
            )
        return Approved(approval, key.kid, token)

    async def admit(
        self,
        token: str,
        *,
        request: Mapping[str, Any],
        chain: Awaitable[Chain],
        place: Mapping[str, str],
        epoch: str,
    ) -> Admission:
        """Tell whether a decision somebody sent counts for a waiting request; consumes nothing.

        Args:
            request: What `NeedsApproval` said. chain: The task's, once it is loaded.
            place: For the record: namespace, task and delegation.

        Raises:
            Held: The registry did not answer.
        """
        told = {"event": "decision", **place, "request": request.get("request")}
        try:
            one = await self.verify(
                token,
                request=str(request["request"]),
                bound=str(request["binding"]),
                approvers=tuple(request["approvers"]),
                chain=await chain,
                epoch=epoch,
            )
        except Held:
            raise
        except RemitError as error:
            self._audit.append({**told, "outcome": "refused", "code": error.code, "message": error.message})
            return Admission(accepted=False, code=error.code, message=error.message)
        decision, approver = one.approval.decision, one.approval.iss.spiffe_id
        if decision == "reject":
            await self._registry.decisions.reject(
                token, request=one.approval.request, binding=one.approval.binding, by=approver
            )
        self._audit.append({**told, "outcome": decision, "approval": one.approval.jti, "by": approver})
        return Admission(accepted=True, decision=decision, approver=approver)

    async def given(
        self,
        attempt: Attempt,
        *,
        request: str,
        bound: str,
        approvers: Sequence[str],
        chain: Chain,
        epoch: str,
    ) -> tuple[tuple[Approved, ...], tuple[RemitError, ...]]:
        """Return the approvals of an attempt that hold, one per person and key, and why others do not.

        Raises:
            Rejected: One of them is a valid no, or there was one before; a no wins over any yes.
        """
        if (by := await self._registry.decisions.rejected_by(request, binding=bound)) is not None:
            raise Rejected(f"{Principal.parse(by).short} rejected {attempt.call.action} on {attempt.call.resource}")
        held: list[Approved] = []
        refused: list[RemitError] = []
        for token in attempt.approvals[:MOST]:
            try:
                held.append(
                    await self.verify(
                        token, request=request, bound=bound, approvers=approvers, chain=chain, epoch=epoch
                    )
                )
            except Held:
                raise
            except RemitError as error:
                refused.append(error)
        no = rejection(one.approval for one in held)
        if no is not None:
            raise Rejected(
                f"{no.iss.short} rejected {attempt.call.action} on {attempt.call.resource}",
                next_action=no.reason or "",
            )
        counting = distinct([(one.approval, one.kid) for one in held])
        return tuple(one for one in held if any(one.approval is counted for counted in counting)), tuple(refused)

    def counted(self, approvals: Sequence[Approved]) -> Approvals:
        """Return what Cedar is told of them: how many people, and their roles."""
        roles = frozenset(role for one in approvals for role in self._policy.roles_of(one.approval.iss))
        return Approvals(len(approvals), roles)

    async def consume(self, approvals: Sequence[Approved], *, attempt: Attempt) -> None:
        """Use the approvals up for this step of this run; a retry of the same step may use them again.

        Raises:
            Refused: ``approval.used`` when another step or run has used one.
        """
        for one in approvals:
            approval = one.approval
            if not await self._registry.decisions.use(
                one.jws, jti=approval.jti, binding=approval.binding, run=attempt.run, step=attempt.step
            ):
                raise Refused(
                    f"the approval by {approval.iss.short} was already used by another step or run",
                    code="approval.used",
                    next_action="Ask for a new approval.",
                )


def _keys(chain: Chain) -> frozenset[str]:
    """Return the ids of the keys that signed a chain, and of the one that may sign its next link."""
    return frozenset({chain.key.kid, *(jose.peek_kid(token, typ=DELEGATION) for token in chain.jws)})
