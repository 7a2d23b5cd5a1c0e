"""Revocation: one workflow for each statement, which carries its consequences on until they are complete.

- What it was started with proves nothing: the statement is read from the registry and verified.
- Rounds: destroy the leases left under the subject, lock a stopped principal out, tell the tasks that have not heard.
  What is pending is tried again, after 1 s at first and 5 min at last, for a day.
- Its result is the completion record; the same goes to the audit log.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy

from remit.cascade import BEGIN, COMPLETE, PROGRESS, ROUND, WORKFLOW, Begun, Outcome, Progress
from remit.statements import Event

LONGEST = timedelta(hours=24)
ABSENT = timedelta(minutes=10)
"""How long a statement may be on its way after its cascade was noted."""
_FIRST = 1.0
_MOST = 300.0
_RETRY = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=1))
_SUMMARIES = {
    BEGIN: "reads and verifies the statement",
    ROUND: "stops, or lets go on, what has not heard",
    COMPLETE: "records how it ended",
}
_WORDS = {Event.REVOKED: "revokes", Event.SUSPENDED: "suspends", Event.REINSTATED: "reinstates"}


@workflow.defn(name=WORKFLOW)
class Revocation:
    """The consequences of one statement."""

    def __init__(self) -> None:
        self._begun = Begun(Outcome.ABSENT)
        self._total = Progress()
        self._rounds = 0

    @workflow.run
    async def run(self, statement: str, reported: dict[str, Any]) -> dict[str, Any]:
        """Carry a statement on to its end; return the completion record.

        Args:
            reported: What the command that stated it saw: ``{"leases_revoked", "ms_to_last_lease_dead"}`` or nothing.
        """
        self._begun = await self._begin(statement)
        outcome = self._begun.outcome.value
        if self._begun.outcome is Outcome.STATED:
            outcome = await self._carry_on(statement, unheard=not reported)
        record = self._record(statement, outcome, reported)
        if self._begun.outcome is not Outcome.NOTHING:
            await self._activity(COMPLETE, statement, record)
        return record

    @workflow.query(name=PROGRESS)
    def progress(self) -> dict[str, Any]:
        """Answer how far it is: ``{"rounds", "stopped", "going", "destroyed", "pending"}``."""
        total = self._total
        return {
            "rounds": self._rounds,
            "stopped": total.stopped,
            "going": total.going,
            "destroyed": total.destroyed,
            "pending": list(total.pending),
        }

    async def _begin(self, statement: str) -> Begun:
        begun: Begun = await self._activity(BEGIN, statement, result=Begun)
        if begun.outcome is Outcome.ABSENT:
            await workflow.sleep(ABSENT, summary="the statement may be on its way")
            begun = await self._activity(BEGIN, statement, result=Begun)
        return begun

    async def _carry_on(self, statement: str, *, unheard: bool) -> str:
        pause, until = _FIRST, workflow.now() + LONGEST
        while True:
            everyone = unheard and not self._rounds
            found: Progress = await self._activity(ROUND, statement, self._begun, everyone, result=Progress)
            self._add(found)
            self._show()
            if found.overtaken:
                return "overtaken"
            if not found.pending:
                return "complete"
            if workflow.now() >= until:
                return "gave-up"
            await workflow.sleep(pause, summary=f"tries again: {found.pending[0]}"[:200])
            pause = min(_MOST, pause * 2)

    def _add(self, found: Progress) -> None:
        self._rounds += 1
        last = [at for at in (self._total.last_dead_at, found.last_dead_at) if at is not None]
        self._total = replace(
            found,
            destroyed=self._total.destroyed + found.destroyed,
            last_dead_at=max(last, default=None),
            told=self._total.told + found.told,
        )

    def _record(self, statement: str, outcome: str, reported: dict[str, Any]) -> dict[str, Any]:
        begun, total = self._begun, self._total
        late = None if total.last_dead_at is None else round((total.last_dead_at - begun.asked_at) * 1000, 1)
        dead = [ms for ms in (reported.get("ms_to_last_lease_dead"), late) if ms is not None]
        return {
            "statement": statement,
            "outcome": outcome,
            "stated": Event(begun.event).name.lower() if begun.event else "",
            "subject": begun.subject,
            "by": begun.by,
            "reason": begun.reason,
            "code": begun.code,
            "stated_at": _moment(begun.asked_at),
            "completed_at": _moment(workflow.time()),
            "tasks_stopped": 0 if begun.event == Event.REINSTATED else total.stopped,
            "tasks_told": total.told,
            "leases_destroyed": int(reported.get("leases_revoked") or 0) + total.destroyed,
            "ms_to_last_lease_dead": max(dead, default=None),
            "rounds": self._rounds,
            "pending": list(total.pending),
        }

    def _show(self) -> None:
        begun, total = self._begun, self._total
        lines = [
            f"**{begun.by.rpartition('/')[2]} {_WORDS[Event(begun.event)]} {begun.subject}**",
            "",
            f"{total.stopped} tasks stopped · {total.going} not · {total.destroyed} leases destroyed by this cascade",
            *(f"- pending: {line}" for line in total.pending),
        ]
        workflow.set_current_details("\n".join(lines))

    async def _activity(self, name: str, *arguments: Any, result: type | None = None) -> Any:
        return await workflow.execute_activity(
            name,
            args=arguments,
            summary=_SUMMARIES[name],
            result_type=result,
            start_to_close_timeout=timedelta(minutes=2),
            retry_policy=_RETRY,
        )


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
