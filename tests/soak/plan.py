"""The plan of a soak: who starts what, who stops what, and what is killed, when. Pure: the same seed, the same plan.

- A job is of one of eight kinds of chain: who delegates, to which agent, and whether that agent hands a part on.
- Every suspension is lifted by the plan itself; a revoked job is given a fresh delegation by the plan, or never.
- Nothing is injected in the last tenth.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

SERVERS = ("openbao", "postgres", "temporal")
WORKERS = ("worker-1", "worker-2")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of chain.

    Args:
        person, agent: Who delegates, to whom.
        parts: How many parts the agent hands on to the report writer, each a task of its own.
        steps: How many steps it takes itself, at least and at most.
        longest: Seconds a query of it may sleep.
    """

    person: str
    agent: str
    parts: int = 0
    steps: tuple[int, int] = (3, 8)
    longest: float = 1.0


KINDS = (
    Kind("alice", "flight-analyst"),
    Kind("alice", "flight-analyst", steps=(2, 4), longest=12.0),
    Kind("alice", "flight-analyst", parts=1),
    Kind("alice", "flight-analyst", parts=2, steps=(1, 3), longest=4.0),
    Kind("alice", "report-writer", steps=(1, 3)),
    Kind("bob", "flight-analyst"),
    Kind("bob", "flight-analyst", steps=(2, 4), longest=12.0),
    Kind("bob", "flight-analyst", parts=1, steps=(1, 3)),
)


@dataclass(frozen=True, slots=True)
class Act:
    """One thing that is done.

    Args:
        at: Seconds after the start.
        what: ``submit``, ``revoke``, ``suspend``, ``reinstate``, ``resume`` or ``kill``.
        target: A job's number, ``<number>/<part>`` for a part of it, a principal, or a process.
        by: The person.
    """

    at: float
    what: str
    target: str
    by: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything a soak does.

    Args:
        jobs: As job files say it, with ``person`` beside.
        rejects: Numbers of the jobs whose requests are rejected.
    """

    seed: int
    seconds: float
    jobs: tuple[dict[str, Any], ...]
    acts: tuple[Act, ...]
    rejects: frozenset[int] = field(default=frozenset())

    @property
    def tasks(self) -> int:
        """How many tasks there will be at most."""
        return sum(1 + sum("delegate" in step for step in job["steps"]) for job in self.jobs)


def make(seed: int, *, tasks: int, seconds: float, kills: int, principals: int) -> Plan:
    """Return the plan of a seed.

    Args:
        tasks: At least so many, those of parts counted.
        seconds: How long things happen.
        kills: How many processes are killed. principals: How many people or agents are stopped and reinstated.
    """
    chance = random.Random(seed)
    jobs: list[dict[str, Any]] = []
    counted = 0
    while counted < tasks:
        kind = KINDS[len(jobs) % len(KINDS)]
        jobs.append(_job(kind, chance, len(jobs)))
        counted += 1 + kind.parts
    busy = 0.9 * seconds
    acts: list[Act] = []
    for number, job in enumerate(jobs):
        at = chance.uniform(0, 0.8 * seconds)
        acts.append(Act(at, "submit", str(number), job["person"]))
        acts += _stops(number, job, chance, begun=at, until=busy)
    for turn in range(kills):
        at = busy * (turn + chance.uniform(0.3, 0.9)) / kills
        acts.append(Act(at, "kill", chance.choice((*WORKERS, *SERVERS))))
    for turn in range(principals):
        at = 0.8 * busy * (turn + chance.uniform(0.4, 0.9)) / principals
        who = chance.choice(("agent/report-writer", "agent/flight-analyst", "user/bob"))
        acts.append(Act(at, chance.choice(("revoke", "suspend")), who, "carol"))
        acts.append(Act(at + chance.uniform(3, 0.1 * seconds), "reinstate", who, "carol"))
    rejects = frozenset(number for number in range(len(jobs)) if chance.random() < 0.1)
    return Plan(seed, seconds, tuple(jobs), tuple(sorted(acts, key=lambda act: act.at)), rejects)


def _stops(number: int, job: dict[str, Any], chance: random.Random, *, begun: float, until: float) -> list[Act]:
    """Return what happens to one job's delegation."""
    person, fate, acts = job["person"], chance.random(), []
    by = chance.choice((person, "carol"))
    at = min(until, begun + chance.expovariate(1 / 8))
    if fate < 0.35:
        acts.append(Act(at, "revoke", str(number), by))
        if chance.random() < 0.7:
            acts.append(Act(min(until, at + chance.uniform(1, 15)), "resume", str(number), person))
    elif fate < 0.65:
        acts.append(Act(at, "suspend", str(number), by))
        acts.append(Act(min(until, at + chance.uniform(0.5, 15)), "reinstate", str(number), by))
    elif fate < 0.85 and (parts := sum("delegate" in step for step in job["steps"])):
        acts.append(Act(at, "revoke", f"{number}/{chance.randrange(parts)}", by))
    return acts


def _job(kind: Kind, chance: random.Random, number: int) -> dict[str, Any]:
    own = [_own(kind, chance, number, step) for step in range(chance.randint(*kind.steps))]
    parts = [
        {
            "delegate": {
                "agent": "report-writer",
                "delegation": _delegation(["report:publish"], budget=20, depth=2),
                "steps": [_publish(f"soak_{number}_{part}")],
            }
        }
        for part in range(kind.parts)
    ]
    steps = [*own, *parts]
    if chance.random() < 0.5:
        chance.shuffle(steps)
    return {
        "person": kind.person,
        "agent": kind.agent,
        "purpose": "delay-review",
        "delegation": _delegation(["read", "report:publish"], budget=chance.choice((30, 60, 200)), depth=2),
        "on_revocation": chance.choice(({"wait": "24h"}, {"wait": "24h"}, "halt")),
        "steps": steps,
    }


def _own(kind: Kind, chance: random.Random, number: int, step: int) -> dict[str, Any]:
    if kind.agent == "report-writer":
        return _publish(f"soak_{number}_own_{step}")
    sleeps = round(chance.uniform(0, kind.longest), 2)
    sql = f"select carrier, count(*) as flights from flights, pg_sleep({sleeps}) group by carrier"
    return {"tool": "sql.query", "input": {"dataset": "flights", "sql": sql}}


def _publish(table: str) -> dict[str, Any]:
    sql = "select carrier, count(*) as flights from flights group by carrier"
    return {"tool": "report.publish", "input": {"table": table, "sql": sql}}


def _delegation(actions: list[str], *, budget: int, depth: int) -> dict[str, Any]:
    return {"actions": actions, "spaces": ["flights"], "budget": budget, "expires_in": "2h", "max_depth": depth}
