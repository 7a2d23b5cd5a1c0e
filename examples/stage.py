"""The stage: an example's agent on real servers, with alice, who delegates, and bob, who approves.

- A permitted call, a refused one, one that waits for bob, one that is revoked while it runs and goes on afterwards.
- Each thing that is shown was asked of the servers; the run ends with an error as soon as one does not hold.
- The last line has a tick only for what was observed.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text
from temporalio.client import Client

from examples import scenario
from examples.running import load, start
from remit.assembly import assemble, temporal_client
from remit.client import Remit
from remit.client.submitting import Submitted
from remit.demo.telling import NotHeld, Teller
from remit.demo.witness import Witness, text_of
from remit.embedded import Stack
from remit.local import Application, LocalService, in_background
from remit.settings import Settings

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
    witness: Witness
    client: Client
    alice: Remit
    bob: Remit
    started: Submitted
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
    await stage.until(lambda task: task["state"] == "waiting-approval", "the next call")
    tell.claim(True, "the agent went on without it")


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
    await stage.until(lambda task: task["state"] == "suspended", "the stop")
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
    tell.claim(True, "the agent waits for a fresh delegation")
    stage.observed.add("revoke")


async def resumed(stage: Stage) -> None:
    """It goes on at the same call under a fresh delegation, and ends."""
    tell, witness = stage.tell, stage.witness
    stage.act("resume")
    tell.does("alice", f"remit resume {stage.task}")
    fresh = (await stage.alice.resume(stage.task)).delegation
    tell.fact("running as", await stage.sleeping(fresh))
    shown = await stage.until(lambda task: task["state"] == "completed", "the end")
    result = json.dumps(shown["result"], ensure_ascii=False)
    tell.fact("result", _short(result))
    done = [sum(attempt["outcome"] == "ok" for attempt in step["attempts"]) for step in shown["steps"]]
    tell.claim(max(done) == 1, "no call was made twice")
    tell.claim(not [*witness.users(stage.started.delegation), *witness.users(fresh)], "no database user is left")
    history = text_of(await stage.client.get_workflow_handle(stage.task).fetch_history())
    tell.claim(not await witness.secrets_in({"history": history}), "no secret is in its history")
    stage.observed.add("resume")
    tell.claim("policy.denied" in result, "the agent was told what it was refused")
    stage.observed.add("deny")


@asynccontextmanager
async def opened(name: str, settings: Settings, *, tell: Teller, witness: Witness) -> AsyncIterator[Stage]:
    """Run an example's worker in this process, and start its agent as alice."""
    example = load(name)
    async with assemble(settings) as parts:
        client = await temporal_client(settings, vault=parts.vault, plugins=example.plugins(parts))
        async with (
            example.worker(client),
            Remit.open(settings, person="alice") as alice,
            Remit.open(settings, person="bob") as bob,
        ):
            tell.does("alice", f"python -m examples.start {name}")
            started = await start(alice, client, example)
            yield Stage(name, tell, witness, client, alice, bob, started)


async def show(name: str, settings: Settings, stack: Stack, console: Console) -> set[str]:
    """Play an example on a running stack; return the acts that were observed, after the line that says so.

    Raises:
        NotHeld: Something did not hold.
    """
    async with opened(name, settings, tell=Teller(console), witness=Witness(stack)) as stage:
        try:
            await play(stage)
        finally:
            console.print()
            console.print(Text(stage.row(), style="bold"))
        return stage.observed


@contextmanager
def servers(console: Console, *, keep: bool) -> Iterator[Stack]:
    """Bring up a stack and the service's worker in a state folder of their own."""
    folder = Path(tempfile.mkdtemp(prefix="remit-example-"))
    service = LocalService(folder / "state", Application.find(Settings.load(home=folder).policies), port_base=0)
    began = time.monotonic()
    try:
        with console.status("Starting OpenBao, PostgreSQL, Temporal and a worker …") as status:
            service.start(lambda line: status.update(line))
        console.print(Text(f"Real servers are up ({time.monotonic() - began:.1f} s)", style="dim"))
        yield service.stack
    finally:
        service.stop()
        if keep:
            in_background(folder / "state", service.stack.ports.base)
            console.print(Text(f"It is up. Stop it with: remit stop --home {folder / 'state'}"))
        else:
            shutil.rmtree(folder, ignore_errors=True)


def run(name: str, *, keep: bool = False) -> None:
    """Play an example on a stack of its own.

    Raises:
        RemitError: The stack did not start, or something did not hold.
    """
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = 150
    with servers(console, keep=keep) as stack:
        asyncio.run(show(name, Settings.load(home=stack.home), stack, console))


def _query(task: dict[str, Any]) -> dict[str, Any]:
    return _step(task, resource="flights") or {"state": ""}


def _step(task: dict[str, Any], *, resource: str) -> dict[str, Any]:
    """Return the first step that touches a resource."""
    return next((step for step in task["steps"] if step["resource"] == resource), {})


def _outcome(step: dict[str, Any]) -> str:
    attempts = step.get("attempts") or [{}]
    return str(attempts[-1].get("outcome") or "")


def _short(line: str) -> str:
    return line if len(line) <= 150 else f"{line[:147]}…"
