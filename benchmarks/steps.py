"""Steps: one after the other and fifty tasks at once, governed against ungoverned, with and without a credential."""

from __future__ import annotations

import asyncio
import statistics
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from benchmarks import tools
from benchmarks.bench import GOVERNED, Bench
from benchmarks.figures import Measure, Pair, compared
from remit.delegation import Reference

Round = Callable[[bool, int], Awaitable[float]]
"""Governed or not, and how many steps; to milliseconds a step or steps a second."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Args:
        rounds: Pairs of rounds. steps: Steps of the sequential task.
        tasks: Tasks at once, each of `each` steps.
    """

    rounds: int
    steps: int
    tasks: int
    each: int


async def sequential(bench: Bench, activity: str, plan: Plan) -> list[Pair]:
    """Return milliseconds per step, one step after the other."""

    async def one(governed: bool, steps: int) -> float:
        task, reference = f"bench-{uuid.uuid4()}", None
        if governed:
            ((task, reference),) = await bench.references(1)
        handle = await bench.start("bench.Steps", activity, tools.INPUT, steps, task=task, reference=reference)
        taken: list[float] = await handle.result()
        await bench.parts.authority.settled()
        return statistics.median(taken) * 1000

    return await _in_turns(one, plan.rounds, plan.steps)


async def at_once(bench: Bench, activity: str, plan: Plan) -> list[Pair]:
    """Return steps per second of many tasks at once, from the first start to the last end."""

    async def one(governed: bool, steps: int) -> float:
        tasks = [(f"bench-{uuid.uuid4()}", None) for _ in range(plan.tasks)]
        begun = await bench.references(plan.tasks) if governed else tasks

        async def run(task: str, reference: Reference | None) -> None:
            handle = await bench.start("bench.Steps", activity, tools.INPUT, steps, task=task, reference=reference)
            await handle.result()

        began = time.perf_counter()
        await asyncio.gather(*(run(*pair) for pair in begun))
        await bench.parts.authority.settled()
        return plan.tasks * steps / (time.perf_counter() - began)

    return await _in_turns(one, plan.rounds, plan.each)


async def without_credential(bench: Bench, plan: Plan) -> list[Measure]:
    """Compare a governed step that needs no credential with a bare activity."""
    alone = await sequential(bench, tools.PLAIN, plan)
    together = await at_once(bench, tools.PLAIN, plan)
    return [
        compared("sequential", "step without credential", alone, unit="ms", target=1.25, steps=plan.steps),
        compared(
            "throughput",
            f"step without credential, {plan.tasks} tasks at once",
            together,
            unit="/s",
            target=1.35,
            rate=True,
            steps=plan.each,
        ),
    ]


async def with_credential(bench: Bench, plan: Plan) -> list[Measure]:
    """Compare a governed step with a fresh database user with an activity that gets its own by hand."""
    alone = await sequential(bench, tools.QUERY, plan)
    together = await at_once(bench, tools.QUERY, plan)
    return [
        compared(
            "credential",
            "step with a fresh PostgreSQL credential, against one by hand",
            alone,
            unit="ms",
            target=1.3,
            steps=plan.steps,
        ),
        compared(
            "credential-throughput",
            f"the same, {plan.tasks} tasks at once",
            together,
            unit="/s",
            target=1.3,
            rate=True,
            steps=plan.each,
        ),
    ]


async def history(bench: Bench, counts: tuple[int, int] = (5, 25)) -> Measure:
    """Compare the bytes of history a step adds: the difference between a longer and a shorter task."""
    sizes: dict[bool, list[int]] = {True: [], False: []}
    for governed in (True, False):
        for count in counts:
            task, reference = f"bench-{uuid.uuid4()}", None
            if governed:
                ((task, reference),) = await bench.references(1)
            handle = await bench.start("bench.Steps", tools.PLAIN, tools.INPUT, count, task=task, reference=reference)
            await handle.result()
            found = await handle.fetch_history()
            sizes[governed].append(sum(event.ByteSize() for event in found.events))
    steps = counts[1] - counts[0]
    ours, bare = ((sizes[side][1] - sizes[side][0]) / steps for side in (True, False))
    return Measure(
        "history",
        "history of a step without credential",
        "B",
        measured=ours,
        against=bare,
        ratio=ours / bare,
        target=200,
        judged="difference",
        details={"task_queue": GOVERNED},
    )


async def _in_turns(one: Round, rounds: int, steps: int) -> list[Pair]:
    """Run governed and ungoverned rounds in turns, after a short one of each; who begins alternates."""
    await one(True, 2)
    await one(False, 2)
    pairs = []
    for number in range(rounds):
        order = (True, False) if number % 2 == 0 else (False, True)
        taken = {side: await one(side, steps) for side in order}
        pairs.append(Pair(taken[True], taken[False]))
    return pairs
