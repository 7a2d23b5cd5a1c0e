"""Stopping: from `remit revoke` to the death of the last database session, seen by PostgreSQL's superuser."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from dataclasses import dataclass, field

from benchmarks import tools
from benchmarks.bench import Bench
from benchmarks.figures import Measure, percentile
from remit.client.stopping import state
from remit.embedded import Stack
from remit.statements import Event

POLL = 0.001
READY = 60.0
GONE = 30.0


@dataclass(slots=True)
class Sessions:
    """Watches the sessions of one delegation's users from a thread; times are `time.perf_counter`."""

    stack: Stack
    delegation: str
    seen: set[str] = field(default_factory=set)
    died: dict[str, float] = field(default_factory=dict)
    _end: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        """Look again and again until told to end."""
        query = "SELECT DISTINCT usename::text FROM pg_stat_activity WHERE usename LIKE %s"
        with self.stack.postgres.connect("flights", autocommit=True) as admin:
            while not self._end.is_set():
                alive = {row[0] for row in admin.execute(query, (f"d-{self.delegation}-%",))}
                now = time.perf_counter()
                for user in self.seen - alive - self.died.keys():
                    self.died[user] = now
                self.seen |= alive
                time.sleep(POLL)

    def end(self) -> None:
        """Stop looking."""
        self._end.set()


@dataclass(frozen=True, slots=True)
class Stop:
    """One revocation, in milliseconds from its call.

    Args:
        returned: When the command came back. dead: Each session. cancelled: Each running activity.
    """

    returned: float
    dead: list[float]
    cancelled: list[float]


async def stopped(bench: Bench, tasks: int) -> Stop:
    """Run tasks under one delegation, each holding a session; revoke it and see how they end."""
    task = f"bench-{uuid.uuid4()}"
    reference = await bench.delegate(task)
    tools.HELD.running.clear()
    tools.HELD.ended.clear()
    sessions = Sessions(bench.stack, reference.delegation)
    loop = asyncio.get_running_loop()
    watching = loop.run_in_executor(None, sessions.watch)
    try:
        handle = await bench.start("bench.Fan", tools.HOLD, tools.INPUT, tasks - 1, task=task, reference=reference)
        await _until(lambda: len(tools.HELD.running) == tasks and len(sessions.seen) == tasks, READY)
        began = time.perf_counter()
        await state(bench.alice, reference.delegation, Event.REVOKED, "benchmark")
        returned = time.perf_counter()
        await _until(lambda: len(tools.HELD.ended) == tasks and len(sessions.died) == tasks, GONE)
    finally:
        sessions.end()
        await watching
    await asyncio.gather(handle.result(), return_exceptions=True)
    return Stop(
        (returned - began) * 1000,
        [(at - began) * 1000 for at in sessions.died.values()],
        [(at - began) * 1000 for at in tools.HELD.ended.values()],
    )


async def measured(bench: Bench, tasks: int, *, repeats: int) -> list[Measure]:
    """Return when sessions and activities end, p99 over all of them.

    Args:
        tasks: Running under the delegation.
        repeats: Revocations.
    """
    await stopped(bench, 1)
    stops = [await stopped(bench, tasks) for _ in range(repeats)]
    dead = [one for stop in stops for one in stop.dead]
    after = [max(0.0, max(stop.dead) - stop.returned) for stop in stops]
    cancelled = [one for stop in stops for one in stop.cancelled]
    returned = [stop.returned for stop in stops]
    many = f"{tasks} running task{'s' if tasks > 1 else ''}"
    return [
        Measure(
            f"revoke-{tasks}-dead",
            f"revoke, {many}: database session dead, from the call (p99)",
            "ms",
            measured=percentile(dead, 0.99),
            details={"p50": round(percentile(dead, 0.5), 1), "returned_p50": round(percentile(returned, 0.5), 1)},
        ),
        Measure(
            f"revoke-{tasks}-after",
            f"revoke, {many}: last session dead after it returned (p99)",
            "ms",
            measured=percentile(after, 0.99),
            target=100,
            judged="measured",
        ),
        Measure(
            f"revoke-{tasks}-cancelled",
            f"revoke, {many}: running activity cancelled, from the call (p99)",
            "ms",
            measured=percentile(cancelled, 0.99),
            target=100 if tasks == 1 else 10_000 if tasks >= 200 else None,
            judged="measured",
            details={"p50": round(percentile(cancelled, 0.5), 1)},
        ),
    ]


async def _until(done: object, seconds: float) -> None:
    until = time.perf_counter() + seconds
    while not done():  # type: ignore[operator]
        if time.perf_counter() > until:
            raise TimeoutError("the tasks did not get there")
        await asyncio.sleep(0.002)
