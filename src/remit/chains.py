"""Chains by reference: loaded, verified, and tied to the execution they were made for.

- Links are immutable and their signatures and narrowing are verified once per digest and anchor; times every time.
- A delegation belongs to the execution it was made for, and to children that execution allowed: a reference copied
  elsewhere opens nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from remit import jose
from remit.chain import Chain, chain_digest, check_time, verify_chain
from remit.delegation import MAX_LINKS, Reference
from remit.delegation import TYP as DELEGATION
from remit.errors import InvalidDocument, NotLive, Refused

if TYPE_CHECKING:
    from remit.delegation import ActionGroups
    from remit.registry import Registry
    from remit.standing import Standing

CACHED = 10_000


class Chains:
    """Loads chains.

    Args:
        audience: The audience every link must carry.
        groups: What each action or group stands under.
        clock: Unix seconds.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        standing: Standing,
        audience: str,
        groups: ActionGroups,
        clock: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._standing = standing
        self._audience = audience
        self._groups = groups
        self._clock = clock
        self._verified: dict[tuple[str, str], Chain] = {}
        self._known: dict[str, Chain] = {}

    def known(self, reference: Reference) -> Chain | None:
        """Return the chain this reference named when it was last verified; whether it still holds, `load` tells."""
        return self._known.get(reference.digest)

    async def load(self, reference: Reference, *, epoch: str, timely: bool = True) -> Chain:
        """Return the verified chain a reference names.

        Args:
            epoch: An epoch read for this question.
            timely: Whether its times must hold now.

        Raises:
            NotLive: The registry does not have it, or it has expired. InvalidDocument: A rule is broken.
        """
        links = await self._registry.links(reference)
        if links is None:
            raise NotLive(
                f"there is no delegation {reference.delegation}",
                status="revoked",
                subject=reference.delegation,
                next_action="Delegate anew and run `remit resume TASK`.",
            )
        root, anchor = await self._standing.signer(jose.peek_kid(links[0], typ=DELEGATION), epoch=epoch)
        key = (reference.digest, anchor.kid)
        chain = self._verified.get(key)
        if chain is None:
            chain = verify_chain(
                links, anchors={root.spiffe_id: anchor}, audience=self._audience, now=None, groups=self._groups
            )
            if len(self._verified) >= CACHED:
                self._verified.clear()
                self._known.clear()
            self._verified[key] = self._known[reference.digest] = chain
        if chain.leaf.jti != reference.delegation:  # a copy under another id, so with a task of its own
            raise InvalidDocument("the delegation is stored under another id", code="chain.reference", rule=15)
        if timely:
            try:
                check_time(chain, int(self._clock()))
            except InvalidDocument as error:
                if error.code != "chain.expired":
                    raise
                # A valid chain whose time is over: what waits for a fresh one must not take it for a broken one.
                raise NotLive(
                    error.message,
                    status="expired",
                    subject=min(chain.links, key=lambda link: link.exp).jti,
                    next_action="Delegate anew and run `remit resume TASK`.",
                ) from None
        return chain

    async def down_to(self, jti: str, *, epoch: str) -> Chain:
        """Return the verified chain down to a delegation, whatever its standing and age.

        Raises:
            Refused: ``delegation.unknown``. InvalidDocument: It breaks a rule. Held: No answer.
        """
        links: list[str] = []
        at: str | None = jti
        while at is not None and len(links) < MAX_LINKS:
            record = await self._registry.delegation(at)
            if record is None:
                raise Refused(
                    f"there is no delegation {at[:64]}",
                    code="delegation.unknown",
                    next_action="List them with: remit delegations",
                )
            links.insert(0, record.jws)
            at = record.parent
        return await self.load(Reference(jti, chain_digest(links)), epoch=epoch, timely=False)

    async def extended(self, links: Sequence[str], *, epoch: str) -> Chain:
        """Return the verified chain of links that are not stored yet, its times checked now."""
        root, anchor = await self._standing.signer(jose.peek_kid(links[0], typ=DELEGATION), epoch=epoch)
        return verify_chain(
            links,
            anchors={root.spiffe_id: anchor},
            audience=self._audience,
            now=int(self._clock()),
            groups=self._groups,
        )

    async def require_bound(self, delegation: str, *, namespace: str, task: str, first_run: str) -> None:
        """Return only if this execution may present the delegation.

        Raises:
            Refused: ``delegation.other-task``.
        """
        if not await self._registry.bind_run(delegation, namespace=namespace, workflow_id=task, first_run_id=first_run):
            raise Refused(
                "this delegation belongs to another execution",
                code="delegation.other-task",
                next_action="Delegate for this task.",
            )
