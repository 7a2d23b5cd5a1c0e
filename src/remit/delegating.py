"""Delegating: an agent hands something narrower to another, and a waiting task goes on under a fresh delegation.

- A link is stored only after the whole chain with it was verified as any other would be.
- What is refused leaves a record as what was made does; an outage leaves none, for it is asked again.
- Asking twice for the same link for the same task gives the one that exists: a retry makes no second authority. One
  whose time is over is followed by another; one that was stopped is not.
- A link for the execution that asks is bound to it at once: nothing else that ever runs under its id can use it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from remit import jose
from remit.chain import Chain, chain_digest, parent_hash
from remit.chains import CACHED, Chains
from remit.delegation import TYP as DELEGATION
from remit.delegation import Delegation, Reference, Scope, check_grantable
from remit.errors import Denied, Held, Refused, RemitError
from remit.policy import RunContext
from remit.principals import Principal
from remit.statements import Status

if TYPE_CHECKING:
    from remit.audit import AuditLog
    from remit.catalogue import Catalogue
    from remit.policy import PolicyEngine
    from remit.registry import Registry
    from remit.standing import Standing


class Delegating:
    """Makes links below the root."""

    def __init__(
        self,
        *,
        registry: Registry,
        chains: Chains,
        standing: Standing,
        policy: PolicyEngine,
        catalogue: Catalogue,
        audit: AuditLog,
        audience: str,
        spent: Callable[[str], int],
        clock: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._chains = chains
        self._standing = standing
        self._policy = policy
        self._catalogue = catalogue
        self._audit = audit
        self._audience = audience
        self._spent = spent
        self._clock = clock
        self._followed: dict[str, str] = {}
        """The latest of links that followed each other, by the id of the first."""

    async def delegate(
        self,
        *,
        parent: Reference,
        agent: str,
        scope: Scope,
        expires_in: int,
        max_depth: int,
        namespace: str,
        task: str,
        first_run: str,
        child: str,
        signer: jose.Signer,
    ) -> Reference:
        """Make the next link: the leaf agent hands something narrower to another agent, for one task.

        Args:
            expires_in: Seconds; cut to the parent's expiry.
            task, first_run: The execution that asks; it must hold the parent.
            child: Workflow id the new link is for; the task's own, for another agent in the same execution.
            signer: The delegating agent's own key.

        Raises:
            Denied, InvalidDocument, NotLive: Nothing was made.
        """
        told = {"event": "delegated", "namespace": namespace, "task": task, "child": child}
        with self._recorded({**told, "delegation": parent.delegation, "to": agent}):
            epoch = await self._standing.epoch()
            chain = await self._chains.load(parent, epoch=epoch)
            await self._standing.require_live(chain, epoch=epoch)
            await self._chains.require_bound(parent.delegation, namespace=namespace, task=task, first_run=first_run)
            delegate = Principal(self._catalogue.trust_domain, "agent", agent)
            record = await self._registry.principal(delegate)
            if record is None:
                raise Denied(
                    f"there is no agent {agent!r}",
                    code="agent.unknown",
                    next_action=f"Agents are: {', '.join(sorted(self._catalogue.agents))}.",
                )
            now = int(self._clock())
            jti, existing = await self._latest(chain, f"{namespace}/{child}/{agent}/{scope}", epoch=epoch)
            link = Delegation(
                jti=jti,
                iss=chain.agent,
                sub=chain.root,
                aud=self._audience,
                delegate=delegate,
                key=record.key.jwk,
                iat=max(now, chain.leaf.iat),
                nbf=max(now, chain.leaf.nbf),
                exp=min(chain.leaf.exp, now + expires_in),
                depth=chain.leaf.depth + 1,
                max_depth=max_depth,
                par_hash=parent_hash(chain.jws[-1]),
                purpose=chain.leaf.purpose,
                scope=scope,
            )
            check_grantable(link)
            if existing is not None:
                await self._bind(existing, namespace=namespace, task=task, first_run=first_run, child=child)
                return existing.reference
            run = RunContext(now=now, step=0, attempt=1, spent=self._spent(chain.leaf.jti), cost=0)
            verdict = self._policy.may_delegate(chain=chain, child=link, run=run)
            if verdict.decision != "permit":
                raise Denied(
                    f"{chain.agent.short} may not delegate this to {delegate.short}",
                    code="delegation.denied",
                    policies=verdict.policies,
                    next_action="Delegate less: actions, spaces, budget, expiry and depth may only shrink.",
                )
            token = await jose.sign(link.to_claims(), typ=DELEGATION, signer=signer)
            made = await self._chains.extended([*chain.jws, token], epoch=epoch)
            await self._registry.put_delegation(
                token, jti=link.jti, parent=chain.leaf.jti, namespace=namespace, workflow_id=child
            )
            self._audit.append(
                {
                    **told,
                    "root": made.root.spiffe_id,
                    "by": chain.agent.spiffe_id,
                    "agent": made.agent.spiffe_id,
                    "chain": list(made.ids),
                    "digest": made.digest,
                }
            )
            await self._bind(made, namespace=namespace, task=task, first_run=first_run, child=child)
            return made.reference

    async def _latest(self, chain: Chain, name: str, *, epoch: str) -> tuple[str, Chain | None]:
        """Return the id of the link that counts now, and the chain with it if it was made."""
        first = str(uuid.uuid5(uuid.UUID(chain.leaf.jti), name))
        jti = self._followed.get(first, first)
        while (found := await self._registry.delegation(jti)) is not None:
            reference = Reference(jti, chain_digest([*chain.jws, found.jws]))
            made = await self._chains.load(reference, epoch=epoch, timely=False)
            if made.leaf.exp > self._clock():
                return jti, made
            points = {point.subject: point.status for point in await self._standing.of(made, epoch=epoch)}
            if points[jti] is not Status.EXPIRED:
                raise Denied(
                    f"the delegation that this one would follow is {points[jti].value}",
                    code="delegation.stopped",
                    next_action="Delegate anew and run `remit resume TASK`.",
                )
            jti = str(uuid.uuid5(uuid.UUID(jti), name))
            while len(self._followed) >= CACHED:
                self._followed.pop(next(iter(self._followed)))
            self._followed[first] = jti
        return jti, None

    async def _bind(self, made: Chain, *, namespace: str, task: str, first_run: str, child: str) -> None:
        """Bind a link for the execution that asks to it, before anything else can run under its id."""
        if child == task:
            await self._chains.require_bound(made.leaf.jti, namespace=namespace, task=task, first_run=first_run)

    async def adopt(self, *, namespace: str, task: str, first_run: str, old: Reference, new: Reference) -> None:
        """Let a waiting task go on under a fresh delegation: the same human, agent and purpose, made for this task.

        Raises:
            Refused: ``resume.not-waiting``, ``resume.different`` or any reason the fresh chain is no authority now.
        """
        told = {"event": "resumed", "namespace": namespace, "task": task, "replaces": old.delegation}
        with self._recorded({**told, "delegation": new.delegation}):
            epoch = await self._standing.epoch()
            before = await self._chains.load(old, epoch=epoch, timely=False)
            if all(point.status is Status.LIVE for point in await self._standing.of(before, epoch=epoch)):
                raise Refused(
                    "this task does not wait for a delegation: the one it has is live",
                    code="resume.not-waiting",
                    next_action="Revoke or suspend it first, or let it expire.",
                )
            after = await self._chains.load(new, epoch=epoch)
            await self._standing.require_live(after, epoch=epoch)
            if (before.root, before.agent, before.leaf.purpose) != (after.root, after.agent, after.leaf.purpose):
                raise Refused(
                    "a task resumes only for the same human, agent and purpose",
                    code="resume.different",
                    next_action="Delegate the same job anew.",
                )
            run = RunContext(now=int(self._clock()), step=0, attempt=1, spent=0, cost=0)
            verdict = self._policy.may_resume(chain=after, owner=before.root, run=run)
            if verdict.decision != "permit":
                raise Denied("policy does not let this task resume", code="resume.denied", policies=verdict.policies)
            await self._chains.require_bound(new.delegation, namespace=namespace, task=task, first_run=first_run)
            self._audit.append(
                {
                    **told,
                    "root": after.root.spiffe_id,
                    "agent": after.agent.spiffe_id,
                    "chain": list(after.ids),
                    "digest": after.digest,
                }
            )

    async def allow(self, reference: Reference, *, namespace: str, task: str, first_run: str, child: str) -> None:
        """Let the execution `child` present the same delegation; `task` must be one that holds it."""
        told = {"event": "allowed", "namespace": namespace, "task": task, "child": child}
        told |= {"delegation": reference.delegation}
        with self._recorded(told):
            epoch = await self._standing.epoch()
            chain = await self._chains.load(reference, epoch=epoch)
            await self._standing.require_live(chain, epoch=epoch)
            await self._chains.require_bound(reference.delegation, namespace=namespace, task=task, first_run=first_run)
            await self._registry.allow_task(reference.delegation, workflow_id=child)
            self._audit.append(told)

    @contextmanager
    def _recorded(self, told: Mapping[str, str]) -> Iterator[None]:
        """Record it when the block is refused."""
        try:
            yield
        except Held:
            raise
        except RemitError as error:
            self._audit.append({**told, "outcome": "refused", "code": error.code, "message": error.message})
            raise
