"""Stopping: from `remit revoke` to the death of the last database session, seen by PostgreSQL's superuser."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Callable
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
    try:
        stops = [await stopped(bench, tasks) for _ in range(repeats)]
    except TimeoutError:
        return [_unmeasured(tasks)]
    many = f"revoke, {tasks} running task{'s' if tasks > 1 else ''}"
    dead = [one for stop in stops for one in stop.dead]
    cancelled = [one for stop in stops for one in stop.cancelled]
    everything = [max(*stop.dead, *stop.cancelled) for stop in stops]
    return [
        Measure(
            f"revoke-{tasks}-dead-from-call",
            f"{many}: database session dead, from the call (p99)",
            "ms",
            measured=percentile(dead, 0.99),
            details={"p50": round(percentile(dead, 0.5), 1), "count": len(dead)},
        ),
        Measure(
            f"revoke-{tasks}-cancelled-from-call",
            f"{many}: activity cancelled, from the call (p99)",
            "ms",
            measured=percentile(cancelled, 0.99),
            details={"p50": round(percentile(cancelled, 0.5), 1), "count": len(cancelled)},
        ),
        _late(f"revoke-{tasks}-dead", f"{many}: database session dead after it returned (p99)", stops),
        _late(f"revoke-{tasks}-cancelled", f"{many}: activity cancelled after it returned (p99)", stops),
        Measure(
            f"revoke-{tasks}-all",
            f"{many}: everything ended, from the call (median)",
            "ms",
            measured=percentile(everything, 0.5),
            target=10_000 if tasks >= 200 else None,
            judged="measured",
            details={"returned_p50": round(percentile((stop.returned for stop in stops), 0.5), 1)},
        ),
    ]


def _unmeasured(tasks: int) -> Measure:
    title = f"revoke, {tasks} running tasks: they did not all begin or end in time on this machine"
    return Measure(f"revoke-{tasks}-all", title, "ms", measured=(READY + GONE) * 1000, target=10_000, judged="measured")


def _late(name: str, title: str, stops: list[Stop]) -> Measure:
    """Return how long after the command returned the slowest of these ended; nothing when it was before."""
    pick = "dead" if name.endswith("dead") else "cancelled"
    late = [max(0.0, one - stop.returned) for stop in stops for one in getattr(stop, pick)]
    return Measure(
        name,
        title,
        "ms",
        measured=percentile(late, 0.99),
        target=100,
        judged="measured",
        details={"p50": round(percentile(late, 0.5), 1), "count": len(late)},
    )


async def _until(done: Callable[[], bool], seconds: float) -> None:
    until = time.perf_counter() + seconds
    while not done():
        if time.perf_counter() > until:
            raise TimeoutError("the tasks did not get there")
        await asyncio.sleep(0.002)
