"""A soak: a plan carried out on real servers and two workers, by people who try again when something is down.

- What a person was told, and when, is kept: a stop counts from its acknowledgement until a call that lifts it begins;
  one that was under way already may lift it as well.
- An error that is none of Remit's own is a violation: people see Remit's words or nothing.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import math
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import psutil

from remit.client import Remit
from remit.embedded.process import Command
from remit.errors import Held, Refused, RemitError
from remit.job import Job
from remit.local import polling
from tests.faults.ground import REPOSITORY, Ground
from tests.soak.plan import WORKERS, Act, Plan

PEOPLE = ("alice", "bob", "carol")
PATIENCE = 60.0
"""Seconds a person tries the same thing again while something is down."""


@dataclass(slots=True)
class Stop:
    """A stop somebody was told is done.

    Args:
        subject: A delegation's id or a principal, ``agent/…``. final: Whether it is a revocation.
        asked: Unix seconds: when the call began.
        acknowledged: When it returned; from then on nothing may be permitted under it.
        lifted: When the call that lifts it began; None: it was not lifted.
    """

    subject: str
    final: bool
    asked: float
    acknowledged: float
    lifted: float | None = None


@dataclass(slots=True)
class Reinstatement:
    """A call that reinstates: whom or what it is about, when it began, and when it returned, whatever it said."""

    subject: str
    asked: float
    returned: float = math.inf

    def lifts(self, stop: Stop) -> bool:
        """Tell whether it undoes a stop, or may: of two calls that overlap either may come last."""
        final = stop.final and "/" not in stop.subject
        return self.subject == stop.subject and self.returned > stop.asked and not final


@dataclass(slots=True)
class Started:
    """A job that runs: its task, and its delegation now."""

    task: str
    delegation: str


@dataclass(slots=True)
class Soak:
    """One soak.

    Args:
        ground: The stack, without workers.
        say: Told a line now and then.
    """

    ground: Ground
    plan: Plan
    say: Callable[[str], None] = lambda line: None
    jobs: dict[int, Started] = field(default_factory=dict)
    stated: list[Stop] = field(default_factory=list)
    reinstated: list[Reinstatement] = field(default_factory=list)
    done: collections.Counter[str] = field(default_factory=collections.Counter)
    violations: list[str] = field(default_factory=list)
    people: dict[str, Remit] = field(default_factory=dict)
    _mending: asyncio.Lock = field(default_factory=asyncio.Lock)
    _begun: float = 0.0

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[Soak]:
        """Start the workers and the people's sessions."""
        async with AsyncExitStack() as closing:
            for name in WORKERS:
                self.ground.stack.run(_worker(self.ground, name))
            for person in PEOPLE:
                self.people[person] = await closing.enter_async_context(Remit.open(self.ground.settings, person=person))
            began = time.time()
            while not await polling(self.ground.settings, since=began + 1):
                if time.time() > began + 60:
                    raise TimeoutError("no worker asks for work")
                await asyncio.sleep(0.2)
            yield self

    @property
    def stops(self) -> list[Stop]:
        """Return every stop, each with when it was lifted."""
        return [
            replace(stop, lifted=min((one.asked for one in self.reinstated if one.lifts(stop)), default=None))
            for stop in self.stated
        ]

    async def run(self) -> None:
        """Carry the plan out, and return when all that it says was done."""
        self._begun = time.monotonic()
        deciding = asyncio.create_task(self._decide())
        telling = asyncio.create_task(self._tell())
        acts = [asyncio.create_task(self._act(act)) for act in self.plan.acts]
        await asyncio.gather(*acts)
        await self._mend()
        deciding.cancel()
        telling.cancel()
        await asyncio.gather(deciding, telling, return_exceptions=True)

    async def settle(self, *, seconds: float) -> dict[str, str]:
        """Stop injecting; give half of the tasks that wait for a delegation one; return the states all came to."""
        deciding = asyncio.create_task(self._decide())
        try:
            for number in sorted(self.jobs)[::2]:
                await self._act(Act(0, "resume", str(number), self.plan.jobs[number]["person"]))
            deadline, states = time.monotonic() + seconds, await self._states()
            while any(state in ("running", "unknown") for state in states.values()) and time.monotonic() < deadline:
                await asyncio.sleep(1)
                states = await self._states()
            return states
        finally:
            deciding.cancel()
            await asyncio.gather(deciding, return_exceptions=True)

    async def _states(self) -> dict[str, str]:
        try:
            found = await self.people["alice"].tasks(most=10_000)
        except RemitError:
            return {"": "unknown"}
        states = {str(one["task"]): str(one["state"]) for one in found}
        return {task: _waits(task, states) for task in states}

    async def _act(self, act: Act) -> None:
        await asyncio.sleep(max(0.0, self._begun + act.at - time.monotonic()))
        try:
            if act.what == "kill":
                await self._kill(act.target)
            else:
                await self._patiently(lambda: self._one(act))
            self.done[act.what] += 1
        except RemitError as error:
            self.done[f"{act.what}: {error.code}"] += 1
            if isinstance(error, Held):
                self.say(f"nothing answered for {PATIENCE:.0f} s: {act.what} {act.target}: {error.message}"[:300])
        except Exception as error:
            self.violations.append(f"{act.what} of {act.target} ended in {type(error).__name__}: {error}"[:400])

    async def _patiently(self, attempt: Callable[[], Awaitable[None]]) -> None:
        until = time.monotonic() + PATIENCE
        while True:
            try:
                return await attempt()
            except Held:
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(0.5)

    async def _one(self, act: Act) -> None:
        person = self.people[act.by]
        if act.what == "submit":
            told = {name: value for name, value in self.plan.jobs[int(act.target)].items() if name != "person"}
            made = await person.submit(Job.parse(json.dumps(told)))
            self.jobs[int(act.target)] = Started(made.task, made.delegation)
            return
        if act.what == "resume":
            job = self.jobs.get(int(act.target))
            if job is not None:
                job.delegation = (await person.resume(job.task)).delegation
            return
        subject = await self._subject(act.target)
        if subject is None:
            return
        if act.what == "reinstate":
            await self._reinstate(person, subject)
        else:
            await self._stop(person, subject, final=act.what == "revoke")

    async def _stop(self, person: Remit, subject: str, *, final: bool) -> None:
        asked = time.time()
        await (person.revoke if final else person.suspend)(subject, "soak")
        self.stated.append(Stop(subject, final, asked, time.time()))

    async def _reinstate(self, person: Remit, subject: str) -> None:
        call = Reinstatement(subject, time.time())
        self.reinstated.append(call)
        try:
            await person.reinstate(subject, "soak")
        except Refused:
            self.reinstated.remove(call)  # nothing was stated
            raise
        finally:
            call.returned = time.time()

    async def _subject(self, target: str) -> str | None:
        """Return what to state something about; None when it does not exist (yet)."""
        if not target[0].isdigit():
            return target
        number, _, part = target.partition("/")
        job = self.jobs.get(int(number))
        if job is None or not part:
            return job.delegation if job else None
        children = (await self.people["alice"].show(job.task))["children"]
        if len(children) <= int(part):
            return None
        shown = await self.people["alice"].show(children[int(part)])
        return str(shown["chain"][-1]["delegation"])

    async def _decide(self) -> None:
        """Be the data steward: say yes, or no where the plan says so, to whatever waits."""
        asked: set[str] = set()
        while True:
            try:
                for one in await self.people["bob"].approvals():
                    number = next((n for n, job in self.jobs.items() if one.task.startswith(job.task)), None)
                    if number is None or one.request in asked or self.plan.jobs[number]["person"] == "bob":
                        continue
                    decide = self.people["bob"].reject if number in self.plan.rejects else self.people["bob"].approve
                    await decide(one.task, one.request)
                    asked.add(one.request)
                    self.done["decide"] += 1
            except RemitError as error:
                self.done[f"decide: {error.code}"] += 1
            except Exception as error:
                self.violations.append(f"deciding ended in {type(error).__name__}: {error}"[:400])
            await asyncio.sleep(1)

    async def _kill(self, name: str) -> None:
        async with self._mending:
            if name in WORKERS:
                self._note_writer(self.ground.stack.pid(name))
            await asyncio.to_thread(self.ground.kill, name)
            self.done[f"kill {name}"] += 1
            await asyncio.sleep(1.5)
            await self.ground.revive()

    async def _mend(self) -> None:
        async with self._mending:
            await self.ground.revive()

    def _note_writer(self, pid: int) -> None:
        """Write down whose audit file this process has: what it began has no record of its end."""
        self.ground.killed.add(pid)
        for file in psutil.Process(pid).open_files():
            if file.path.endswith(".jsonl"):
                self.ground.points.note(what="writer", pid=pid, writer=file.path.rpartition("-")[2][: -len(".jsonl")])

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(15)
            states = collections.Counter((await self._states()).values())
            now = time.monotonic() - self._begun
            self.say(f"{now:5.0f} s  {len(self.jobs)} jobs, {dict(states)}, {len(self.violations)} violations")


def _waits(task: str, states: dict[str, str]) -> str:
    """Return a task's state; one that runs while a part of it waits does nothing but wait for it."""
    below = {state for other, state in states.items() if other.startswith(f"{task}-")}
    return "waits-below" if states[task] == "running" and below & {"suspended", "waiting-approval"} else states[task]


def _worker(ground: Ground, name: str) -> Command:
    return Command(
        name,
        name,
        (sys.executable, str(REPOSITORY / "worker.py")),
        REPOSITORY,
        environment={"REMIT_HOME": str(ground.stack.home)},
        grace=30.0,
    )


def summary(soak: Soak, states: dict[str, str]) -> dict[str, Any]:
    """Return what was done and what came of it."""
    return {
        "seed": soak.plan.seed,
        "jobs": len(soak.jobs),
        "tasks": len(states),
        "stops": len(soak.stops),
        "done": dict(sorted(soak.done.items())),
        "states": dict(collections.Counter(states.values())),
    }
