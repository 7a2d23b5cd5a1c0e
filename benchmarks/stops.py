"""Stops: what a number of revocations comes to. Pure.

- A percentile over revocations is over the last of each: the last session to die, the last activity to end, the last
  task to close. Over all of them it is softer; both are given.
- From the command's return what happened before it counts as nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.figures import Measure, percentile

PROMPT = 100.0
"""Milliseconds after the command's return within which sessions are dead and activities are cancelled."""
ALL_STOPPED = 10_000.0


@dataclass(frozen=True, slots=True)
class Stop:
    """One revocation, in milliseconds from its call.

    Args:
        returned: When the command came back. dead: Each session. cancelled: Each running activity.
        closed: Each task: when Temporal recorded its end.
        document: What the command said.
    """

    returned: float
    dead: Sequence[float]
    cancelled: Sequence[float]
    closed: Sequence[float]
    document: dict[str, Any]

    def late(self, times: Sequence[float]) -> list[float]:
        """Return how long after the command's return."""
        return [max(0.0, one - self.returned) for one in times]


def measures(tasks: int, stops: Sequence[Stop]) -> list[Measure]:
    """Return the figures of revocations that stopped this many running tasks each."""
    many = f"revoke, {tasks} running task{'s' if tasks > 1 else ''}"

    def made(name: str, what: str, values: Sequence[float], target: float | None = None) -> Measure:
        return Measure(
            f"revoke-{tasks}-{name}",
            f"{many}: {what}",
            "ms",
            measured=percentile(values, 0.99),
            target=target,
            judged="measured",
            details={
                "p50": round(percentile(values, 0.5), 1),
                "p99": round(percentile(values, 0.99), 1),
                "max": round(max(values), 1),
                "count": len(values),
                "revocations": len(stops),
            },
        )

    found = [
        made("returned", "the command returned", [stop.returned for stop in stops]),
        made("dead-from-call", "last session dead, from the call", [max(stop.dead) for stop in stops]),
        made("dead", "last session dead, from the return", [max(stop.late(stop.dead)) for stop in stops], PROMPT),
        made("cancelled-from-call", "last activity cancelled, from the call", [max(stop.cancelled) for stop in stops]),
        made(
            "cancelled",
            "last activity cancelled, from the return",
            [max(stop.late(stop.cancelled)) for stop in stops],
            PROMPT,
        ),
        made("all", "all tasks closed, from the call", [max(stop.closed) for stop in stops], ALL_STOPPED),
    ]
    if tasks > 1:
        found += [
            made("every-dead-from-call", "every session", [one for stop in stops for one in stop.dead]),
            made("every-cancelled-from-call", "every activity", [one for stop in stops for one in stop.cancelled]),
            made("every-all", "every task", [one for stop in stops for one in stop.closed]),
        ]
    return found


def broken(tasks: int, what: str, *, waited: float) -> Measure:
    """Return the line of a revocation whose tasks did not all begin, or did not all stop: the promise is not met."""
    title = f"revoke, {tasks} running tasks: ended early, {what}"
    return Measure(f"revoke-{tasks}-broken", title, "ms", measured=waited, target=ALL_STOPPED, judged="measured")
