"""What LangChain asks before it runs a tool, whoever calls it and wherever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Annotated, Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tools import BaseTool, InjectedToolCallId, tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import InjectedState, ToolNode, ToolRuntime
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput

from remit.attempt import GRANT, Attempt, Grant
from remit.delegation import Reference
from remit.errors import Refused
from remit.frameworks import langchain
from remit.frameworks.langgraph import LangGraph
from remit.mapping import Mapping
from remit.step import Call
from remit.temporal import _header as header
from remit.verdict import Verdict

READER = LangGraph(Mapping(frameworks=("langgraph",), ungoverned=("clock", "free.*")))
GIVEN = {"text": "a", "times": 2}
RAN: list[str] = []


@tool
async def repeat(text: str, times: int) -> str:
    """Say it again."""
    RAN.append(text)
    return text * times


@tool
def repeat_in_a_thread(text: str, times: int) -> str:
    """Say it again."""
    RAN.append(text)
    return text * times


@tool
def clock() -> str:
    """Say what time it is; it carries no authority."""
    return "noon"


@tool
async def nested(text: str, times: int) -> str:
    """Have another tool say it."""
    return str(await repeat.ainvoke({"text": text, "times": times}))


def grant(name: str, arguments: dict[str, Any]) -> Grant:
    attempt = Attempt(
        reference=Reference("d", "x"),
        namespace="default",
        task="task",
        run="run",
        first_run="run",
        activity="1",
        attempt=1,
        step=1,
        tool=name,
        call=Call(action="dataset:query", resource="flights", input=arguments),
    )
    verdict = Verdict("permit", ())
    return Grant("g", attempt, root="r", agent="a", chain=("d",), verdict=verdict, expires_at=0)


async def noded(tool: BaseTool, given: dict[str, Any], **options: Any) -> Any:
    """Have a tool node call it, in a graph."""
    graph = StateGraph(MessagesState)
    graph.add_node("tools", ToolNode([tool], **options))
    graph.add_edge(START, "tools")
    call = {"name": tool.name, "args": given, "id": "c"}
    return await graph.compile().ainvoke({"messages": [AIMessage("", tool_calls=[call])]})


@tool
async def informed(
    text: str,
    call: Annotated[str, InjectedToolCallId],
    state: Annotated[dict[str, Any], InjectedState],
    runtime: ToolRuntime,
    times: int = 1,
) -> str:
    """Take what a model does not say from the graph."""
    RAN.append(f"{text} {call} {len(state['messages'])} {runtime.tool_call_id}")
    return text * times


class Body(ActivityInboundInterceptor):
    """An activity that does this."""

    def __init__(self, does: Callable[[], Any]) -> None:
        self._does = does

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        return await self._does()


@pytest.fixture(autouse=True)
def rested() -> None:
    RAN.clear()


async def attempt(does: Callable[[], Any], granted: Grant | None = None) -> Any:
    """Run an activity under a grant, as a worker does: in a task of its own."""
    (one,) = langchain.interceptors(READER)
    inbound = one.intercept_activity(Body(does))
    token = GRANT.set(granted)
    try:
        task = asyncio.create_task(inbound.execute_activity(ExecuteActivityInput(print, [], None, {})))
    finally:
        GRANT.reset(token)
    return await task


WAYS: dict[str, Callable[[BaseTool, dict[str, Any]], Any]] = {
    "called": lambda tool, given: tool.ainvoke(given),
    "called as a model's call": lambda tool, given: tool.ainvoke(
        {"name": tool.name, "args": given, "id": "c", "type": "tool_call"}
    ),
    "called with callbacks of its own": lambda tool, given: tool.ainvoke(given, RunnableConfig(callbacks=[])),
    "called by another runnable": lambda tool, given: (RunnableLambda(lambda it: it) | tool).ainvoke(given),
    "called in a thread": lambda tool, given: asyncio.to_thread(repeat_in_a_thread.invoke, given),
    "called by a tool node": noded,
    "called in a batch": lambda tool, given: tool.abatch([given]),
}


@pytest.mark.parametrize("way", WAYS)
async def test_the_granted_call_runs(way: str) -> None:
    name = "repeat_in_a_thread" if way == "called in a thread" else "repeat"
    await attempt(lambda: WAYS[way](repeat, GIVEN), grant(name, GIVEN))
    assert RAN == ["a"]


OTHERS: dict[str, Grant | None] = {
    "no grant": None,
    "for another tool": grant("other", GIVEN),
    "for other arguments": grant("repeat", {**GIVEN, "text": "b"}),
    "for more arguments": grant("repeat", {**GIVEN, "more": None}),
    "for fewer arguments": grant("repeat", {"text": "a"}),
    "for a value that is only equal": grant("repeat", {**GIVEN, "times": 2.0}),
    "for a model": grant("planner", {"model": "planner", "offers": [], "request": "digest"}),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("other", OTHERS)
async def test_any_other_call_is_refused(way: str, other: str) -> None:
    with pytest.raises((Refused, ApplicationError)) as refused:
        await attempt(lambda: WAYS[way](repeat, GIVEN), OTHERS[other])
    assert RAN == []
    if isinstance(refused.value, ApplicationError):
        assert (refused.value.type, refused.value.non_retryable) == ("tool.inline", True)
        assert refused.value.details[0]["remit"] == "Refused"
    else:
        assert refused.value.code == "tool.inline"


async def test_what_a_tool_node_adds_is_no_part_of_the_call() -> None:
    await attempt(lambda: noded(informed, {"text": "a"}), grant("informed", {"text": "a"}))
    assert RAN == ["a c 1 c"]
    with pytest.raises(Refused):
        await attempt(lambda: noded(informed, {"text": "a"}), grant("informed", {"text": "a", "times": 1}))


async def test_text_is_no_arguments() -> None:
    @tool
    def say(text: str) -> str:
        """Say it."""
        RAN.append(text)
        return text

    with pytest.raises(Refused):
        await attempt(lambda: say.ainvoke("a"), grant("say", {"text": "a"}))
    assert RAN == []


async def test_a_call_is_made_once() -> None:
    async def twice() -> None:
        await repeat.ainvoke(GIVEN)
        await repeat.ainvoke(GIVEN)

    with pytest.raises(Refused):
        await attempt(twice, grant("repeat", GIVEN))
    assert RAN == ["a"]


async def test_a_tool_calls_no_other() -> None:
    with pytest.raises(Refused) as refused:
        await attempt(lambda: nested.ainvoke(GIVEN), grant("nested", GIVEN))
    assert (refused.value.code, RAN) == ("tool.inline", [])


async def test_an_attempt_fails_whatever_its_code_makes_of_a_refusal() -> None:
    async def forgives() -> str:
        found = await noded(repeat, GIVEN, handle_tool_errors=True)
        assert found["messages"][-1].status == "error"
        return "done"

    async def turns() -> None:
        try:
            await repeat.ainvoke(GIVEN)
        except Refused as error:
            raise ValueError("something else") from error

    for does in (forgives, turns):
        with pytest.raises(Refused):
            await attempt(does, grant("repeat", {}))


async def test_what_else_fails_fails_as_it_did() -> None:
    async def fails() -> None:
        raise ValueError("its own")

    with pytest.raises(ValueError, match="its own"):
        await attempt(fails, grant("repeat", GIVEN))
    assert await attempt(lambda: asyncio.sleep(0, "fine")) == "fine"


async def test_a_thread_that_goes_on_after_its_attempt_calls_nothing() -> None:
    ended, went_on = asyncio.Event(), asyncio.Event()

    async def later() -> None:
        await ended.wait()
        try:
            with pytest.raises(Refused):
                await repeat.ainvoke(GIVEN)
        finally:
            went_on.set()

    async def leaves() -> asyncio.Task[None]:
        return asyncio.create_task(later())

    left = await attempt(leaves, grant("repeat", GIVEN))
    ended.set()
    await left
    assert (went_on.is_set(), RAN) == (True, [])


async def test_what_is_listed_as_ungoverned_may_be_called_anywhere() -> None:
    assert await attempt(lambda: clock.ainvoke({})) == "noon"
    assert await attempt(lambda: clock.ainvoke({}), grant("repeat", GIVEN)) == "noon"


async def test_attempts_at_once_do_not_see_each_other() -> None:
    made = [attempt(lambda: repeat.ainvoke(GIVEN), grant("repeat", GIVEN)) for _ in range(5)]
    refused = [attempt(lambda: repeat.ainvoke(GIVEN), grant("repeat", {})) for _ in range(5)]
    found = await asyncio.gather(*made, *refused, return_exceptions=True)
    assert found[:5] == ["aa"] * 5
    assert all(isinstance(one, Refused) for one in found[5:])


async def test_a_call_whose_context_is_lost_is_refused_where_a_worker_governs() -> None:
    with ThreadPoolExecutor(1) as pool:

        async def bare() -> Any:
            return await asyncio.get_running_loop().run_in_executor(pool, repeat_in_a_thread.invoke, GIVEN)

        with pytest.raises(Refused):
            await attempt(bare, grant("repeat_in_a_thread", GIVEN))
        assert RAN == []
        assert pool.submit(clock.invoke, {}).result() == "noon"


def test_where_no_worker_governs_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(langchain, "_GOVERNS", Event())
    langchain.interceptors(READER)
    assert repeat_in_a_thread.invoke(GIVEN) == "aa"


async def test_an_activity_that_nobody_governs_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(langchain, "_GOVERNS", governs := Event())
    governs.set()
    assert await ActivityEnvironment().run(repeat.ainvoke, GIVEN) == "aa"


def test_the_mark_is_remits_own() -> None:
    assert langchain.MARK == header.KEY
