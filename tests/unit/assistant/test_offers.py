"""The tools an assistant gets: which, with what, and that watching waits for a change and no longer."""

from __future__ import annotations

import asyncio
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from remit.assistant import offers as module
from remit.assistant.offers import Hands, Offer, offers
from remit.client import Remit
from remit.client.deciding import Waiting
from remit.client.submitting import Submitted
from remit.errors import Usage
from remit.job import Job

LOOKING = {"list_tasks", "show_task", "watch_task", "explain_task", "list_delegations", "list_approvals"}
GUIDE = Path(__file__).parents[3] / "docs/guides/mcp-server.md"
DECIDING = ("approve", "reject", "decide", "revoke", "suspend", "reinstate", "resume", "follow")
JOB = """
agent: flight-analyst
purpose: delay-review
delegation: {actions: [read], spaces: [flights], budget: 1, expires_in: 1h}
steps: [{tool: sql.query, input: {dataset: flights}}]
"""


class Person:
    """Hands whose tasks are written down beforehand: one state after another, the last for good."""

    def __init__(self, *states: str) -> None:
        self.states = list(states)
        self.submitted: list[Job] = []

    async def submit(self, job: Job) -> Submitted:
        self.submitted.append(job)
        return Submitted("task-1", "run", "delegation")

    async def tasks(self, *, query: str = "", most: int = 100) -> list[dict[str, Any]]:
        assert query == ""  # an assistant's words are never part of a query
        states = ["running", "completed"] * 30
        return [{"task": f"task-{number}", "state": state} for number, state in enumerate(states)][:most]

    async def show(self, task: str) -> dict[str, Any]:
        return {"task": task, "state": self.states.pop(0) if len(self.states) > 1 else self.states[0]}

    async def approvals(self) -> list[Waiting]:
        return []

    async def delegations(self, target: str | None = None) -> list[dict[str, Any]]:
        return [{"of": target}]

    async def explain(self, task: str, step: int | None = None) -> dict[str, Any]:
        return {"task": task, "step": step}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_SECONDS", 0.01)


class TestWhich:
    def test_there_are_exactly_these(self) -> None:
        assert set(offers(submit=False)) == LOOKING
        assert set(offers(submit=True)) == {*LOOKING, "submit_job"}
        assert [name for name, one in offers(submit=True).items() if one.changes] == ["submit_job"]

    def test_the_guide_names_exactly_these(self) -> None:
        rows = re.findall(r"^\| `(\w+)` \|", GUIDE.read_text(encoding="utf-8"), re.MULTILINE)
        assert rows == list(offers(submit=True))

    def test_no_hand_decides_or_stops(self) -> None:
        given = {name for name, _ in inspect.getmembers(Hands, inspect.isfunction) if not name.startswith("_")}
        assert given == {"submit", "tasks", "show", "approvals", "delegations", "explain"}
        assert given.isdisjoint(DECIDING)
        assert all(hasattr(Remit, name) for name in (*given, *DECIDING))  # they would be there to be taken

    @pytest.mark.parametrize("offer", offers(submit=True).values(), ids=lambda offer: offer.name)
    def test_arguments_are_closed(self, offer: Offer) -> None:
        schema = offer.schema()
        assert (schema["type"], schema["additionalProperties"]) == ("object", False)
        with pytest.raises(Usage) as refused:
            offer.checked({"decision": "approve"})
        assert refused.value.code == "mcp.arguments"


class TestArguments:
    @pytest.mark.parametrize(
        ("name", "given"),
        [
            ("show_task", {}), ("show_task", {"task": ""}), ("show_task", {"task": 3}),
            ("show_task", {"task": "x" * 201}),
            ("watch_task", {"task": "a", "wait_seconds": 61}), ("watch_task", {"task": "a", "wait_seconds": "5"}),
            ("watch_task", {"task": "a", "wait_seconds": -1}), ("explain_task", {"task": "a", "step": 0}),
            ("list_tasks", {"most": 101}), ("list_tasks", {"state": "any"}), ("list_tasks", {"query": "1 = 1"}),
            ("list_approvals", {"task": "a"}), ("submit_job", {"job": "x" * 262_145}), ("submit_job", {"job": None}),
        ],
        ids=str,
    )  # fmt: skip
    def test_wrong_ones_are_refused_before_anything_is_done(self, name: str, given: dict[str, Any]) -> None:
        with pytest.raises(Usage) as refused:
            offers(submit=True)[name].checked(given)
        assert refused.value.code == "mcp.arguments"


class TestCalls:
    async def test_a_state_narrows_the_list(self) -> None:
        said = await offers(submit=False)["list_tasks"].call(Person(), {"state": "completed", "most": 2})
        assert said == {"tasks": [{"task": "task-1", "state": "completed"}, {"task": "task-3", "state": "completed"}]}

    async def test_a_job_is_read_as_job_files_are(self) -> None:
        person = Person()
        submit = offers(submit=True)["submit_job"]
        assert (await submit.call(person, {"job": JOB}))["task"] == "task-1"
        assert person.submitted == [Job.parse(JOB)]
        with pytest.raises(Usage) as refused:
            await submit.call(person, {"job": JOB + "approve: true\n"})
        assert refused.value.code == "job.invalid"
        assert len(person.submitted) == 1

    async def test_watching_ends_with_a_change(self) -> None:
        watch = offers(submit=False)["watch_task"]
        said = await watch.call(Person("running", "running", "waiting-approval"), {"task": "a", "wait_seconds": 60})
        assert (said["changed"], said["ended"], said["task"]["state"]) == (True, False, "waiting-approval")

    async def test_a_change_between_two_calls_is_not_lost(self) -> None:
        watch = offers(submit=False)["watch_task"]
        first = await watch.call(Person("running"), {"task": "a", "wait_seconds": 0})
        assert not first["changed"]
        said = await watch.call(Person("suspended"), {"task": "a", "seen": first["seen"], "wait_seconds": 60})
        assert (said["changed"], said["task"]["state"]) == (True, "suspended")

    async def test_watching_ends_when_the_time_is_over(self) -> None:
        watch = offers(submit=False)["watch_task"]
        said = await watch.call(Person("running"), {"task": "a", "wait_seconds": 1})
        assert (said["changed"], said["ended"]) == (False, False)

    @pytest.mark.parametrize("state", ["completed", "failed", "halted", "rejected"])
    async def test_an_ended_task_is_not_waited_for(self, state: str) -> None:
        watch = offers(submit=False)["watch_task"]
        async with asyncio.timeout(30):
            said = await watch.call(Person(state), {"task": "a", "wait_seconds": 60})
        assert (said["ended"], said["changed"]) == (True, False)
