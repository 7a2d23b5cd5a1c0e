"""Who this worker is: the agents it may run as, and the proof it gives for each attempt.

- A worker has identity tokens (JWT-SVIDs, Kubernetes tokens) for the authority and for each agent it runs. They come
  from a folder that whoever attests workloads writes, or are issued by a local key (the embedded stack).
- With an agent's token the worker logs in to OpenBao as that agent; only that session may use the agent's key.
- A presentation is signed for every attempt; signatures asked for at the same time share a round trip.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import jwt

from remit import jose
from remit.delegation import TYP as DELEGATION
from remit.delegation import Delegation
from remit.errors import Held, Refused, Usage
from remit.presentation import MAX_LIFETIME, Presentation
from remit.presentation import TYP as PRESENTATION
from remit.principals import Principal
from remit.step import arguments_digest

if TYPE_CHECKING:
    from remit.attempt import Attempt
    from remit.delegation import Reference
    from remit.registry import Registry
    from remit.settings import Settings

AUDIENCE = "openbao"
"""Audience of identity tokens."""
ISSUED_SECONDS = 60
CACHED = 10_000


class Identities(Protocol):
    """Gives the identity token of a workload, ``authority`` or ``agent-<name>``."""

    def token(self, workload: str) -> str:
        """Return a fresh token.

        Raises:
            Refused: ``identity.none`` when this worker has no such identity.
        """
        ...


class IdentityFolder:
    """Tokens in files that somebody else writes and rotates."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def token(self, workload: str) -> str:
        """Read ``<folder>/<workload>.jwt`` now."""
        try:
            return (self._folder / f"{workload}.jwt").read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            raise _none(workload) from None


class IdentityIssuer:
    """Tokens signed here with a local key: the embedded stack's own issuer of workload identities."""

    def __init__(self, key: Path, *, trust_domain: str) -> None:
        try:
            self._key = key.read_bytes()
        except OSError:
            raise Usage(
                f"the identity key {key} cannot be read",
                code="settings.identity",
                next_action="Start the stack with `remit dev`, or set REMIT_IDENTITY_KEY.",
            ) from None
        self._trust_domain = trust_domain

    def token(self, workload: str) -> str:
        """Sign a token for ``spiffe://<trust-domain>/authority`` or ``/agent/<name>``."""
        now = int(time.time())
        path = workload.replace("-", "/", 1) if workload.startswith("agent-") else workload
        claims = {
            "iss": f"spiffe://{self._trust_domain}",
            "sub": f"spiffe://{self._trust_domain}/{path}",
            "aud": AUDIENCE,
            "iat": now,
            "exp": now + ISSUED_SECONDS,
            "jti": str(uuid.uuid4()),
        }
        return jwt.encode(claims, self._key, algorithm="EdDSA")


def identities(settings: Settings, *, trust_domain: str) -> Identities:
    """Return where this worker's identity tokens come from.

    Raises:
        Usage: ``settings.identity`` when the settings name neither a folder nor a key.
    """
    if settings.identity is not None:
        return IdentityFolder(settings.identity)
    if settings.identity_key is not None:
        return IdentityIssuer(settings.identity_key, trust_domain=trust_domain)
    raise Usage(
        "this worker has no identity",
        code="settings.identity",
        next_action="Set REMIT_IDENTITY to the folder of its identity tokens, or start the stack with `remit dev`.",
    )


class Presenter:
    """Presents chains as their leaf agents.

    Args:
        registry: Tells which agent a reference ends at.
        signer_of: Logs in as an agent and returns the signer of its key.
        clock: Unix seconds.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        signer_of: Callable[[Principal], Awaitable[jose.Signer]],
        clock: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._signer_of = signer_of
        self._clock = clock
        self._leaves: dict[Reference, Principal] = {}
        self._signers: dict[Principal, jose.Signer] = {}
        self._logging_in = asyncio.Lock()

    async def present(self, attempt: Attempt) -> str:
        """Return a signed presentation of this attempt.

        Raises:
            Refused: ``identity.none`` when this worker may not run as the leaf agent.
            Held: OpenBao did not answer.
        """
        agent = await self.agent(attempt.reference)
        now = int(self._clock())
        presentation = Presentation(
            jti=str(uuid.uuid4()),
            iss=agent,
            aud=agent.audience,
            iat=now,
            exp=now + MAX_LIFETIME,
            delegation=attempt.reference.delegation,
            digest=attempt.reference.digest,
            workflow=attempt.task,
            run=attempt.run,
            activity=attempt.activity,
            attempt=attempt.attempt,
            arguments=arguments_digest(attempt.call),
        )
        return await jose.sign(presentation.to_claims(), typ=PRESENTATION, signer=await self.signer(agent))

    async def signer(self, agent: Principal) -> jose.Signer:
        """Return the signer of an agent this worker runs as."""
        if agent not in self._signers:
            async with self._logging_in:
                if agent not in self._signers:
                    self._signers[agent] = await self._signer_of(agent)
        return self._signers[agent]

    async def agent(self, reference: Reference) -> Principal:
        """Return the agent a reference ends at, as its own (unverified) claims say; only its key can prove it.

        Raises:
            InvalidDocument: It is no delegation. Held: The registry does not show it.
        """
        if reference not in self._leaves:
            links = await self._registry.links(reference)
            if links is None:
                raise Held(
                    f"the registry does not show delegation {reference.delegation}",
                    code="registry.absent",
                    next_action="Look whether the delegation was stored: `remit delegations`.",
                )
            claimed = Delegation.from_claims(jose.peek_claims(links[-1], typ=DELEGATION))
            if len(self._leaves) >= CACHED:
                self._leaves.clear()
            self._leaves[reference] = claimed.delegate
        return self._leaves[reference]


def _none(workload: str) -> Refused:
    return Refused(
        f"this worker has no identity token for {workload}",
        code="identity.none",
        next_action="Run the step on a worker of that agent, or give this one its identity.",
    )
