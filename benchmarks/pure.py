"""What needs no server: verifying chains of several lengths, and deciding with many policies."""

from __future__ import annotations

import asyncio
import shutil
import time
import uuid
from functools import partial
from pathlib import Path
from typing import Any, cast

from benchmarks.figures import Measure, median_of
from remit import jose
from remit.chain import Chain, chain_digest, parent_hash, verify_chain
from remit.chains import Chains
from remit.delegation import TYP, ActionGroups, Delegation, Reference, Scope
from remit.jose import LocalSigner, PublicKey
from remit.policy import Approvals, PolicyEngine, RunContext
from remit.policy.source import Source
from remit.principals import Principal
from remit.step import Call

DOMAIN = "remit.local"
AUDIENCE = f"remit:{DOMAIN}"
ALICE = Principal(DOMAIN, "user", "alice")
LENGTHS = (1, 2, 4, 8)
POLICY_COUNTS = (10, 100, 1000)
CALL = Call(action="dataset:query", resource="flights", input={"dataset": "flights", "limit": 10})


async def signed(agents: list[str], human: LocalSigner) -> tuple[str, ...]:
    """Return a signed chain from alice down these agents."""
    now, delegator, key = int(time.time()), ALICE, human
    links: list[str] = []
    for depth, name in enumerate(agents):
        holder = LocalSigner.generate()
        link = Delegation(
            jti=str(uuid.uuid4()),
            iss=delegator,
            sub=ALICE,
            aud=AUDIENCE,
            delegate=Principal(DOMAIN, "agent", name),
            key=holder.key.jwk,
            iat=now,
            nbf=now,
            exp=now + 3600,
            depth=depth,
            max_depth=7,
            par_hash=parent_hash(links[-1]) if links else None,
            purpose="delay-review",
            scope=Scope(("read",), ("flights",), 1_000_000),
        )
        links.append(await jose.sign(link.to_claims(), typ=TYP, signer=key))
        delegator, key = link.delegate, holder
    return tuple(links)


class _Known:
    """The registry and the standing of one chain, in memory."""

    def __init__(self, links: tuple[str, ...], key: PublicKey) -> None:
        self._links, self._key = links, key

    async def links(self, reference: Reference) -> tuple[str, ...]:
        return self._links

    async def signer(self, kid: str, *, epoch: str) -> tuple[Principal, PublicKey]:
        return ALICE, self._key


def verification(groups: ActionGroups, *, times: int) -> list[Measure]:
    """Measure verifying chains the first time, per link, and again from the cache."""
    human = LocalSigner.generate()
    measures = []
    for length in LENGTHS:
        links = asyncio.run(signed([f"agent-{number}" for number in range(length)], human))
        known: Any = _Known(links, human.key)
        reference = Reference(verified(links, human.key, groups).leaf.jti, chain_digest(links))
        chains = Chains(known, standing=known, audience=AUDIENCE, groups=groups, clock=time.time)
        first = median_of(partial(verified, links, human.key, groups), clock=time.perf_counter, times=times)
        again = asyncio.run(_cached(chains, reference, times))
        measures.append(
            Measure(
                f"chain-{length}",
                f"verifying a chain of {length}, per link",
                "ms",
                measured=first * 1000 / length,
                target=0.2,
                judged="measured",
                details={"cached_ms": round(again * 1000, 5), "whole_ms": round(first * 1000, 4)},
            )
        )
    cached = max(cast(float, one.details["cached_ms"]) for one in measures)
    measures.append(Measure("chain-cached", "a verified chain of any length again", "ms", measured=cached))
    return measures


def verified(links: tuple[str, ...], key: PublicKey, groups: ActionGroups) -> Chain:
    """Verify a chain from nothing."""
    return verify_chain(links, anchors={ALICE.spiffe_id: key}, audience=AUDIENCE, now=int(time.time()), groups=groups)


async def _cached(chains: Chains, reference: Reference, times: int) -> float:
    await chains.load(reference, epoch="1")
    began = time.perf_counter()
    for _ in range(times):
        await chains.load(reference, epoch="1")
    return (time.perf_counter() - began) / times


def decisions(policies: Path, folder: Path, *, times: int) -> list[Measure]:
    """Measure deciding one permitted call, both principals asked, with few and many policies.

    Half of what is added bears on the call, the rest is about other actions. ``worst_ms`` is with all of it bearing.

    Args:
        policies: The folder whose schema, catalogue and policies are used.
        folder: A new one.
    """
    human = LocalSigner.generate()
    links = asyncio.run(signed(["flight-analyst"], human))
    measures = []
    for count in POLICY_COUNTS:
        engines = [_engine(policies, folder / f"{count}-{name}", count, shapes) for name, shapes in _SHAPES.items()]
        mixed, worst = (_decision(engine, links, human.key, times) * 1000 for engine in engines)
        measures.append(
            Measure(
                f"decision-{count}",
                f"a decision with {count} policies",
                "ms",
                measured=mixed,
                target=0.3 if count == 100 else None,
                judged="measured",
                details={"worst_ms": round(worst, 4)},
            )
        )
    return measures


def _engine(policies: Path, folder: Path, count: int, shapes: tuple[str, ...]) -> PolicyEngine:
    """Return an engine of exactly so many policies: the folder's own, or those of them the call needs, and more."""
    shutil.copytree(policies, folder)
    own = [one.text for one in Source.read(policies).statements()]
    if len(own) > count:
        own = [text for text in own if any(f'@id("{name}")' in text for name in _NEEDED)]
    for path in folder.glob("*.cedar"):
        path.unlink()
    added = [shapes[number % len(shapes)].format(number=number) for number in range(count - len(own))]
    (folder / "bench.cedar").write_text("\n".join([*own, *added]), encoding="utf-8")
    return PolicyEngine.load(folder)


def _decision(engine: PolicyEngine, links: tuple[str, ...], key: PublicKey, times: int) -> float:
    chain = verified(links, key, engine.groups)
    run = RunContext(now=int(time.time()), step=1, attempt=1, spent=0, cost=1)

    def decide() -> None:
        verdict = engine.decide(chain=chain, call=CALL, run=run, approvals=Approvals(0, frozenset()))
        if verdict.decision != "permit":
            raise RuntimeError(verdict.reason)

    decide()
    return median_of(decide, clock=time.perf_counter, times=times, each=5)


_NEEDED = (
    "tenant-isolation",
    "quarantine",
    "live-delegation",
    "own-delegation",
    "delegated-scope",
    "purpose",
    "budget",
    "people-use-what-they-belong-to",
    "analysts-read",
)
"""The policies every reading of a dataset goes by."""

_FORBID = """@id("bench-{number}") forbid (principal, action in Action::"tool", resource)
when {{ context.run.cost > 1000000 + {number} }};"""
_SHAPES = {
    "mixed": (
        _FORBID,
        """@id("bench-{number}") permit (
  principal is Agent in Role::"writer", action == Action::"report:publish", resource == Dataset::"reports"
) when {{ resource.classification <= principal.clearance && context.run.step > {number} }};""",
        """@id("bench-{number}") permit (
  principal is Agent in Role::"analyst", action in Action::"read", resource == Dataset::"payroll"
) when {{ resource.classification <= principal.clearance && context.run.step > {number} }};""",
        """@id("bench-{number}") permit (
  principal is Agent, action == Action::"http:request", resource == Service::"status-page"
) when {{ resource.classification <= principal.clearance && context.run.step > {number} }};""",
    ),
    "worst": (_FORBID,),
}
