"""The authority: verifies, decides, mints and records. One interface, so that it can run apart from agent code.

One attempt, top to bottom (`authorize`):

1. the chain: loaded by reference, verified once per digest, its times every time;
2. its standing, and the presenter's proof that it is the leaf agent, in one round trip;
3. the execution it may be used by;
4. Cedar, for the agent and for the root human, with the approvals that hold;
5. budget; 6. approvals consumed; 7. the fenced mint; 8. a step that may happen once is claimed; 9. the audit record,
   before the tool runs.

Whatever is raised has its audit record; nothing is kept that a failed attempt reserved or minted.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from remit.approving import Approving
from remit.attempt import Admission, Attempt, Grant, Unasked
from remit.audit import AuditLog
from remit.catalogue import Service
from remit.chain import Chain
from remit.chains import Chains
from remit.credentials import Mint
from remit.credentials.lease import Occasion
from remit.deciding import Deciding
from remit.delegating import Delegating
from remit.delegation import Reference, Scope
from remit.doing import Doing
from remit.errors import Refused, RemitError
from remit.proving import require_presenter, require_time, unproven
from remit.recording import AttemptRecord, outcome_of, record_refusal
from remit.running import Running
from remit.standing import Standing, Standpoint
from remit.step import arguments_digest
from remit.telemetry import span

if TYPE_CHECKING:
    from remit.catalogue import Catalogue, CredentialProfile
    from remit.ledger import Ledger
    from remit.policy import PolicyEngine
    from remit.registry import Registry
    from remit.sealing import Sealing


class Authority:
    """Answers for every attempt.

    Args:
        registry: Documents, statements, consumed approvals, live leases.
        policy: The Cedar engine.
        catalogue: Credential profiles and the trust domain.
        mint: The fenced mint.
        ledger: Budgets.
        audit: Where records go. sealing: Signs how far they go.
        clock: Unix seconds.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        policy: PolicyEngine,
        catalogue: Catalogue,
        mint: Mint,
        ledger: Ledger,
        audit: AuditLog,
        sealing: Sealing,
        clock: Callable[[], float],
    ) -> None:
        self._policy = policy
        self._catalogue = catalogue
        self._mint = mint
        self._ledger = ledger
        self._audit = audit
        self._sealing = sealing
        self._clock = clock
        self.audience = f"remit:{catalogue.trust_domain}"
        self.standing = Standing(
            registry,
            audience=self.audience,
            stops=policy.stops,
            clock=clock,
        )
        self._chains = Chains(
            registry, standing=self.standing, audience=self.audience, groups=policy.groups, clock=clock
        )
        self.delegating = Delegating(
            registry=registry,
            chains=self._chains,
            standing=self.standing,
            policy=policy,
            catalogue=catalogue,
            audit=audit,
            audience=self.audience,
            spent=ledger.spent,
            clock=clock,
        )
        self._approving = Approving(
            registry=registry, policy=policy, standing=self.standing, audit=audit, audience=self.audience, clock=clock
        )
        self._deciding = Deciding(policy, self._approving, spent=ledger.spent, clock=clock)
        self._doing = Doing(registry.documents, clock=clock)
        self._running = Running(standing=self.standing, mint=mint, ledger=ledger, clock=clock)

    async def authorize(self, attempt: Attempt, presentation: Awaitable[str]) -> Grant:
        """Decide one attempt and mint its credential.

        Args:
            presentation: The presenter's proof, awaited while the standing is read.

        Raises:
            InvalidDocument, NotLive, Denied, NeedsApproval, Rejected, OverBudget: A final no for this attempt.
            Held: Something needed did not answer; try again.
        """
        record = AttemptRecord(attempt, audit=self._audit, policy_set=self._policy.digest, clock=self._clock)
        with span("remit.authorize", task=attempt.task, step=attempt.step, attempt=attempt.attempt):
            try:
                return await self._authorize(attempt, presentation, record)
            except RemitError as error:
                record.write(outcome_of(error), error=error)
                raise
            except BaseException as error:
                record.write("failed", code=type(error).__name__)
                raise

    async def _authorize(self, attempt: Attempt, presentation: Awaitable[str], record: AttemptRecord) -> Grant:
        record.note(arguments=(arguments := arguments_digest(attempt.call)))
        with span("remit.verify", delegation=attempt.reference.delegation):
            reading = asyncio.gather(self.standing.epoch(), presentation, return_exceptions=True)
            foreseen = await self._deciding.foresee(attempt, chain=self._chains.known(attempt.reference))
            epoch, proof = await reading
            if isinstance(epoch, BaseException):
                raise epoch
            if isinstance(proof, BaseException) and not isinstance(proof, Refused):
                raise proof
            chain = await self._chains.load(attempt.reference, epoch=epoch)
            record.note(
                root=chain.root.spiffe_id, agent=chain.agent.spiffe_id, chain=list(chain.ids), digest=chain.digest
            )
            await self.standing.require_live(chain, epoch=epoch)
            if isinstance(proof, Refused):
                raise unproven(proof)  # only now: who is stopped may have lost its key too, and that is not the reason
            now = self._clock()
            require_presenter(proof, attempt=attempt, chain=chain, arguments=arguments, audience=self.audience, now=now)
            require_time(chain, now=now)
            await self._chains.require_bound(
                attempt.reference.delegation,
                namespace=attempt.namespace,
                task=attempt.task,
                first_run=attempt.first_run,
            )
        profile = self._profile(attempt.credential)
        with span("remit.decide", action=attempt.call.action, resource=attempt.call.resource):
            verdict, approvals = await self._deciding.decide(
                attempt, chain=chain, epoch=epoch, record=record, foreseen=foreseen
            )
        reservation = await self._ledger.reserve(
            [(link.jti, link.scope.budget) for link in chain.links], root=chain.ids[0], cost=attempt.cost
        )
        grant = str(uuid.uuid4())
        lease = None
        try:
            await self._approving.consume(approvals, attempt=attempt)
            if profile is not None:
                with span("remit.mint", profile=profile.name):
                    lease = await self._mint.mint(
                        profile,
                        occasion=self._occasion(grant, attempt),
                        chain=chain,
                        longest=min(profile.ttl, verdict.ttl or profile.ttl),
                        require_live=lambda: self.standing.require_live(chain),
                    )
            record.note(
                grant=grant,
                approvals=[{"id": one.approval.jti, "by": one.approval.iss.spiffe_id} for one in approvals],
                lease=lease.evidence if lease else None,
            )
            async with self._doing.claimed(attempt, arguments=arguments) if attempt.once else nullcontext():
                record.write("permitted")
        except BaseException:
            await self._running.undo(grant, reservation=reservation, lease=lease)
            raise
        self._running.begin(grant, chain=chain, reservation=reservation, record=record, lease=lease)
        credential = lease.credential if lease else None
        return Grant(
            id=grant,
            attempt=attempt,
            root=chain.root.spiffe_id,
            agent=chain.agent.spiffe_id,
            chain=chain.ids,
            verdict=verdict,
            expires_at=chain.expires_at,
            credential=credential,
            lease=lease.evidence if lease else None,
            secrets=credential.secrets if credential else (),
        )

    async def release(self, grant: Grant, *, outcome: str, code: str | None = None) -> None:
        """End a grant: destroy its lease, settle its budget, record how it went; its login is ended behind.

        Never raises: what cannot be destroyed now stays recorded, is tried again, and dies by its TTL.

        Args:
            outcome: ``ok``, ``error``, ``cancelled`` or ``stopped``.
            code: A stable code or exception type name, when there is one.
        """
        await self._running.release(grant, outcome=outcome, code=code)

    async def watch(self, grant: Grant) -> None:
        """Look whether a running grant's chain is still live, and keep its lease alive while it is.

        Raises:
            NotLive: It is not: stop the tool. Held: It cannot be known now.
        """
        await self._running.watch(grant)

    async def describe(self, reference: Reference) -> tuple[Chain, tuple[Standpoint, ...]]:
        """Return a chain and the standing of every link and principal of it, whether its times hold or not."""
        epoch = await self.standing.epoch()
        chain = await self._chains.load(reference, epoch=epoch, timely=False)
        return chain, await self.standing.of(chain, epoch=epoch)

    async def admit(
        self, token: str, *, request: Mapping[str, Any], reference: Reference, namespace: str, task: str
    ) -> Admission:
        """Tell whether a decision somebody sent counts for a waiting request; consumes nothing."""
        epoch = await self.standing.epoch()
        place = {"namespace": namespace, "task": task, "delegation": reference.delegation}
        chain = self._chains.load(reference, epoch=epoch)
        return await self._approving.admit(token, request=request, chain=chain, place=place, epoch=epoch)

    async def refuse(self, attempt: Unasked, error: BaseException) -> None:
        """Record an attempt that ended before it could be asked about."""
        record_refusal(attempt, error, audit=self._audit)

    async def seal(self) -> Mapping[str, Any] | None:
        """Have what was recorded so far signed; return the last head, None when there is nothing.

        Raises:
            Held, Refused: It is not signed now; it will be tried again.
        """
        return await self._sealing.seal()

    async def settled(self) -> None:
        """Return when the logins of all grants released so far are ended, or known to be pending."""
        await self._running.settled()

    async def retry_pending(self) -> int:
        """Try again to destroy what could not be destroyed; return how many are still pending."""
        return await self._running.retry_pending()

    async def close(self) -> None:
        """Destroy what is still held, give back unused budget, close and seal the audit log."""
        await self._running.close()
        await self._ledger.close()
        self._audit.close()
        await self._sealing.close()

    def _profile(self, name: str | None) -> CredentialProfile | None:
        if name is None:
            return None
        profile = self._catalogue.credentials.get(name)
        if profile is None:
            raise Refused(
                f"the catalogue has no credential profile {name!r}",
                code="credential.unknown",
                next_action=f"Profiles are: {', '.join(sorted(self._catalogue.credentials))}.",
            )
        return profile

    def _occasion(self, grant: str, attempt: Attempt) -> Occasion:
        _, touched = self._catalogue.resources[attempt.call.resource]  # Cedar has permitted it, so it is there
        return Occasion(
            grant=grant,
            task=attempt.task,
            run=attempt.run,
            step=attempt.step,
            attempt=attempt.attempt,
            service=touched.audience if isinstance(touched, Service) else "",
            scope=Scope((attempt.call.action,), (touched.space,), attempt.cost),
        )
