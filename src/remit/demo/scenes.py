"""The five scenes. Each uses what its people would: the client, in their own name; the servers are the witness."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from remit.client import Remit
from remit.demo.telling import NotHeld, Teller
from remit.demo.witness import Witness, histories
from remit.errors import RemitError
from remit.job import Job
from remit.settings import Settings

WAIT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Stage:
    """What the scenes play on.

    Args:
        alice, bob: The people, each with their own session.
        jobs: Folder of job files.
    """

    settings: Settings
    teller: Teller
    witness: Witness
    jobs: Path
    alice: Remit
    bob: Remit

    def job(self, name: str) -> Job:
        """Return an example job."""
        return Job.load(self.jobs / f"{name}.yaml")

    async def until(self, task: str, what: Callable[[dict[str, Any]], object], label: str) -> dict[str, Any]:
        """Return the task once something is true of it.

        Raises:
            NotHeld: It did not become true within a minute.
        """
        shown: dict[str, Any] = {}
        ended = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < ended:
            shown = await self.alice.show(task)
            if what(shown):
                return shown
            await asyncio.sleep(0.05)
        raise NotHeld(f"{label}: {task} is still {shown.get('state')}")


async def play(stage: Stage) -> None:
    """Play all scenes in order."""
    review = await delegated_query(stage)
    await approved_publication(stage, review)
    await injected_instruction(stage)
    await revoked_query(stage)
    await five_questions(stage, review)


async def delegated_query(stage: Stage) -> str:
    """Scene 1: a step runs as a database user that exists for this step alone."""
    tell, witness = stage.teller, stage.witness
    tell.scene(1, "A delegated query")
    tell.does("alice", "remit submit jobs/delay-review.yaml")
    started = await stage.alice.submit(stage.job("delay-review"))
    shown = await stage.until(started.task, lambda task: _step(task, 1).get("state") == "done", "the query")
    attempt = _step(shown, 1)["attempts"][-1]
    user = attempt["lease"]["user"]
    lines = witness.statements(user)
    tell.fact("task", started.task)
    tell.fact("postgresql.log", _short(next((line for line in lines if "select carrier" in line), "")))
    tell.claim(attempt["verdict"] == "permit", f"Cedar permitted it: {', '.join(attempt['policies'])}")
    tell.claim(
        user.startswith(f"d-{started.delegation}-1-"), "the database user's name carries the delegation and the step"
    )
    tell.claim(any("select carrier" in line for line in lines), "PostgreSQL's own log has the query under that user")
    tell.claim(user not in witness.users(started.delegation), "the user is gone")
    return started.task


async def approved_publication(stage: Stage, review: str) -> None:
    """Scene 2: a narrower delegation, a publication that waits, four eyes."""
    tell = stage.teller
    tell.scene(2, "A sub-agent, and a decision by four eyes")
    shown = await stage.until(review, lambda task: task["children"], "the sub-agent")
    child = shown["children"][0]
    waits = await stage.until(child, lambda task: task["state"] == "waiting-approval", "the request")
    chain = waits["chain"]
    tell.fact("chain", " → ".join([_name(chain[0]["from"]), *(_name(link["to"]) for link in chain)]))
    tell.fact(
        "waits for", f"{waits['waiting']['action']} on {waits['waiting']['resource']}, {waits['waiting']['input']}"
    )
    tell.claim(
        len(chain) == 2 and waits["agent"].endswith("/report-writer"), "the writer holds a delegation of its own"
    )
    tell.claim(waits["waiting"]["approvers"] == ["data-steward"], "publishing waits for a data steward")
    tell.claim(_step(waits, 1)["attempts"][-1]["lease"] is None, "nothing was minted for it")
    tell.does("alice", f"remit approve {child}")
    try:
        await stage.alice.approve(child)
        refusal = ""
    except RemitError as error:
        refusal = error.code
    tell.claim(refusal == "approval.four-eyes", f"alice is refused: {refusal}")
    tell.does("bob", f"remit approve {child}")
    await stage.bob.approve(child, reason="read it")
    done = await stage.until(review, lambda task: task["state"] in ("completed", "failed"), "the review")
    rows = stage.witness.table("SELECT * FROM reports.delays_by_carrier ORDER BY mean_delay DESC LIMIT 4")
    tell.table(rows)
    tell.claim(done["state"] == "completed", "it went on and is completed")
    tell.claim(len(rows) == 4, "the table is there")


async def injected_instruction(stage: Stage) -> None:
    """Scene 3: an agent obeys what it read, and its chain does not let it."""
    tell = stage.teller
    tell.scene(3, "An injected instruction")
    tell.does("alice", "remit submit jobs/injected.yaml")
    started = await stage.alice.submit(stage.job("injected"))
    shown = await stage.until(started.task, lambda task: task["state"] in ("completed", "failed"), "the injected task")
    denied: dict[str, Any] = next((step for step in shown["steps"] if step["resource"] == "payroll"), {})
    attempt = (denied.get("attempts") or [{}])[-1]
    tell.fact("the agent asked for", f"{denied.get('action')} on {denied.get('resource')}")
    tell.claim(attempt.get("verdict") == "deny", f"denied by {', '.join(attempt.get('policies') or [])}")
    tell.claim("delegated-scope" in (attempt.get("policies") or []), "for the space was never handed over")
    tell.claim(attempt.get("lease") is None, "nothing was minted for it")
    asked = stage.witness.statements(f"d-{started.delegation}-{denied.get('n')}-")
    tell.claim(not asked, "PostgreSQL never saw a user of that step")
    tell.claim(shown["state"] == "failed", "the task ended as its job says")


async def revoked_query(stage: Stage) -> None:
    """Scene 4: a running query is revoked, and resumed under a fresh delegation."""
    tell, witness = stage.teller, stage.witness
    tell.scene(4, "Revoked in the middle of a query, and resumed")
    tell.does("alice", "remit submit jobs/long-query.yaml")
    started = await stage.alice.submit(stage.job("long-query"))
    await stage.until(started.task, lambda task: _step(task, 1).get("state") == "done", "the first step")
    await _session(stage, started.delegation)
    (user,) = set(witness.sessions(started.delegation))
    tell.fact("running as", user)
    tell.does("alice", f"remit revoke {started.task} --reason 'changed my mind'")
    began = time.monotonic()
    dead = asyncio.create_task(witness.ended(started.delegation, since=began))
    stopped = await stage.alice.revoke(started.task, "changed my mind")
    returned = (time.monotonic() - began) * 1000
    shown = await stage.until(started.task, lambda task: task["state"] == "suspended", "the stop")
    waits = (time.monotonic() - began) * 1000
    tell.table(
        [
            {"after `remit revoke` began": "last credential destroyed", "ms": f"{stopped.ms:.0f}"},
            {"after `remit revoke` began": "query dead in PostgreSQL", "ms": f"{await dead:.0f}"},
            {"after `remit revoke` began": "command returned", "ms": f"{returned:.0f}"},
            {"after `remit revoke` began": "workflow stopped, waiting", "ms": f"{waits:.0f}"},
        ]
    )
    tell.claim(stopped.leases == 1 and not stopped.pending, "its one live credential was destroyed, nothing is pending")
    tell.claim(not witness.users(started.delegation), "no database user of that delegation is left")
    tell.claim(shown["state"] == "suspended", "the task waits, as its job says: on_revocation: wait")
    tell.does("alice", f"remit resume {started.task} --delegation jobs/long-query.yaml")
    resumed = await stage.alice.resume(started.task, stage.job("long-query"))
    await _session(stage, resumed.delegation)
    (fresh,) = set(witness.sessions(resumed.delegation))
    shown = await stage.alice.show(started.task)
    first = [one for one in _step(shown, 1)["attempts"] if one["outcome"] == "ok"]
    tell.fact("running as", fresh)
    tell.claim(fresh.startswith(f"d-{resumed.delegation}-2-"), "it goes on at the same step, with a new credential")
    tell.claim(len(first) == 1 and len(_step(shown, 1)["attempts"]) == 1, "the step that was done was not done again")
    await stage.alice.revoke(started.task, "the tour does not wait for the whole minute")
    await stage.until(started.task, lambda task: task["state"] == "suspended", "the second stop")
    tell.claim(not witness.sessions(resumed.delegation), "revoked once more, for the tour goes on: it is dead again")


async def five_questions(stage: Stage, review: str) -> None:
    """Scene 5: the five questions, and no secret anywhere in the histories."""
    tell, witness = stage.teller, stage.witness
    tell.scene(5, "Who did this, and by whose leave")
    child = (await stage.alice.show(review))["children"][0]
    tell.does("alice", f"remit explain {child}")
    explained = await stage.alice.explain(child)
    for question, answer in _answers(explained):
        tell.fact(question, answer)
    tell.claim(len(_answers(explained)) == 5, "each of the five questions has an answer")
    client = await stage.alice.connection.temporal()
    exported = stage.settings.home / "histories"
    exported.mkdir(mode=0o700, exist_ok=True)
    texts = await histories(client, exported)
    log = stage.settings.home / "logs" / "worker.log"
    texts["the worker's log"] = log.read_text(encoding="utf-8", errors="replace")
    for number, file in enumerate(sorted(stage.settings.audit_folder.glob("*.jsonl"))):
        texts[f"audit file {number + 1}"] = file.read_text(encoding="utf-8")
    hits = await witness.secrets_in(texts)
    size = sum(map(len, texts.values()))
    tell.fact("searched", f"{len(texts)} histories and logs, {size:,} characters, {witness.hashed_secrets()} secrets")
    tell.claim(not hits, "no secret is in any history, in the worker's log or in the audit log")


async def _session(stage: Stage, delegation: str) -> None:
    """Wait until a delegation's query runs in the database."""
    ended = time.monotonic() + WAIT_SECONDS
    while not stage.witness.sessions(delegation):
        if time.monotonic() > ended:
            raise NotHeld("the query did not begin")
        await asyncio.sleep(0.02)


def _step(task: dict[str, Any], number: int) -> dict[str, Any]:
    return next((step for step in task["steps"] if step["n"] == number), {})


def _name(spiffe_id: str) -> str:
    return spiffe_id.rsplit("/", 1)[-1]


def _short(line: str) -> str:
    return line if len(line) <= 150 else f"{line[:147]}…"


def _answers(explained: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one["question"], " ".join(one["answer"])) for one in explained["answers"] if one["answer"]]


async def open_stage(
    closing: AsyncExitStack, *, settings: Settings, teller: Teller, witness: Witness, jobs: Path
) -> Stage:
    """Log the people in."""
    people = {name: await closing.enter_async_context(Remit.open(settings, person=name)) for name in ("alice", "bob")}
    return Stage(settings, teller, witness, jobs, people["alice"], people["bob"])
