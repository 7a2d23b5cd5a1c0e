"""Presentation: proof that the leaf agent itself asks, for one attempt (rule 15), and the tokens that follow.

- A presentation lives at most 60 seconds and names delegation, chain, workflow, run, activity, attempt, arguments.
- A step token is what the authority logs in to OpenBao with: at most 10 seconds, one attempt, one credential role.
- An access token goes to one service: the human is ``sub``, the agents nest in ``act``, at most 120 seconds.

RFC 8693 section 4.1 (``act``), RFC 9068 (``at+jwt``), RFC 9396 (``authorization_details``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hmac import compare_digest
from typing import Any

from remit.claims import SKEW, Claims
from remit.delegation import Reference, Scope
from remit.errors import InvalidDocument
from remit.principals import Principal

TYP = "presentation+jwt"
STEP_TYP = "step+jwt"
ACCESS_TYP = "at+jwt"

MAX_LIFETIME = 60
MAX_STEP_LIFETIME = 10
MAX_ACCESS_LIFETIME = 120
"""Seconds, each."""

_MAX_ID = 1000  # characters; Temporal's own limit for workflow and activity ids
_REQUIRED = frozenset(
    {"iss", "aud", "jti", "iat", "exp", "delegation", "digest", "workflow", "run", "activity", "attempt"}
    | {"arguments"}
)


@dataclass(frozen=True, slots=True)
class Presentation:
    """The claims of ``presentation+jwt``.

    Args:
        jti: Its id, a UUID.
        iss: The agent.
        aud: ``remit:<trust-domain>``.
        iat: Issued, seconds.
        exp: Expires, seconds.
        delegation: The leaf's ``jti``.
        digest: The chain's digest.
        workflow: Workflow id.
        run: Run id.
        activity: Activity id.
        attempt: From 1 up.
        arguments: `remit.step.arguments_digest` of the call.
    """

    jti: str
    iss: Principal
    aud: str
    iat: int
    exp: int
    delegation: str
    digest: str
    workflow: str
    run: str
    activity: str
    attempt: int
    arguments: str

    def to_claims(self) -> dict[str, Any]:
        """Return the claims to sign."""
        return {
            "iss": self.iss.spiffe_id,
            "aud": self.aud,
            "jti": self.jti,
            "iat": self.iat,
            "exp": self.exp,
            "delegation": self.delegation,
            "digest": self.digest,
            "workflow": self.workflow,
            "run": self.run,
            "activity": self.activity,
            "attempt": self.attempt,
            "arguments": self.arguments,
        }

    @classmethod
    def from_claims(cls, claims: object) -> Presentation:
        """Read verified claims.

        Raises:
            InvalidDocument: ``presentation.claims`` or ``presentation.time``.
        """
        read = Claims(claims, document="presentation", required=_REQUIRED)
        return cls(
            jti=read.uuid("jti"),
            iss=read.principal("iss"),
            aud=read.text("aud"),
            iat=read.time("iat"),
            exp=read.time("exp"),
            delegation=read.uuid("delegation"),
            digest=read.digest("digest"),
            workflow=read.text("workflow", most=_MAX_ID),
            run=read.text("run", most=_MAX_ID),
            activity=read.text("activity", most=_MAX_ID),
            attempt=read.number("attempt"),
            arguments=read.digest("arguments"),
        )


def check(
    presentation: Presentation,
    *,
    agent: Principal,
    audience: str,
    reference: Reference,
    workflow: str,
    run: str,
    activity: str,
    attempt: int,
    arguments: str,
    now: int,
) -> None:
    """Check rule 15: the leaf agent presents this chain for this attempt and these arguments, now.

    Args:
        presentation: Verified with the leaf's key.
        agent: The leaf's delegate.
        audience: ``remit:<trust-domain>``.
        reference: The verified chain's.
        workflow: Workflow id of the attempt.
        run: Its run id.
        activity: Its activity id.
        attempt: Its number.
        arguments: Digest of its call.
        now: Seconds.

    Raises:
        InvalidDocument: ``presentation.agent``, ``presentation.audience``, ``presentation.not-yet``,
            ``presentation.expired``, ``presentation.lifetime``, ``presentation.chain``,
            ``presentation.attempt`` or ``presentation.arguments``.
    """
    if presentation.iss != agent:
        raise _broken("agent", "the presenter is not the agent this chain ends at")
    if presentation.aud != audience:
        raise _broken("audience", "the presentation is meant for another audience")
    if presentation.iat > now + SKEW:
        raise _broken("not-yet", "the presentation is dated in the future")
    if presentation.exp <= now - SKEW:
        raise _broken("expired", "the presentation has expired")
    if not presentation.iat < presentation.exp <= presentation.iat + MAX_LIFETIME:
        raise _broken("lifetime", f"a presentation lasts at most {MAX_LIFETIME} seconds")
    if Reference(presentation.delegation, presentation.digest) != reference:
        raise _broken("chain", "the presentation is for another chain")
    shown = (presentation.workflow, presentation.run, presentation.activity, presentation.attempt)
    if shown != (workflow, run, activity, attempt):
        raise _broken("attempt", "the presentation is for another attempt")
    if not compare_digest(presentation.arguments, arguments):
        raise _broken("arguments", "the presentation is for other arguments")


def step_token_claims(
    *,
    jti: str,
    issuer: str,
    audience: str,
    now: int,
    root: str,
    delegation: str,
    chain: str,
    human: Principal,
    agent: Principal,
    task: str,
    step: int,
    attempt: int,
    role: str,
) -> dict[str, Any]:
    """Return the claims of a step token. OpenBao's role reads them, so numbers are strings and ``typ`` is repeated.

    Args:
        jti: A UUID.
        issuer: Who signs: the authority.
        audience: OpenBao's bound audience.
        now: Seconds.
        root: The root delegation's id; OpenBao keeps one entity for each.
        delegation: The leaf's id.
        chain: The chain's digest.
        human: The root human.
        agent: The leaf agent.
        task: Workflow id.
        step: Number of the step.
        attempt: Number of the attempt.
        role: Credential role; names the step's OpenBao policy.
    """
    return {
        "typ": "step",
        "iss": issuer,
        "aud": audience,
        "sub": root,
        "jti": jti,
        "iat": now,
        "exp": now + MAX_STEP_LIFETIME,
        "root": root,
        "delegation": delegation,
        "chain": chain,
        "principal": human.name,
        "act": {"sub": agent.spiffe_id},
        "task": task,
        "step": str(step),
        "attempt": str(attempt),
        "dbrole": role,
    }


def access_token_claims(
    *,
    jti: str,
    issuer: str,
    audience: str,
    now: int,
    expires_at: int,
    human: Principal,
    agents: Sequence[Principal],
    scope: Scope,
    task: str,
) -> dict[str, Any]:
    """Return the claims of an access token for one service.

    Args:
        jti: A UUID.
        issuer: Who signs: the authority.
        audience: The one service.
        now: Seconds.
        expires_at: When the chain expires; the token ends no later.
        human: The root human.
        agents: The chain's delegates, root first; the last one acts.
        scope: What the token is good for.
        task: Workflow id, as ``txn``.

    Raises:
        InvalidDocument: ``chain.expired`` when the chain has no time left.
    """
    if expires_at <= now:
        raise InvalidDocument("the chain has expired", code="chain.expired", rule=9)
    act: dict[str, Any] = {}
    for agent in agents:
        act = {"sub": agent.spiffe_id, "act": act} if act else {"sub": agent.spiffe_id}
    return {
        "iss": issuer,
        "aud": audience,
        "sub": human.spiffe_id,
        "client_id": agents[-1].spiffe_id,
        "act": act,
        "jti": jti,
        "iat": now,
        "exp": min(expires_at, now + MAX_ACCESS_LIFETIME),
        "authorization_details": scope.to_details(),
        "txn": task,
    }


def _broken(kind: str, message: str) -> InvalidDocument:
    return InvalidDocument(message, code=f"presentation.{kind}", rule=15)
