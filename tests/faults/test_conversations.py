"""A worker is killed while a model plans: the conversation goes on where it was, on the next one."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from remit.embedded.process import Command, Running, start
from remit.local import polling
from tests.faults.ground import REPOSITORY, Ground, eventually
from tests.faults.invariants import nothing_left

# Temporal tells a worker to cancel what it just finished; the SDK warns, and warnings are errors here.
pytestmark = [pytest.mark.servers, pytest.mark.filterwarnings("ignore:Cannot find activity to cancel")]

MARKER = "'mid-conversation'"
STATEMENTS = ("select 1 as n", f"select 2 as n, {MARKER} as marker from pg_sleep(8)")
RUNNING = (
    "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND position(%s in query) > 0 AND pid <> pg_backend_pid()"
)
PLANNER = {"model": "planner", "goal": "Count to two."}
SCOPE = {"actions": ["read", "model:invoke"], "spaces": ["flights"], "budget": 50, "expires_in": "1h", "max_depth": 0}


class Provider:
    """A provider that speaks as OpenAI's chat completions do: one query a turn, then what it was told.

    Attributes:
        asked: The messages of each request, without instructions. keys: The key of each.
        held: Whether a request about so many messages waits, for as long as its client does.
    """

    def __init__(self) -> None:
        self.asked: list[list[dict[str, Any]]] = []
        self.keys: list[str] = []
        self.held = 0
        self.closing = threading.Event()

    def answer(self, asked: dict[str, Any], key: str) -> dict[str, Any]:
        messages = [one for one in asked["messages"] if one["role"] not in ("system", "developer")]
        self.asked.append(messages)
        self.keys.append(key)
        if len(messages) == self.held:
            self.held = 0
            self.closing.wait()
        told = [one["content"] for one in messages if one["role"] == "tool"]
        message: dict[str, Any] = {"role": "assistant", "content": json.dumps(told)}
        if len(told) < len(STATEMENTS):
            given = json.dumps({"dataset": "flights", "sql": STATEMENTS[len(told)]})
            called = {"name": "sql_query", "arguments": given}
            calls = [{"id": f"call_{len(told)}", "type": "function", "function": called}]
            message = {"role": "assistant", "content": None, "tool_calls": calls}
        return {
            "id": "x",
            "object": "chat.completion",
            "created": 1,
            "model": asked["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }


@pytest.fixture
def provider() -> Iterator[tuple[Provider, str]]:
    made = Provider()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = json.dumps(made.answer(asked, self.headers["Authorization"].removeprefix("Bearer "))).encode()
            try:
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)
            except OSError:
                self.close_connection = True  # whoever asked was killed

        def log_message(self, format: str, *arguments: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield made, f"http://127.0.0.1:{server.server_port}/v1"
    made.closing.set()
    server.shutdown()
    thread.join()
    server.server_close()


async def worker(ground: Ground, name: str, *, base_url: str) -> Running:
    """Start the service's own worker, its planner at this address, and return once it asks for work."""
    planners = {"planner": {"model": "openai-chat:scripted", "base_url": base_url}}
    environment = {
        "REMIT_HOME": str(ground.stack.home),
        "REMIT_PLANNERS": json.dumps(planners),
        "REMIT_REAP_SECONDS": "5",
    }
    command = Command(name, "A worker", (sys.executable, "worker.py"), REPOSITORY, environment=environment, grace=30.0)
    began = time.time()
    made = start(command, ground.stack.state)
    while not await polling(ground.settings, since=began + 1):
        assert made.alive(), made.log.read_text()[-2000:]
        assert time.time() < began + 60
        await asyncio.sleep(0.1)
    return made


async def test_a_conversation_outlives_its_workers(ground: Ground, provider: tuple[Provider, str]) -> None:
    """One is killed while the model is asked, the next while it does what the model proposed, a third finishes."""
    model, base_url = provider
    model.held = 3
    first = await worker(ground, "planning-1", base_url=base_url)
    try:
        task = await ground.submit([], delegation=SCOPE, planner=PLANNER)
        await eventually(lambda: len(model.asked) == 2)
    finally:
        kill(first)
    second = await worker(ground, "planning-2", base_url=base_url)
    try:
        await eventually(lambda: bool(ground.asked(RUNNING, MARKER)))
    finally:
        kill(second)
    third = await worker(ground, "planning-3", base_url=base_url)
    try:
        result = await ground.completed(task)
        await nothing_left(ground)
    finally:
        await asyncio.to_thread(third.stop)
    assert [json.loads(one)["rows"][0]["n"] for one in json.loads(result["output"])] == [1, 2]
    assert [len(one) for one in model.asked] == [1, 3, 3, 5], "only what nobody heard is said again"
    assert all(one[0]["content"] == PLANNER["goal"] for one in model.asked)
    assert set(model.keys) == {(ground.stack.home / "keys" / "model-key").read_text()}
    permitted = [one["tool"] for one in ground.records(task) if one["outcome"] == "permitted"]
    assert permitted == ["plan.ask", "sql.query", "plan.ask", "plan.ask", "sql.query", "sql.query", "plan.ask"]


def kill(process: Running) -> None:
    os.kill(process.identity.pid, signal.SIGKILL)
    process.stop()
