"""Past: whether a revocation costs more when there were many before it.

- The same revocation of one running task, with few and then with many other delegations and statements about them in
  the registry; nothing else lives. The promise: cost grows with what is live, not with what was.
"""

from __future__ import annotations

import asyncio
import statistics
import time
import uuid

from benchmarks.bench import Bench
from benchmarks.figures import Measure
from benchmarks.stopping import revocations
from remit import jose
from remit.statements import TYP, DelegationSubject, Event, Statement

AT_ONCE = 16
MOST = 1.25
"""Largest ratio that counts as not growing: two medians of the same thing differ by that on a busy machine."""


async def stated(bench: Bench, count: int) -> None:
    """Make so many delegations that are revoked, with signed documents like any other."""
    gate, alice = asyncio.Semaphore(AT_ONCE), bench.alice
    signer = await alice.signer()

    async def one() -> None:
        async with gate:
            reference = await bench.delegate(f"bench-{uuid.uuid4()}")
            statement = Statement(
                jti=str(uuid.uuid4()),
                iss=alice.principal,
                aud=alice.audience,
                iat=int(time.time()),
                subject=DelegationSubject(jti=reference.delegation, iss=alice.principal),
                event=Event.REVOKED,
                reason="benchmark",
            )
            token = await jose.sign(statement.to_claims(), typ=TYP, signer=signer)
            await alice.registry.put_statement(statement.subject, statement.jti, token)

    await asyncio.gather(*(one() for _ in range(count)))


async def measured(bench: Bench, *, few: int, many: int, times: int) -> list[Measure]:
    """Compare the time to the last session's death, from the call, with few and with many statements before."""
    before: dict[int, float] = {}
    returned: dict[int, float] = {}
    done = 0
    for count in (few, many):
        await stated(bench, count - done)
        done = count
        stops = (await revocations(bench, 1, times=times)).stops
        before[count] = statistics.median(max(stop.dead) for stop in stops)
        returned[count] = statistics.median(stop.returned for stop in stops)
    return [
        Measure(
            f"past-{name}",
            f"revoke, {what} with {many} earlier statements, against {few} (median)",
            "ms",
            measured=found[many],
            against=found[few],
            ratio=found[many] / found[few],
            target=MOST,
            details={"revocations": times},
        )
        for name, what, found in (("dead", "session dead", before), ("returned", "returned", returned))
    ]
