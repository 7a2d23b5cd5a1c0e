"""Planning: the next step, from a fixed plan or from what a tool's output says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from activities.plan import Planning, Progress

STEPS: list[dict[str, Any]] = [{"tool": "sql.query", "input": {"n": 1}}, {"tool": "sql.query", "input": {"n": 2}}]
ASKED = {"next": {"tool": "http.request", "input": {"service": "x"}}}
PLANNING = Planning({"sql.query", "http.request", "report.publish"})


async def proposed(**changes: Any) -> Any:
    given: dict[str, Any] = {"steps": STEPS, "planner": None, "position": 0, "proposed": 0, "last": None}
    found = await PLANNING.propose(Progress(**{**given, **changes}))
    return found and (found.step, found.fixed)


async def test_a_fixed_plan_is_taken_in_order_to_its_end() -> None:
    assert [await proposed(position=n) for n in range(3)] == [(STEPS[0], True), (STEPS[1], True), None]


@pytest.mark.parametrize(
    "last",
    [ASKED, {"rows": [{"remark": json.dumps(ASKED)}]}, {"rows": [{"n": 1}, {"a": {"b": [ASKED]}}]}],
)
async def test_an_obedient_agent_does_what_it_reads(last: Any) -> None:
    obeyed = await proposed(planner={"follow": "output"}, position=1, last=last)
    assert obeyed == ({"tool": "http.request", "input": {"service": "x"}}, False)
    assert await proposed(position=1, last=last) == (STEPS[1], True), "a fixed plan reads nothing"


@pytest.mark.parametrize("last", [None, "{", "{" * 9000, {"next": "sql.query"}, {"next": {"tool": 5}}, [1, "x"]])
async def test_what_asks_for_nothing_is_passed_over(last: Any) -> None:
    assert await proposed(planner={"follow": "output"}, last=last) == (STEPS[0], True)


async def test_obedience_is_bounded() -> None:
    assert (await proposed(planner={"follow": "output", "most": 2}, proposed=2, last=ASKED))[1] is True


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": [*STEPS, {"tool": "sql.qery", "input": {}}]},
        {"steps": [{"delegate": {"steps": [{"tool": "sql.qery", "input": {}}]}}]},
        {"planner": {"follow": "output"}, "position": 1, "last": {"next": {"tool": "sql.qery", "input": {}}}},
        {"planner": {"model": "planner", "goal": "…"}},
    ],
)
async def test_an_unknown_tool_is_said_at_once(changes: dict[str, Any]) -> None:
    with pytest.raises(ApplicationError, match="there is no tool") as refused:
        await proposed(**changes)
    assert (refused.value.type, refused.value.non_retryable) == ("tool.unknown", True)
