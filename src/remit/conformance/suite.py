"""The suite: plays the scenarios against one governor and gives each a verdict.

- Held, violated or not supported: what a governor lacks is never counted as kept.
- Scenarios are played at the same time, each with tasks of its own, on one worker.
- An adapter that raises where it may not, or work that is not done under a live grant, is a violation.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum

from temporalio.client import Client

from remit.conformance.flows import FLOWS
from remit.conformance.governor import Adapter, Governor, Work
from remit.conformance.recorder import Recorder
from remit.conformance.scenario import Scenario
from remit.conformance.scenarios import SCENARIOS
from remit.conformance.tools import Tools
from remit.conformance.trial import NotDone, Trial, Violated

Make = Callable[[Governor, Scenario, int], Trial]
"""From a governor, a scenario and how often it is played now to a trial of its own."""

BOUND = 10.0
"""Seconds after a revocation until which a running activity may still show signs of life."""
PATIENCE = 60.0
"""Seconds allowed work may take to be done."""
_THREADS = 100
_TIMES = 2
"""How often a scenario is played while its allowed work is not done: a busy server may lose a task on its way."""


class Verdict(StrEnum):
    """What a scenario came to."""

    HELD = "held"
    VIOLATED = "violated"
    NOT_SUPPORTED = "not supported"


@dataclass(frozen=True, slots=True)
class Result:
    """One scenario's verdict.

    Args:
        scenario, promise: Which one.
        verdict: What it came to.
        observations: What was seen, in order; of a violation the last says which.
        last: Seconds from the revocation's return to the last sign of life of an activity; None when there was none.
        seconds: How long the scenario took.
    """

    scenario: str
    promise: str
    verdict: Verdict
    observations: tuple[str, ...] = ()
    last: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Report:
    """All verdicts about one governor; `bound` in seconds."""

    governor: str
    bound: float
    results: tuple[Result, ...]

    @property
    def held(self) -> bool:
        """Whether every scenario held."""
        return bool(self.results) and all(one.verdict is Verdict.HELD for one in self.results)

    def of(self, verdict: Verdict) -> list[str]:
        """Return the scenarios with this verdict."""
        return [one.scenario for one in self.results if one.verdict is verdict]


async def run(
    adapter: Adapter,
    *,
    address: str = "localhost:7233",
    namespace: str = "default",
    only: Sequence[str] = (),
    bound: float = BOUND,
    patience: float = PATIENCE,
) -> Report:
    """Play scenarios against a governor.

    Args:
        adapter: Opens it.
        address, namespace: Where Temporal is.
        only: Scenario ids; none: all.
        bound, patience: Seconds; see `BOUND` and `PATIENCE`.

    Raises:
        KeyError: An unknown scenario. RuntimeError: Temporal does not answer. Also what the adapter raises on opening.
    """
    chosen = [SCENARIOS[name] for name in only] or list(SCENARIOS.values())
    client = await Client.connect(address, namespace=namespace)
    recorder = Recorder()
    session = f"conformance{uuid.uuid4().hex[:8]}"
    with ThreadPoolExecutor(_THREADS, thread_name_prefix=session) as executor:
        activities = Tools(recorder).activities

        def work(queue: str) -> Work:
            return Work(queue, FLOWS, activities, executor)

        def trial(governor: Governor, scenario: Scenario, number: int) -> Trial:
            return Trial(
                governor=governor,
                client=client,
                recorder=recorder,
                work=work,
                queue=session,
                name=f"{session}-{scenario.id}-{number}",
                bound=bound,
                patience=patience,
            )

        async with adapter(address, namespace) as governor:
            async with governor.worker(work(session)):
                try:
                    results = await asyncio.gather(*(_judge(one, governor, trial) for one in chosen))
                finally:
                    recorder.close()  # or the worker would wait for what still runs
            return Report(governor.name, bound, tuple(results))


async def _judge(scenario: Scenario, governor: Governor, trial_of: Make) -> Result:
    if lacking := scenario.needs - governor.capabilities:
        said = f"it has no {', '.join(sorted(lacking))}"
        return Result(scenario.id, scenario.promise, Verdict.NOT_SUPPORTED, (said,))
    began, notes = time.monotonic(), list[str]()
    for number in range(1, _TIMES + 1):
        trial = trial_of(governor, scenario, number)
        verdict, again = await _played(scenario, trial)
        notes += trial.observations
        if not again:
            break
    last = None if trial.last is None else round(trial.last, 3)
    took = round(time.monotonic() - began, 1)
    return Result(scenario.id, scenario.promise, verdict, tuple(notes), last, took)


async def _played(scenario: Scenario, trial: Trial) -> tuple[Verdict, bool]:
    """Play a scenario once; return the verdict, and whether it may be played again."""
    try:
        await scenario.play(trial)
    except Violated as error:
        trial.note(str(error))
        return Verdict.VIOLATED, isinstance(error, NotDone)
    except Exception as error:
        trial.note(f"{type(error).__name__}: {error}")
        return Verdict.VIOLATED, False
    finally:
        await trial.end()
    return Verdict.HELD, False
