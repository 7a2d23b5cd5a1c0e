"""The acts: what an agent does on the stage, and what the servers say of it.

- A permitted call, a refused one, one that waits for bob, one that is revoked while it runs and goes on afterwards.
- Each thing that is shown was asked of the servers; the first that does not hold ends the run.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from temporalio.client import Client

from examples import scenario
from remit.client import Remit
from remit.client.submitting import Submitted
from remit.demo.telling import NotHeld, Teller
from remit.demo.witness import Witness, text_of
from remit.embedded import Stack

ACTS = ("permit", "deny", "approval", "revoke", "resume")
WAIT_SECONDS = 120.0


@dataclass(slots=True)
class Stage:
    """One agent on the stage.

    Args:
        observed: The acts that held, in the end all of `ACTS`.
    """

    name: str
    tell: Teller
    stack: Stack
    witness: Witness
    client: Client
    alice: Remit
    bob: Remit
    started: Submitted = field(init=False)
    observed: set[str] = field(default_factory=set)

    @property
    def task(self) -> str:
        """Its workflow id."""
        return self.started.task

    async def until(self, holds: Callable[[dict[str, Any]], object], what: str) -> dict[str, Any]:
        """Return the task once something is true of it.

        Raises:
            NotHeld: It ended, or two minutes passed, before.
        """
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            shown = await self.alice.show(self.task)
            if holds(shown):
                return shown
            if time.monotonic() > deadline or shown["state"] in ("completed", "failed", "halted"):
                raise NotHeld(f"{what}: {self.task} is {shown['state']}, {shown.get('error')}")
            await asyncio.sleep(0.05)

    async def sleeping(self, delegation: str) -> str:
        """Return the database user of a delegation's slow query, once it runs."""
        deadline = time.monotonic() + WAIT_SECONDS
        query = "SELECT usename FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep%'"
        while True:
            users = [str(row["usename"]) for row in await asyncio.to_thread(self.witness.table, query)]
            if own := [user for user in users if user.startswith(f"d-{delegation}-")]:
                return own[0]
            if time.monotonic() > deadline:
                raise NotHeld("the slow query did not begin")
            await asyncio.sleep(0.02)

    def hurries(self, *, now: bool) -> None:
        """Let slow queries that begin from now on be quick, or slow."""
        with self.stack.postgres.connect("flights", autocommit=True) as admin:
            made = "CREATE TABLE IF NOT EXISTS {} ()" if now else "DROP TABLE IF EXISTS {}"
            admin.execute(made.format(scenario.HURRY).encode())

    def act(self, title: str) -> None:
        """Open an act."""
        self.tell.scene(ACTS.index(title) + 1, title)

    def row(self) -> str:
        """Return the last line: every act with whether it was observed."""
        return "  ".join([self.name, *(f"{act} {'✓' if act in self.observed else '✗'}" for act in ACTS)])


async def play(stage: Stage) -> None:
    """Walk through all acts.

    Raises:
        NotHeld: Something did not hold.
    """
    await permitted(stage)
    await denied(stage)
    await approved(stage)
    await revoked(stage)
    await resumed(stage)


async def permitted(stage: Stage) -> None:
    """A call is permitted, and runs as a database user that exists for it alone."""
    tell, witness = stage.tell, stage.witness
    stage.act("permit")
    shown = await stage.until(lambda task: _query(task)["state"] == "done", "the first query")
    attempt = _query(shown)["attempts"][-1]
    user = attempt["lease"]["user"]
    lines = witness.statements(user)
    tell.fact("task", stage.task)
    tell.fact("postgresql.log", _short(next((line for line in lines if "select carrier" in line), "")))
    tell.claim(attempt["verdict"] == "permit", f"Cedar permitted it: {', '.join(attempt['policies'])}")
    tell.claim(any("select carrier" in line for line in lines), "PostgreSQL's own log has the query under its user")
    tell.claim(user not in witness.users(stage.started.delegation), "the user is gone")
    stage.observed.add("permit")


async def denied(stage: Stage) -> None:
    """A call is denied, nothing is minted for it, and the agent goes on; what it was told stands in its result."""
    tell = stage.tell
    stage.act("deny")
    shown = await stage.until(lambda task: _outcome(_step(task, resource="payroll")) == "refused", "the refused query")
    step = _step(shown, resource="payroll")
    attempt = step["attempts"][-1]
    tell.fact("the agent asked for", f"{step['action']} on {step['resource']}")
    tell.claim(attempt["verdict"] == "deny", f"denied by {', '.join(attempt['policies'])}")
    tell.claim(attempt["lease"] is None, "nothing was minted for it")
    asked = stage.witness.statements(f"d-{stage.started.delegation}-{step['n']}-")
    tell.claim(not asked, "PostgreSQL never saw a user of that step")
    shown = await stage.until(lambda task: task["state"] == "waiting-approval", "the next call")
    tell.claim(shown["steps"][-1]["n"] > step["n"], "the agent went on without it")


async def approved(stage: Stage) -> None:
    """A call waits for bob, and runs once he said yes to exactly these arguments."""
    tell = stage.tell
    stage.act("approval")
    shown = await stage.until(lambda task: task["state"] == "waiting-approval", "the request")
    waiting = shown["waiting"]
    tell.fact("waits for", f"{waiting['action']} on {waiting['resource']}, {_short(json.dumps(waiting['input']))}")
    tell.claim(waiting["approvers"] == ["data-steward"], "publishing waits for a data steward")
    tell.claim(_step(shown, resource="reports")["attempts"][-1]["lease"] is None, "nothing was minted for it")
    tell.does("bob", f"remit approve {stage.task}")
    await stage.bob.approve(stage.task, reason="read it")
    await stage.until(lambda task: _step(task, resource="reports").get("state") == "done", "the publication")
    rows = stage.witness.table(f"SELECT * FROM reports.{scenario.TABLE} ORDER BY mean_delay DESC LIMIT 3")  # noqa: S608
    tell.table(rows)
    tell.claim(len(rows) == 3, "the table is there")
    stage.observed.add("approval")


async def revoked(stage: Stage) -> None:
    """A running query is revoked: it dies, and the task waits."""
    tell, witness, delegation = stage.tell, stage.witness, stage.started.delegation
    stage.act("revoke")
    tell.fact("running as", await stage.sleeping(delegation))
    tell.does("alice", f"remit revoke {stage.task}")
    began = time.monotonic()
    dead = asyncio.create_task(witness.ended(delegation, since=began))
    stopped = await stage.alice.revoke(stage.task, "changed my mind")
    shown = await stage.until(lambda task: task["state"] == "suspended", "the stop")
    waits = (time.monotonic() - began) * 1000
    tell.table(
        [
            {"after `remit revoke` began": "last credential destroyed", "ms": f"{stopped.ms or 0:.0f}"},
            {"after `remit revoke` began": "query dead in PostgreSQL", "ms": f"{await dead:.0f}"},
            {"after `remit revoke` began": "agent stopped, waiting", "ms": f"{waits:.0f}"},
        ]
    )
    tell.claim(stopped.leases == 1, "its one live credential was destroyed")
    tell.claim(not witness.users(delegation), "no database user of that delegation is left")
    tell.claim(shown["chain"][-1]["status"] == "revoked", "the agent waits for a fresh delegation")
    stage.observed.add("revoke")


async def resumed(stage: Stage) -> None:
    """It goes on at the same call under a fresh delegation, and ends."""
    tell, witness = stage.tell, stage.witness
    stage.act("resume")
    stage.hurries(now=True)
    tell.does("alice", f"remit resume {stage.task}")
    fresh = (await stage.alice.resume(stage.task)).delegation
    shown = await stage.until(lambda task: task["state"] == "completed", "the end")
    again = [one for step in shown["steps"] for one in step["attempts"] if _user(one).startswith(f"d-{fresh}-")]
    tell.fact("ran as", ", ".join(map(_user, again)))
    result = json.dumps(shown["result"], ensure_ascii=False)
    tell.fact("result", _short(result))
    tell.claim([one["outcome"] for one in again] == ["ok"], "the interrupted call was made anew, as another user")
    done = [sum(attempt["outcome"] == "ok" for attempt in step["attempts"]) for step in shown["steps"]]
    tell.claim(max(done) == 1, "no call was made twice")
    tell.claim(not [*witness.users(stage.started.delegation), *witness.users(fresh)], "no database user is left")
    history = text_of(await stage.client.get_workflow_handle(stage.task).fetch_history())
    tell.claim(not await witness.secrets_in({"history": history}), "no secret is in its history")
    stage.observed.add("resume")
    tell.claim("policy.denied" in result, "the agent was told what it was refused")
    stage.observed.add("deny")


def _query(task: dict[str, Any]) -> dict[str, Any]:
    return _step(task, resource="flights") or {"state": ""}


def _step(task: dict[str, Any], *, resource: str) -> dict[str, Any]:
    """Return the first step that touches a resource."""
    return next((step for step in task["steps"] if step["resource"] == resource), {})


def _outcome(step: dict[str, Any]) -> str:
    attempts = step.get("attempts") or [{}]
    return str(attempts[-1].get("outcome") or "")


def _user(attempt: dict[str, Any]) -> str:
    """Return the database user of an attempt, empty where it had none."""
    return str((attempt.get("lease") or {}).get("user") or "")


def _short(line: str) -> str:
    return line if len(line) <= 150 else f"{line[:147]}…"
