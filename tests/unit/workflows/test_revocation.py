"""The cascade's patience: days pass in moments on Temporal's time-skipping server; its activities answer as told."""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from sys import executable
from typing import Any

import pytest
from temporalio import activity
from temporalio.client import WorkflowHandle
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from remit.cascade import BEGIN, COMPLETE, PROGRESS, ROUND, Begun, Outcome, Progress
from remit.statements import Event
from workflows.revocation import Revocation

QUEUE = "cascades"
STATED = Begun(
    Outcome.STATED,
    event=Event.REVOKED.value,
    subject="6f2b0f8e-2f0c-4b5e-9a39-0d6a4a2f9f10",
    by="spiffe://remit.local/user/alice",
    reason="leak",
    asked_at=1_800_000_000.0,
)
PENDING = Progress(stopped=1, going=1, destroyed=2, last_dead_at=1_800_000_000.05, pending=("lease of grant x: held",))
DONE = Progress(stopped=2, destroyed=1, last_dead_at=1_800_000_007.0)


@dataclass
class Answers:
    """What the activities answer, the last one again and again; and what they were asked."""

    begun: deque[Begun]
    rounds: deque[Progress] = field(default_factory=deque)
    everyone: list[bool] = field(default_factory=list)
    completed: list[dict[str, Any]] = field(default_factory=list)

    @activity.defn(name=BEGIN)
    async def begin(self, statement: str) -> Begun:
        return self.begun.popleft() if len(self.begun) > 1 else self.begun[0]

    @activity.defn(name=ROUND)
    async def round(self, statement: str, begun: Begun, everyone: bool) -> Progress:
        assert begun == STATED
        self.everyone.append(everyone)
        return self.rounds.popleft() if len(self.rounds) > 1 else self.rounds[0]

    @activity.defn(name=COMPLETE)
    async def complete(self, statement: str, record: dict[str, Any]) -> None:
        self.completed.append(record)


@pytest.fixture(scope="module")
async def skipping() -> AsyncIterator[WorkflowEnvironment]:
    server = Path(executable).parent / "temporal-test-server"
    async with await WorkflowEnvironment.start_time_skipping(test_server_existing_path=str(server)) as environment:
        yield environment


async def ended(
    skipping: WorkflowEnvironment, answers: Answers, reported: dict[str, Any] | None = None
) -> tuple[dict[str, Any], WorkflowHandle[Any, Any]]:
    async with Worker(
        skipping.client,
        task_queue=QUEUE,
        workflows=[Revocation],
        activities=[answers.begin, answers.round, answers.complete],
    ):
        statement = str(uuid.uuid4())
        handle = await skipping.client.start_workflow(
            Revocation.run, args=[statement, reported or {}], id=f"revocation-{statement}", task_queue=QUEUE
        )
        record = await handle.result()
        assert record["statement"] == statement
        assert await handle.query(PROGRESS) == {
            "rounds": record["rounds"],
            "stopped": record["tasks_stopped"],
            "going": answers.rounds[0].going if answers.rounds else 0,
            "destroyed": record["leases_destroyed"] - (reported or {}).get("leases_revoked", 0),
            "pending": record["pending"],
        }
        return record, handle


def hours(record: dict[str, Any], handle_started: datetime) -> float:
    return (datetime.fromisoformat(record["completed_at"]) - handle_started).total_seconds() / 3600


async def test_what_is_pending_is_tried_until_it_is_done(skipping: WorkflowEnvironment) -> None:
    answers = Answers(deque([STATED]), deque([PENDING, PENDING, DONE]))
    record, _ = await ended(skipping, answers)
    assert (record["outcome"], record["rounds"], record["pending"]) == ("complete", 3, [])
    assert record["leases_destroyed"] == 5
    assert record["ms_to_last_lease_dead"] == 7000.0
    assert answers.everyone == [True, False, False], "nobody had told the tasks"
    assert answers.completed == [record]


async def test_what_the_command_did_is_part_of_the_record(skipping: WorkflowEnvironment) -> None:
    answers = Answers(deque([STATED]), deque([Progress(stopped=3)]))
    record, _ = await ended(skipping, answers, {"leases_revoked": 3, "ms_to_last_lease_dead": 47.1})
    assert (record["leases_destroyed"], record["ms_to_last_lease_dead"]) == (3, 47.1)
    assert answers.everyone == [False]


async def test_after_a_day_it_ends_and_says_what_is_pending(skipping: WorkflowEnvironment) -> None:
    answers = Answers(deque([STATED]), deque([PENDING]))
    record, handle = await ended(skipping, answers)
    assert (record["outcome"], record["pending"]) == ("gave-up", ["lease of grant x: held"])
    assert 24 <= hours(record, (await handle.describe()).start_time) < 24.2
    history = await handle.fetch_history()
    assert len(history.events) < 4000


async def test_a_statement_on_its_way_is_waited_for(skipping: WorkflowEnvironment) -> None:
    record, _ = await ended(skipping, Answers(deque([Begun(Outcome.ABSENT), STATED]), deque([DONE])))
    assert record["outcome"] == "complete"


@pytest.mark.parametrize(
    ("begun", "closed"),
    [
        (Begun(Outcome.ABSENT), True),
        (Begun(Outcome.INVALID, code="statement.not-permitted"), True),
        (Begun(Outcome.NOTHING), False),
    ],
)
async def test_a_statement_that_does_not_count_stops_nothing(
    skipping: WorkflowEnvironment, begun: Begun, closed: bool
) -> None:
    answers = Answers(deque([begun]))
    record, _ = await ended(skipping, answers)
    assert (record["outcome"], record["code"], record["rounds"]) == (begun.outcome.value, begun.code, 0)
    assert answers.everyone == []
    assert answers.completed == ([record] if closed else [])


async def test_an_overtaken_statement_ends_at_once(skipping: WorkflowEnvironment) -> None:
    record, _ = await ended(skipping, Answers(deque([STATED]), deque([PENDING, Progress(overtaken=True)])))
    assert (record["outcome"], record["rounds"], record["leases_destroyed"]) == ("overtaken", 2, 2)
