"""A model plans a task of the service: pydantic-ai's own test models, and a provider over HTTP."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models import Model
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.models.test import TestModel
from temporalio.client import Client
from temporalio.worker import Replayer, Worker

from activities import http, model, plan, publish, sql
from activities.revocation import Revocations
from remit import audit, cascade
from remit.assembly import assemble, temporal_client
from remit.client import Remit
from remit.embedded import Stack
from remit.job import Job
from remit.settings import ModelSettings, Settings
from remit.temporal import RemitPlugin, names_of
from tests.integration.service import queries, running, submit, until
from workflows.agent_task import AgentTask
from workflows.revocation import Revocation

pytestmark = [pytest.mark.servers, pytest.mark.filterwarnings("ignore:Cannot find activity to cancel")]

OPEN = [plan.NEXT, cascade.WORKFLOW, *cascade.ACTIVITIES]
JOBS = Path(__file__).parents[2] / "jobs"
HEAD = "agent: delay-desk\npurpose: delay-review\non_revocation: {wait: 1h}\n"
DELEGATION = "{actions: [%s, model:invoke], spaces: [flights], budget: 60, expires_in: 1h, max_depth: 0}"
Speaks = Callable[[list[ModelMessage], AgentInfo], ModelResponse]


def job(*, actions: str = "read, report:publish", most: int = 20, **keys: Any) -> Job:
    """Return a job that a model plans; `keys` are others of the job."""
    keys["planner"] = {"model": "planner", "goal": "Find out.", "most": most}
    lines = "".join(f"\n{key}: {json.dumps(value)}" for key, value in keys.items())
    return Job.parse(f"{HEAD}delegation: {DELEGATION % actions}{lines}")


def call(name: str, **given: Any) -> ToolCallPart:
    return ToolCallPart(name, given)


def query(statement: str, *, dataset: str = "flights") -> ToolCallPart:
    return call("sql_query", dataset=dataset, sql=statement)


def told(messages: list[ModelMessage]) -> list[str]:
    """Return what the model was told of its calls so far."""
    parts = [part for message in messages for part in message.parts if isinstance(part, ToolReturnPart)]
    return [str(part.content) for part in parts]


def script(*turns: list[ToolCallPart]) -> Speaks:
    """Return a model that makes these calls, one list a turn, and then says what it was told."""

    def speak(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        spoken = sum(isinstance(message, ModelResponse) for message in messages)
        return ModelResponse(turns[spoken] if spoken < len(turns) else [TextPart(json.dumps(told(messages)))])

    return speak


def opens(made: Callable[[], Model]) -> model.Opens:
    @asynccontextmanager
    async def open_model() -> AsyncIterator[Model]:
        yield made()

    return open_model


@asynccontextmanager
async def planning(
    settings: Settings, made: Callable[[], Model] | None = None, *, models: dict[str, model.Opens] | None = None
) -> AsyncIterator[Client]:
    """Run a worker of the service whose planner is this model."""
    async with assemble(settings) as parts:
        tools = [sql.query, publish.publish, http.requests({})]
        known = models if models is not None else {"planner": opens(made)} if made else {}
        tools.append(model.asking(parts, known, tools))
        plugin = RemitPlugin(authority=parts.authority, presenter=parts.presenter, ungoverned=OPEN)
        client = await temporal_client(settings, vault=parts.vault, plugins=[plugin])
        async with Worker(
            client,
            task_queue=settings.task_queue,
            workflows=[AgentTask, Revocation],
            activities=[plan.Planning(names_of(tools)).propose, *Revocations(parts).activities, *tools],
        ):
            yield client


async def output(settings: Settings, task: str) -> Any:
    shown = await until(settings, task, "completed")
    return json.loads(shown["result"]["output"])


async def dead(stack: Stack, like: str) -> None:
    """Return once no such query runs."""
    deadline = time.monotonic() + 20
    while queries(stack, like):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def records(settings: Settings, task: str) -> list[tuple[str, str]]:
    found = [one for one in audit.read(settings.audit_folder, task=task) if one["event"] == "attempt"]
    return [(one["tool"], one["outcome"]) for one in found]


async def test_what_a_model_proposes_is_decided_and_told(settings: Settings, stack: Stack) -> None:
    speaks = script(
        [query("select count(*) as n from flights where carrier = 'OO'")],
        [query("select * from hr.payroll", dataset="payroll"), call("drop_everything")],
        [call("sql_query", dataset="flights")],
        [query("selct 1")],
    )
    async with planning(settings, lambda: FunctionModel(speaks)) as client:
        task = await submit(settings, job())
        found, payroll, unknown, malformed, wrong = await output(settings, task)
        history = await client.get_workflow_handle(task).fetch_history()
    assert json.loads(found) == {"rows": [{"n": 32}], "truncated": False}
    assert payroll.startswith("Refused:")
    assert payroll.endswith("[policy.denied]")
    assert "there is no tool 'drop_everything'; there are: report_publish, sql_query" in unknown
    assert malformed.endswith("[tool.input]")
    assert "syntax error" in wrong
    done = records(settings, task)
    assert done.count(("plan.ask", "permitted")) == done.count(("plan.ask", "ok")) == 5
    assert [outcome for tool, outcome in done if tool == "sql.query"] == [
        "permitted", "ok", "refused", "refused", "permitted", "error",
    ]  # fmt: skip
    await Replayer(workflows=[AgentTask], plugins=[RemitPlugin(ungoverned=OPEN)]).replay_workflow(history)


@pytest.mark.parametrize(("actions", "names"), [("read", {"sql_query"}), ("report:publish", {"report_publish"})])
async def test_a_model_is_offered_what_the_chain_carries(settings: Settings, actions: str, names: set[str]) -> None:
    offered: list[set[str]] = []

    def speak(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        offered.append({one.name for one in info.function_tools})
        return ModelResponse([TextPart("[]")])

    async with planning(settings, lambda: FunctionModel(speak)):
        await output(settings, await submit(settings, job(actions=actions)))
    assert offered == [names]


async def test_what_is_offered_follows_a_fresh_delegation(settings: Settings) -> None:
    offered: list[set[str]] = []
    asked = asyncio.Event()

    async def speak(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        offered.append({one.name for one in info.function_tools})
        asked.set()
        if len(offered) == 1:
            await asyncio.sleep(60)
        if len(offered) == 2:
            return ModelResponse([call("report_publish", table="t", sql="select 1 as n")])
        return ModelResponse([TextPart(json.dumps(told(messages)))])

    async with planning(settings, lambda: FunctionModel(speak)):
        task = await submit(settings, job(actions="read, report:publish"))
        async with asyncio.timeout(30):
            await asked.wait()
        async with Remit.open(settings, person="alice") as alice:
            await alice.revoke(task, "a test")
            await until(settings, task, "suspended")
            await alice.resume(task, job(actions="read"))
        (said,) = await output(settings, task)
    assert offered == [{"report_publish", "sql_query"}, {"sql_query"}, {"sql_query"}]
    assert said == "Refused: there is no tool 'report_publish'; there are: sql_query"


async def test_fixed_steps_come_first_and_are_told(settings: Settings) -> None:
    heard: list[Any] = []

    def speak(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        heard.append(messages[0].parts[0].content)  # type: ignore[union-attr]
        return ModelResponse([TextPart("[]")])

    steps = [{"tool": "sql.query", "input": {"dataset": "flights", "sql": "select 77 as n"}}]
    async with planning(settings, lambda: FunctionModel(speak)):
        await output(settings, await submit(settings, job(steps=steps)))
    assert heard == ['Find out.\n\nThe last step returned: {"rows": [{"n": 77}], "truncated": false}']


async def test_a_denial_ends_the_task_where_the_job_says_so(settings: Settings) -> None:
    speaks = script([call("sql_query", dataset="flights")], [query("select 1", dataset="payroll")])
    async with planning(settings, lambda: FunctionModel(speaks)):
        task = await submit(settings, job(on_denied="fail"))
        shown = await until(settings, task, "failed")
    assert shown["error"]["code"] == "policy.denied"
    assert records(settings, task).count(("plan.ask", "ok")) == 2, "a malformed call is told all the same"


async def test_pydantic_ai_s_test_model_calls_every_tool_it_is_offered(settings: Settings) -> None:
    async with planning(settings, TestModel):
        task = await submit(settings, job(actions="read"))
        shown = await until(settings, task, "completed")
    assert "sql_query" in shown["result"]["output"]
    assert {tool for tool, _ in records(settings, task)} == {"plan.ask", "sql.query"}


async def test_without_the_right_to_ask_nothing_is_asked(settings: Settings) -> None:
    asked: list[int] = []

    def speak(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        asked.append(1)
        return ModelResponse([TextPart("[]")])

    text = (
        f"{HEAD}delegation: {(DELEGATION % 'read').replace(', model:invoke', '')}\nplanner: {{model: planner, goal: x}}"
    )
    async with planning(settings, lambda: FunctionModel(speak)):
        task = await submit(settings, Job.parse(text))
        shown = await until(settings, task, "failed")
    assert shown["error"]["code"] == "policy.denied"
    assert not asked


async def test_a_model_that_is_never_done_is_stopped(settings: Settings) -> None:
    always = [[query("select 1 as n")]] * 5
    async with planning(settings, lambda: FunctionModel(script(*always))):
        task = await submit(settings, job(most=2))
        shown = await until(settings, task, "failed")
    assert shown["error"]["code"] == "plan.most"
    assert records(settings, task).count(("plan.ask", "ok")) == 2


async def test_a_proposed_step_waits_for_a_person(settings: Settings) -> None:
    async with planning(
        settings, lambda: FunctionModel(script([call("report_publish", table="p", sql="select 1 as n")]))
    ):
        tasks = [await submit(settings, job()) for _ in range(2)]
        for task, decision in zip(tasks, ("approve", "reject"), strict=True):
            shown = await until(settings, task, "waiting-approval")
            (waiting,) = shown["waiting"] if isinstance(shown["waiting"], list) else [shown["waiting"]]
            assert waiting["action"] == "report:publish"
            async with Remit.open(settings, person="bob") as bob:
                await getattr(bob, decision)(task)
        assert "rows" in (await output(settings, tasks[0]))[0]
        assert (await output(settings, tasks[1]))[0].endswith("[approval.rejected]")


async def test_a_conversation_outlives_its_worker_and_a_revocation(settings: Settings, stack: Stack) -> None:
    heard: list[int] = []
    slow = "select 'planned' as what from pg_sleep(10)"
    speaks = script([query("select 1 as n")], [query(slow)], [query("select 3 as n")])

    def speak(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        heard.append(len(messages))
        return speaks(messages, info)

    async with planning(settings, lambda: FunctionModel(speak)):
        task = await submit(settings, job())
        await running(stack, "planned")
        async with Remit.open(settings, person="alice") as alice:
            await alice.revoke(task, "a test")
        await until(settings, task, "suspended")
        await dead(stack, "planned")
    async with planning(settings, lambda: FunctionModel(speak)):
        async with Remit.open(settings, person="alice") as alice:
            await alice.resume(task)
        first, second, third = await output(settings, task)
    assert (json.loads(first)["rows"], json.loads(third)["rows"]) == ([{"n": 1}], [{"n": 3}])
    assert json.loads(second)["rows"] == [{"what": "planned"}]
    assert heard == [1, 3, 5, 7], "what was said before was said once"


async def test_a_revocation_stops_a_request_to_a_model(settings: Settings) -> None:
    heard: list[str] = []
    asked = asyncio.Event()

    async def speak(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        heard.append("asked")
        asked.set()
        if len(heard) == 1:
            try:
                await asyncio.sleep(60)
            finally:
                heard.append("stopped")
        return ModelResponse([TextPart('["done"]')])

    async with planning(settings, lambda: FunctionModel(speak)):
        task = await submit(settings, job())
        async with asyncio.timeout(30):
            await asked.wait()
        async with Remit.open(settings, person="alice") as alice:
            await alice.revoke(task, "a test")
        await until(settings, task, "suspended")
        assert heard == ["asked", "stopped"]
        async with Remit.open(settings, person="alice") as alice:
            await alice.resume(task)
        assert await output(settings, task) == ["done"]
    begun, ended, *others = [outcome for _, outcome in records(settings, task)]
    assert begun == "permitted"
    assert ended in ("stopped", "cancelled")
    assert others == ["permitted", "ok"]


async def test_a_conversation_goes_on_in_a_new_run(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from temporalio import workflow

    calls = [[query(f"select {number} as n")] for number in range(3)]
    suggested = property(lambda info: info.get_current_history_length() > 20)
    monkeypatch.setattr(workflow.Info, "is_continue_as_new_suggested", lambda info: suggested.fget(info))
    async with planning(settings, lambda: FunctionModel(script(*calls))) as client:
        task = await submit(settings, job())
        said = await output(settings, task)
        described = await client.get_workflow_handle(task).describe()
    assert [json.loads(one)["rows"] for one in said] == [[{"n": 0}], [{"n": 1}], [{"n": 2}]]
    assert described.raw_description.workflow_execution_info.first_run_id != described.run_id


class Provider(BaseHTTPRequestHandler):
    """A provider that speaks as OpenAI's chat completions do; remembers the keys it was given."""

    keys: ClassVar[list[str]] = []
    failing: ClassVar[list[int]] = []

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.keys.append(self.headers["Authorization"].removeprefix("Bearer "))
        if self.failing:
            self._say(self.failing.pop(), {"error": {"message": f"no use of {self.keys[-1]}", "type": "any"}})
            return
        tools = [message for message in asked["messages"] if message["role"] == "tool"]
        given = json.dumps({"dataset": "flights", "sql": "select count(*) as n from airlines"})
        called = {"id": "call_1", "type": "function", "function": {"name": "sql_query", "arguments": given}}
        message = (
            {"role": "assistant", "content": json.dumps([tools[0]["content"]])}
            if tools
            else {"role": "assistant", "content": None, "tool_calls": [called]}
        )
        choice = {"index": 0, "message": message, "finish_reason": "stop" if tools else "tool_calls"}
        self._say(
            200,
            {
                "id": "x", "object": "chat.completion", "created": 1, "model": asked["model"], "choices": [choice],
                "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
            },
        )  # fmt: skip

    def _say(self, status: int, answer: dict[str, Any]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture
def provider() -> Iterator[str]:
    Provider.keys.clear()
    Provider.failing.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


# OpenAI's client asks three times before it gives up: what is down is asked again by a new attempt, with a new lease.
@pytest.mark.parametrize("failing", [[], [401], [503] * 4], ids=["answers", "refuses", "is-down"])
async def test_a_provider_gets_the_attempt_s_key_and_nobody_else(
    settings: Settings, stack: Stack, provider: str, failing: list[int]
) -> None:
    Provider.failing.extend(failing)
    models = model.configured({"planner": ModelSettings(model="openai-chat:gpt-test", base_url=provider)})
    async with planning(settings, models=models) as client:
        task = await submit(settings, Job.load(JOBS / "model-review.yaml"))
        shown = await until(settings, task, "completed", "failed")
        history = await client.get_workflow_handle(task).fetch_history()
    key = (settings.home / "keys" / "model-key").read_text()
    assert set(Provider.keys) == {key}
    if failing == [401]:
        assert (shown["error"]["code"], len(Provider.keys)) == ("model.refused", 1)
    else:
        assert json.loads(json.loads(shown["result"]["output"])[0])["rows"] == [{"n": 16}]
    kept = history.to_json() + json.dumps(shown) + json.dumps(list(audit.read(settings.audit_folder, task=task)))
    assert key not in kept
    asked = [one for one in audit.read(settings.audit_folder, task=task) if one.get("tool") == "plan.ask"]
    assert {one["lease"]["kind"] for one in asked if one["outcome"] == "permitted"} == {"secret"}
    assert [one["outcome"] for one in asked].count("error") == bool(failing)


async def test_a_model_nobody_reaches_is_said(settings: Settings) -> None:
    async with planning(settings):
        task = await submit(settings, job())
        shown = await until(settings, task, "failed")
    assert shown["error"]["code"] == "model.unknown"
