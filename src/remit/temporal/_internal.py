"""The plugin's own local activities: what a workflow may ask the authority.

- They run only as local activities, started by our own interceptor; nobody can call them by name.
- Which execution asks is Temporal's word: the first run that is named is checked against it.
- A refusal is an answer, recorded in the history and the same on replay; an outage is retried until it is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from temporalio import activity

from remit.attempt import Unasked
from remit.chain import Chain
from remit.delegation import Reference, Scope
from remit.errors import Denied, Held, NotLive, RemitError
from remit.mapping import Handover, Mapping
from remit.standing import Standpoint
from remit.statements import Status
from remit.temporal import _names as names
from remit.temporal._failure import kind_of, to_application_error
from remit.temporal._parts import Authority, Presenter, Seals
from remit.temporal._runs import Runs

Answer = dict[str, Any]
_T = TypeVar("_T")
_PATIENCE = 60.0
"""Seconds that a task which ended waits for its evidence to be signed."""
_PAUSE = 1.0
_LONGEST_NAME = 200
_WORST_FIRST = (Status.REVOKED, Status.EXPIRED, Status.SUSPENDED)


class Internal:
    """The local activities of one worker.

    Args:
        mapping: Says what other agents and children are handed; None: nothing.
    """

    def __init__(
        self, authority: Authority, presenter: Presenter, *, runs: Runs, mapping: Mapping | None = None
    ) -> None:
        self._authority = authority
        self._presenter = presenter
        self._runs = runs
        self._mapping = mapping

    @property
    def activities(self) -> list[Callable[..., Any]]:
        """What to register."""
        return [self.status, self.admit, self.adopt, self.allow, self.delegate, self.hand, self.seal, self.inline]

    @activity.defn(name=names.STATUS)
    async def status(self, delegation: str, digest: str) -> Answer:
        """Tell where a chain stands; one that cannot be verified carries no authority."""
        try:
            chain, points = await self._authority.describe(Reference(delegation, digest))
        except Held as error:
            raise to_application_error(error) from None
        except RemitError as error:
            status = error.status if isinstance(error, NotLive) else Status.REVOKED.value
            return {"status": status, "subject": delegation, "message": error.message, "code": error.code}
        return _standing(chain, points)

    @activity.defn(name=names.ADMIT)
    async def admit(self, token: str, request: dict[str, Any], chain: list[str]) -> Answer:
        """Tell whether a decision counts for a waiting request."""
        info = activity.info()

        async def ask() -> Answer:
            admission = await self._authority.admit(
                token,
                request=request,
                reference=Reference(*chain),
                namespace=info.namespace,
                task=info.workflow_id or "",
            )
            return {name: getattr(admission, name) for name in admission.__slots__}

        return await _answer(ask())

    @activity.defn(name=names.ADOPT)
    async def adopt(self, first_run: str, old: list[str], new: list[str]) -> Answer:
        """Let this execution go on under a fresh delegation."""
        info = activity.info()

        async def ask() -> Answer:
            await self._require(info, first_run)
            await self._authority.delegating.adopt(
                namespace=info.namespace,
                task=info.workflow_id or "",
                first_run=first_run,
                old=Reference(*old),
                new=Reference(*new),
            )
            return {"accepted": True}

        return await _answer(ask())

    @activity.defn(name=names.ALLOW)
    async def allow(self, first_run: str, chain: list[str], child: str) -> Answer:
        """Let a child use this execution's delegation."""

        async def ask() -> Answer:
            await self._allow(first_run, Reference(*chain), child)
            return {"accepted": True}

        return await _answer(ask())

    @activity.defn(name=names.DELEGATE)
    async def delegate(self, first_run: str, parent: list[str], child: str, wanted: dict[str, Any]) -> Answer:
        """Make the next link, signed by the agent this execution acts as."""
        scope = Scope(tuple(wanted["actions"]), tuple(wanted["spaces"]), wanted["budget"])

        async def ask() -> Answer:
            return await self._made(
                first_run,
                Reference(*parent),
                child,
                agent=wanted["agent"],
                scope=scope,
                expires_in=wanted["expires_in"],
                max_depth=wanted.get("max_depth"),
                below=wanted.get("below", 0),
            )

        return await _answer(ask())

    @activity.defn(name=names.HAND)
    async def hand(self, first_run: str, parent: list[str], child: str, kind: str, name: str) -> Answer:
        """Hand on what the mapping says: a link for `child`, or the same delegation.

        Args:
            kind: ``agents`` or ``children``. name: A framework's agent, or a workflow type.
        """
        info, reference = activity.info(), Reference(*parent)

        async def ask() -> Answer:
            try:
                found = _handover(self._mapping, kind, name)
            except Denied as error:
                await self._authority.refuse(_asked(info, name, reference), error)
                raise
            if found.agent is not None:
                return await self._made(
                    first_run,
                    reference,
                    child,
                    agent=found.agent,
                    scope=found.scope,
                    expires_in=found.expires_in,
                    below=found.max_depth,
                )
            if child != info.workflow_id:
                await self._allow(first_run, reference, child)
            return {"accepted": True, "share": True}

        return await _answer(ask())

    @activity.defn(name=names.SEAL)
    async def seal(self) -> Answer:
        """Have what was recorded so far signed; what is answered stands in this execution's history."""
        if not isinstance(self._authority, Seals):
            return {}
        try:
            sealed = await _within(_PATIENCE, self._authority.seal)
        except RemitError as error:
            raise to_application_error(error) from None
        return dict(sealed or {})

    @activity.defn(name=names.INLINE)
    async def inline(self, tool: str, arguments: dict[str, Any]) -> None:
        """Do nothing: that this ran is the decision about a call that runs inside the workflow."""

    async def _allow(self, first_run: str, reference: Reference, child: str) -> None:
        info = activity.info()
        await self._require(info, first_run)
        await self._authority.delegating.allow(
            reference, namespace=info.namespace, task=info.workflow_id or "", first_run=first_run, child=child
        )

    async def _made(
        self,
        first_run: str,
        reference: Reference,
        child: str,
        *,
        agent: str,
        scope: Scope,
        expires_in: int,
        max_depth: int | None = None,
        below: int = 0,
    ) -> Answer:
        """Make a link; without a deepest one that is allowed, so many may follow below it."""
        info = activity.info()
        await self._require(info, first_run)
        chain, _ = await self._authority.describe(reference)
        made = await self._authority.delegating.delegate(
            parent=reference,
            agent=agent,
            scope=scope,
            expires_in=expires_in,
            max_depth=chain.leaf.depth + 1 + below if max_depth is None else max_depth,
            namespace=info.namespace,
            task=info.workflow_id or "",
            first_run=first_run,
            child=child,
            signer=await self._presenter.signer(chain.agent),
        )
        until = (await self._authority.describe(made))[0].expires_at
        told = {"delegation": made.delegation, "digest": made.digest, "expires_at": until}
        return {"accepted": True, "agent": agent, **told}

    async def _require(self, info: activity.Info, first_run: str) -> None:
        await self._runs.require(task=info.workflow_id or "", run=info.workflow_run_id or "", first_run=first_run)


def _asked(info: activity.Info, name: str, reference: Reference) -> Unasked:
    """Return what is recorded of a handover that nothing allows."""
    return Unasked(
        namespace=info.namespace,
        activity=info.activity_id,
        attempt=info.attempt,
        tool=name[:_LONGEST_NAME],
        task=info.workflow_id,
        run=info.workflow_run_id,
        delegation=reference.delegation,
    )


def _handover(mapping: Mapping | None, kind: str, name: str) -> Handover:
    found = None if mapping is None else mapping.agent(name) if kind == names.AGENTS else mapping.child(name)
    if found is not None:
        return found
    if kind == names.AGENTS:
        raise Denied(
            f"the agent {name!r} is not mapped, so nothing can be handed to it",
            code="agent.unmapped",
            next_action=f'Say in the mapping what it gets, under [agents."{name}"].',
        )
    raise Denied(
        f"the child workflow {name!r} is not mapped, so nothing can be handed to it",
        code="child.unmapped",
        next_action=f'Say in the mapping what it gets, under [children."{name}"], or list the type as ungoverned.',
    )


async def _within(seconds: float, ask: Callable[[], Awaitable[_T]]) -> _T:
    """Return an answer; ask again as long as there is none."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while True:
        try:
            async with asyncio.timeout_at(until):
                return await ask()
        except TimeoutError:
            raise Held("the evidence is not signed in time", code="audit.unsealed") from None
        except Held:
            if loop.time() + _PAUSE > until:
                raise
        await asyncio.sleep(_PAUSE)


async def _answer(asked: Awaitable[Answer]) -> Answer:
    try:
        return await asked
    except Held as error:
        raise to_application_error(error) from None
    except RemitError as error:
        return {"accepted": False, "remit": kind_of(error), **error.facts()}


def _standing(chain: Chain, points: Sequence[Standpoint]) -> Answer:
    """Return where a whole chain stands: as badly as the worst of its delegations and principals."""
    statuses = {point.subject: point.status for point in points}
    worst = next(
        ((status, point.subject) for status in _WORST_FIRST for point in points if point.status is status),
        (Status.LIVE, ""),
    )
    return {
        "status": worst[0].value,
        "subject": worst[1],
        "message": "" if worst[0] is Status.LIVE else f"{worst[1]} is {worst[0].value}",
        "root": chain.root.spiffe_id,
        "agent": chain.agent.spiffe_id,
        "purpose": chain.leaf.purpose,
        "expires_at": chain.expires_at,
        "links": [
            {
                "delegation": link.jti,
                "from": link.iss.spiffe_id,
                "to": link.delegate.spiffe_id,
                "status": statuses.get(link.jti, Status.REVOKED).value,
                "expires_at": datetime.fromtimestamp(link.exp, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
            for link in chain.links
        ],
    }
