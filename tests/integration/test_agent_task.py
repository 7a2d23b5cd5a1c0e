"""The service on the real servers: delegated, decided by Cedar, minted by OpenBao, run on PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import jwt
import pytest
from temporalio.client import WorkflowFailureError

from remit import audit
from remit.assembly import Parts, temporal_client
from remit.client import Remit
from remit.embedded import Stack
from remit.errors import Refused
from remit.job import Job
from remit.settings import Settings

from .service import asked, asks, job, queries, running, serving, submit, until

# Temporal tells a worker to cancel what it just finished; the SDK warns, and warnings are errors here.
pytestmark = [pytest.mark.servers, pytest.mark.filterwarnings("ignore:Cannot find activity to cancel")]

JOBS = Path(__file__).parents[2] / "jobs"


class Service(BaseHTTPRequestHandler):
    """A service of the catalogue; remembers what it was asked."""

    asked: ClassVar[list[tuple[str, str, dict[str, str], bytes]]] = []

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.asked.append((self.command, self.path, dict(self.headers), body))
        if self.path.endswith("/elsewhere"):
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.1:1/stolen")
            self.end_headers()
            return
        answer = b"x" * 300_000 if self.path.endswith("/long") else b'{"status": "on time"}'
        self.send_response(200)
        self.end_headers()
        self.wfile.write(answer)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/status"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
async def worker(settings: Settings, service: str) -> AsyncIterator[Parts]:
    """A worker of the service, in this process."""
    async with serving(settings, service=service) as parts:
        yield parts


async def test_a_job_is_delegated_approved_and_done(settings: Settings, stack: Stack, worker: Parts) -> None:
    task = await submit(settings, Job.load(JOBS / "delay-review.yaml"))
    await until(settings, task, "running", "waiting-approval", "completed")
    async with Remit.open(settings, person="bob") as bob:
        deadline = time.monotonic() + 120
        while not (waiting := [one for one in await bob.approvals() if one.task.startswith(task)]):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
        child = waiting[0].task
        async with Remit.open(settings, person="alice") as alice:
            with pytest.raises(Refused):
                await alice.approve(child)
        await bob.approve(child)
    shown = await until(settings, task, "completed")
    assert [(one["tool"], one["state"]) for one in shown["steps"]] == [("sql.query", "done")]
    (attempt,) = shown["steps"][0]["attempts"]
    assert (attempt["verdict"], attempt["outcome"], attempt["lease"]["kind"]) == ("permit", "ok", "postgres")
    assert shown["children"] == [child]
    below = await until(settings, child, "completed")
    assert [link["to"].rsplit("/", 1)[1] for link in below["chain"]] == ["flight-analyst", "report-writer"]
    assert asked(stack, "SELECT count(*) FROM reports.delays_by_carrier") == [(16,)]
    ((said,),) = asked(stack, "SELECT obj_description('reports.delays_by_carrier'::regclass)")
    assert child in said
    user = attempt["lease"]["user"]
    assert asked(stack, "SELECT 1 FROM pg_roles WHERE rolname = %s", user) == [], "the minted user is gone"


async def test_an_injected_instruction_is_denied(settings: Settings, worker: Parts) -> None:
    task = await submit(settings, Job.load(JOBS / "injected.yaml"))
    shown = await until(settings, task, "failed")
    assert shown["error"]["code"] == "policy.denied"
    first, second = shown["steps"]
    assert (first["resource"], first["state"]) == ("flights", "done")
    assert (second["resource"], second["state"]) == ("payroll", "refused")
    (attempt,) = second["attempts"]
    assert attempt["verdict"] == "deny"
    assert attempt["policies"]
    assert attempt["lease"] is None


async def test_a_denied_step_is_passed_over_where_the_job_says_so(settings: Settings, worker: Parts) -> None:
    text = (JOBS / "injected.yaml").read_text() + "on_denied: continue\n"
    task = await submit(settings, Job.parse(text.replace("{follow: output}", "{follow: output, most: 1}")))
    shown = await until(settings, task, "completed")
    assert [step["state"] for step in shown["steps"]] == ["done", "refused", "done"]
    assert [one["outcome"] for one in shown["result"]["done"]] == ["done", "denied", "done"]


async def test_a_revoked_query_dies_and_the_task_resumes_where_it_was(
    settings: Settings, stack: Stack, worker: Parts
) -> None:
    slow = "select count(*) as n, 3 as marker from flights, pg_sleep(8)"
    task = await submit(settings, job(f"[{asks('select 1 as one')}, {asks(slow)}]", on_revocation="{wait: 1h}"))
    first = await running(stack, "3 as marker")
    async with Remit.open(settings, person="alice") as alice:
        stopped = await alice.revoke(task, "test")
        assert queries(stack, "3 as marker") == []
        assert not stopped.pending
        shown = await until(settings, task, "suspended")
        assert shown["stopped"]["status"] == "revoked"
        await asyncio.sleep(1)
        assert queries(stack, "3 as marker") == []
        await alice.resume(task)
        second = await running(stack, "3 as marker")
        assert second != first, "a fresh credential"
        shown = await until(settings, task, "completed")
    assert [step["n"] for step in shown["steps"]] == [1, 2]
    assert len(shown["steps"][0]["attempts"]) == 1, "what was done is not done again"
    outcomes = [attempt["outcome"] for attempt in shown["steps"][1]["attempts"]]
    assert outcomes[-1] == "ok"
    assert outcomes[0] in ("stopped", "cancelled")


async def test_suspended_and_reinstated(settings: Settings, stack: Stack, worker: Parts) -> None:
    slow = "select count(*) as n, 4 as marker from flights, pg_sleep(6)"
    task = await submit(settings, job(f"[{asks(slow)}]"))
    await running(stack, "4 as marker")
    async with Remit.open(settings, person="alice") as alice:
        await alice.suspend(task, "test")
        await until(settings, task, "suspended")
        assert queries(stack, "4 as marker") == []
        await alice.reinstate(task, "test")
        shown = await until(settings, task, "completed")
    assert shown["steps"][0]["attempts"][-1]["outcome"] == "ok"


async def test_a_halted_task_says_why(settings: Settings, stack: Stack, worker: Parts) -> None:
    slow = "select 5 as marker, pg_sleep(30)"
    task = await submit(settings, job(f"[{asks(slow)}]"))
    await running(stack, "5 as marker")
    async with Remit.open(settings, person="carol") as carol:
        await carol.revoke(task, "security")
    shown = await until(settings, task, "halted", seconds=20)
    assert queries(stack, "5 as marker") == [], "nobody waited for it"
    assert shown["error"]["code"] == "chain.revoked"
    handle = (await temporal_client(settings)).get_workflow_handle(task)
    with pytest.raises(WorkflowFailureError):
        await handle.result()


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("select 1; drop table flights", "syntax error"),
        ("select 1) as a; commit; select (1", "multiple commands"),
        ("select * from hr.payroll", "permission denied"),
        ("delete from flights returning 1", "syntax error"),
        ("select pg_read_file('/etc/passwd')", "permission denied"),
        ("select no_such", "does not exist"),
    ],
)
async def test_what_the_database_refuses_ends_the_step(
    settings: Settings, worker: Parts, statement: str, says: str
) -> None:
    task = await submit(settings, job(f"[{asks(statement)}]"))
    shown = await until(settings, task, "failed")
    assert shown["error"]["code"] == "sql.refused"
    assert says in shown["error"]["message"]
    assert len(shown["steps"][0]["attempts"]) == 1


async def test_an_unknown_tool_ends_the_task_before_anything_runs(settings: Settings, worker: Parts) -> None:
    (settings.home / "tools.json").unlink(missing_ok=True)  # whoever submits does not know which tools there are
    task = await submit(settings, job("[{tool: sql.qery, input: {}}]"))
    shown = await until(settings, task, "failed")
    assert shown["error"]["code"] == "tool.unknown"
    assert "sql.query" in shown["error"]["message"]
    assert shown["steps"] == []
    assert not [one for one in audit.read(settings.audit_folder, task=task) if one["event"] == "attempt"]


async def test_no_secret_is_in_the_history(settings: Settings, stack: Stack, worker: Parts) -> None:
    task = await submit(settings, job(f"[{asks('select current_user as me, 6 as marker from pg_sleep(4)')}]"))
    user = await running(stack, "6 as marker")
    shown = await until(settings, task, "completed")
    assert shown["result"]["output"]["rows"][0]["me"] == user
    history = (await (await temporal_client(settings)).get_workflow_handle(task).fetch_history()).to_json()
    for word in ("password", "eyJhbGciOi", "hvs.", "s.ey"):
        assert word not in history


def call(given: dict[str, Any]) -> Job:
    delegation = "{actions: [egress], spaces: [flights], budget: 5, expires_in: 1h}"
    return job(f"[{{tool: http.request, input: {json.dumps(given)}}}]", delegation=delegation)


async def test_a_service_is_called_with_a_token_for_it_alone(settings: Settings, worker: Parts) -> None:
    Service.asked.clear()
    given = {"service": "status-page", "method": "POST", "path": "/flights", "body": {"n": 1}}
    task = await submit(settings, call(given))
    shown = await until(settings, task, "completed")
    assert shown["result"]["output"] == {"status": 200, "body": {"status": "on time"}}
    ((method, path, headers, body),) = Service.asked
    assert (method, path, json.loads(body)) == ("POST", "/status/flights", {"n": 1})
    token = headers["Authorization"].removeprefix("Bearer ")
    claims = jwt.decode(token, options={"verify_signature": False})
    assert (claims["aud"], claims["sub"].rsplit("/", 1)[1], claims["txn"]) == ("status-page", "alice", task)
    assert claims["act"]["sub"].endswith("agent/flight-analyst")
    history = (await (await temporal_client(settings)).get_workflow_handle(task).fetch_history()).to_json()
    assert token not in history


@pytest.mark.parametrize(
    ("given", "code", "asked"),
    [
        ({"service": "status-page", "path": "/elsewhere"}, "http.redirect", 1),
        ({"service": "status-page", "path": "/long"}, "http.size", 1),
        ({"service": "status-page", "path": "//evil.example"}, "tool.input", 0),
        ({"service": "evil", "path": ""}, "policy.denied", 0),
    ],
)
async def test_a_request_goes_nowhere_else(
    settings: Settings, worker: Parts, given: dict[str, Any], code: str, asked: int
) -> None:
    Service.asked.clear()
    task = await submit(settings, call(given))
    shown = await until(settings, task, "failed")
    assert shown["error"]["code"] == code
    assert len(Service.asked) == asked
