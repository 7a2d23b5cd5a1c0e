"""Attacks on signals, resets and replay (25 to 29, 52): what a sender without a key reaches, on the real service."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grimp
import pytest
from temporalio import workflow
from temporalio.api.common.v1 import Header, Payload, Payloads, WorkflowExecution
from temporalio.api.enums.v1 import WorkflowTaskFailedCause
from temporalio.api.update.v1 import Input, Meta, Request, WaitPolicy
from temporalio.api.workflowservice.v1 import SignalWorkflowExecutionRequest, UpdateWorkflowExecutionRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import (
    ContinueAsNewInput,
    Interceptor,
    StartActivityInput,
    WorkflowInboundInterceptor,
    WorkflowOutboundInterceptor,
)

from remit import audit
from remit.assembly import Parts, temporal_client
from remit.codec import ENCODING, KEY
from remit.embedded import Stack
from remit.embedded.programs import program
from remit.settings import Settings
from remit.statements import Event
from remit.temporal import delegated

from ..integration.acting import Task, approve, delegate, state
from .asking import (
    BEGAN,
    GOT,
    Handle,
    altered,
    code_of,
    decide,
    happens,
    look,
    note,
    publisher,
    reset,
    start,
    waits,
    worker,
)
from .effects import effects

# Temporal tells a worker to cancel what it just finished; the SDK warns, and warnings are errors here.
pytestmark = [pytest.mark.servers, pytest.mark.filterwarnings("ignore:Cannot find activity to cancel")]

QUEUE = "signals"
READING = ["note.read", {"text": "flights", "seconds": 30}]


@pytest.fixture(scope="module")
async def served(settings: Settings) -> AsyncIterator[tuple[Client, Parts]]:
    async with worker(settings, QUEUE) as made:
        yield made


@pytest.fixture
def client(served: tuple[Client, Parts]) -> Client:
    return served[0]


@pytest.fixture
def parts(served: tuple[Client, Parts]) -> Parts:
    return served[1]


@pytest.fixture(autouse=True)
def nothing_done() -> None:
    GOT.clear()
    BEGAN.clear()


async def waiting_task(client: Client, settings: Settings) -> tuple[Task, Handle, dict[str, Any]]:
    task = await publisher(settings)
    handle = await start(client, task, "Calls", [note()], queue=QUEUE)
    return task, handle, await waits(handle)


def decisions(settings: Settings, task: str) -> list[str]:
    """Return the codes of a task's decisions that were recorded."""
    return [one.get("code", "") for one in audit.read(settings.audit_folder, task=task) if one["event"] == "decision"]


def unsigned(request: dict[str, Any], *, alg: str = "none", **claims: Any) -> str:
    """Return an approval in bob's name that nobody signed."""
    said = {
        "iss": "spiffe://remit.local/user/bob", "aud": "remit:remit.local", "jti": str(uuid.uuid4()), "iat": 0,
        "exp": 2**40, "request": request["request"], "binding": request["binding"], "decision": "approve", **claims,
    }  # fmt: skip
    header = {"alg": alg, "typ": "approval+jwt", "kid": "A" * 43}
    parts = (json.dumps(one).encode() for one in (header, said))
    return ".".join([*(base64.urlsafe_b64encode(one).rstrip(b"=").decode() for one in parts), "AAAA"])


# 25


def temporal(stack: Stack, *arguments: str) -> int:
    """Run the command everybody has who can reach the namespace."""
    argv = [str(program("temporal")), *arguments, "--address", stack.temporal.address, "--disable-config-file"]
    return subprocess.run(argv, capture_output=True, timeout=60, check=False).returncode


async def test_25_what_nobody_signed_approves_and_revokes_nothing(
    client: Client, stack: Stack, settings: Settings, parts: Parts
) -> None:
    task, handle, waiting = await waiting_task(client, settings)
    told = ("-w", task.id, "--input")
    async with effects(stack, settings, parts) as seen:
        done = await asyncio.gather(
            *(
                asyncio.to_thread(temporal, stack, "workflow", "signal", "--name", name, *told, json.dumps(value))
                for name, value in (
                    ("remit.decide", {"decision": "approve", "by": "bob"}),
                    ("remit.decide", unsigned(waiting)),
                    ("remit.decide", unsigned(waiting, alg="EdDSA")),
                    ("remit.resume", {"delegation": str(uuid.uuid4()), "digest": "A" * 43}),
                    ("remit.notice", {"status": "revoked", "delegation": task.reference.delegation}),
                    ("remit.revoke", {"delegation": task.reference.delegation}),
                    ("remit.status", "revoked"),
                )
            ),
            asyncio.to_thread(
                temporal, stack, "workflow", "update", "execute", "--name", "remit.decide", *told, '"approve"'
            ),
        )
        assert done == [*[0] * 7, 1], "Temporal takes any signal; an update that is no decision it refuses"
        await happens(lambda: len(decisions(settings, task.id)) == 3)
        view = await look(handle)
    assert (view["state"], view["waiting"]["request"]) == ("waiting-approval", waiting["request"])
    assert (view["waiting"]["approved"], view["delegation"]) == (0, task.reference.delegation)
    assert (seen.minted, seen.records, GOT) == ([], [], [])
    assert sorted(one["code"] for one in seen.others if one["event"] == "decision") == [
        "jws.form", "principal.unknown-key", "principal.unknown-key",
    ]  # fmt: skip
    assert all(one["outcome"] == "refused" for one in seen.others)
    assert (await decide(handle, await approve(settings, waiting, by="bob")))["accepted"]
    assert await handle.result() == ["published"]


async def test_25_an_old_signed_decision_means_nothing_to_a_new_run(
    client: Client, stack: Stack, settings: Settings, parts: Parts
) -> None:
    task, handle, waiting = await waiting_task(client, settings)
    token = await approve(settings, waiting, by="bob")
    await handle.terminate()
    fresh = await publisher(settings)
    await parts.registry.allow_task(fresh.reference.delegation, workflow_id=task.id)
    with delegated(fresh.reference):
        again = await client.start_workflow("Calls", [note()], id=task.id, task_queue=QUEUE)
    asked = await waits(again)
    assert asked["input"] == waiting["input"]
    async with effects(stack, settings, parts) as seen:
        assert (await decide(again, token))["code"] == "approval.no-request"
        await again.signal("remit.decide", token)
        assert (await waits(again))["request"] == asked["request"] != waiting["request"]
    assert (seen.minted, seen.records, GOT) == ([], [], [])
    assert {one["code"] for one in seen.others} == {"approval.no-request"}
    await again.terminate()


# 26

PLAIN = {"encoding": b"json/plain"}
POISON = base64.urlsafe_b64encode(b'{"request": "\\ud800"}').decode()
MALFORMED = {
    "nothing": [],
    "no-encoding": [Payload(data=b"\x00\xff")],
    "unknown-encoding": [Payload(metadata={"encoding": b"binary/of-my-own"}, data=b"x")],
    "encrypted": [Payload(metadata={"encoding": ENCODING}, data=bytes(64))],
    "encrypted-by-nobody": [Payload(metadata={"encoding": ENCODING, KEY: b"vault:v1:AAAA"}, data=bytes(64))],
    "binary": [Payload(metadata={"encoding": b"binary/plain"}, data=bytes(range(256)))],
    "null": [Payload(metadata={"encoding": b"binary/null"})],
    "protobuf": [Payload(metadata={"encoding": b"json/protobuf", "messageType": b"no.such.Type"}, data=b"{")],
    "no-json": [Payload(metadata=PLAIN, data=b'{"a": ')],
    "no-utf-8": [Payload(metadata=PLAIN, data=b'"\xff\xfe"')],
    "surrogate": [Payload(metadata=PLAIN, data=b'"\\ud800.\\udfff.\\ud800"')],
    "surrogate-inside": [Payload(metadata=PLAIN, data=json.dumps(f"e30.{POISON}.x").encode())],
    "deep": [Payload(metadata=PLAIN, data=b"[" * 100_000)],
    "huge": [Payload(metadata=PLAIN, data=b'"' + b"a.e30." * 250_000 + b'"')],
    "digits": [Payload(metadata=PLAIN, data=b"9" * 6000)],
    "nan": [Payload(metadata=PLAIN, data=b'{"delegation": NaN, "digest": Infinity}')],
    "wrong-types": [Payload(metadata=PLAIN, data=b'{"delegation": {"a": []}, "digest": 5}')],
    "many": [Payload(metadata=PLAIN, data=b'"x"')] * 50,
}


async def send(client: Client, task: str, name: str, payloads: list[Payload], *, identity: str = "bob") -> None:
    await client.workflow_service.signal_workflow_execution(
        SignalWorkflowExecutionRequest(
            namespace="default",
            workflow_execution=WorkflowExecution(workflow_id=task),
            signal_name=name,
            input=Payloads(payloads=payloads),
            identity=identity,
            header=Header(fields={"remit-approvals": Payload(metadata=PLAIN, data=b'["forged"]')}),
        )
    )


async def update(client: Client, task: str, name: str, payloads: list[Payload]) -> None:
    await client.workflow_service.update_workflow_execution(
        UpdateWorkflowExecutionRequest(
            namespace="default",
            workflow_execution=WorkflowExecution(workflow_id=task),
            wait_policy=WaitPolicy(lifecycle_stage="UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_COMPLETED"),
            request=Request(
                meta=Meta(update_id=str(uuid.uuid4()), identity="bob"),
                input=Input(name=name, args=Payloads(payloads=payloads)),
            ),
        )
    )


async def test_26_no_payload_stops_a_task(client: Client, stack: Stack, settings: Settings, parts: Parts) -> None:
    task, handle, waiting = await waiting_task(client, settings)
    async with effects(stack, settings, parts) as seen:
        for payloads in MALFORMED.values():
            for name in ("remit.decide", "remit.resume", "remit.notice"):
                await send(client, task.id, name, payloads)
            for name in ("remit.decide", "remit.resume"):
                await update(client, task.id, name, payloads)
        view = await look(handle)
        assert (view["state"], view["waiting"]["approved"]) == ("waiting-approval", 0)
    assert (seen.minted, seen.records, GOT) == ([], [], [])
    assert {one["outcome"] for one in seen.others} <= {"refused"}
    assert await stumbled(handle) == []
    assert (await decide(handle, await approve(settings, waiting, by="bob")))["accepted"]
    assert await handle.result() == ["published"]


async def test_26_a_name_a_client_gives_itself_proves_nothing(
    client: Client, stack: Stack, settings: Settings, parts: Parts
) -> None:
    task, handle, waiting = await waiting_task(client, settings)
    bob = await temporal_client(settings)
    bob = Client(**{**bob.config(), "interceptors": []})  # a client of somebody's own, without the plugin
    async with effects(stack, settings, parts) as seen:
        for identity in ("bob", "user/bob", "spiffe://remit.local/user/bob", "spiffe://remit.local/authority"):
            token = json.dumps(unsigned(waiting, alg="EdDSA")).encode()
            await send(bob, task.id, "remit.decide", [Payload(metadata=PLAIN, data=token)], identity=identity)
        await happens(lambda: len(decisions(settings, task.id)) == 4)
        assert (await look(handle))["waiting"]["approved"] == 0
    assert (seen.minted, seen.records, GOT) == ([], [], [])
    assert {(one["outcome"], one["code"]) for one in seen.others} == {("refused", "principal.unknown-key")}
    await handle.terminate()


async def events(handle: Handle) -> list[Any]:
    return [event async for event in handle.fetch_history_events()]


async def stumbled(handle: Handle) -> list[Any]:
    """Return the workflow tasks the worker failed; the server has some done anew when much comes at once."""
    failed = [event.workflow_task_failed_event_attributes for event in await events(handle)]
    return [
        one
        for one in failed
        if one.cause == WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_WORKFLOW_WORKER_UNHANDLED_FAILURE
    ]


# 27


async def test_27_ten_thousand_signals_are_bounded_and_a_revocation_among_them_works(
    client: Client, stack: Stack, settings: Settings, parts: Parts
) -> None:
    """10,000 is also what Temporal itself takes for one run: it refuses the next one.

    They come 90 at a time: a server that holds a hundred events back has the workflow task done anew, from the start of
    the history, and with all of them in one task a busy worker's SDK finds that the workflow does not yield.
    """
    task, handle, waiting = await waiting_task(client, settings)
    reference = json.dumps({"delegation": str(uuid.uuid4()), "digest": "A" * 43}).encode()
    forged = [json.dumps(unsigned(waiting | {"request": f"r{n}"})).encode() for n in range(100)]
    sent = 0

    def one(number: int) -> Any:
        kind = number % 5
        name = ("remit.notice", "remit.decide", "remit.resume", "remit.decide", "unknown")[kind]
        data = (b"1", forged[number % 100], reference, b"no decision at all", b'"x"')[kind]
        return send(client, task.id, name, [Payload(metadata=PLAIN, data=data)])

    async with effects(stack, settings, parts) as seen:
        while sent < 9_900:
            await asyncio.gather(*(one(number) for number in range(sent, sent + 90)))
            sent += 90
            await look(handle)
        await state(settings, task, Event.REVOKED)
        last = [
            *(one(number) for number in range(sent, sent + 99)),
            *(handle.signal("remit.notice") for _ in range(20)),
        ]
        refused = [one for one in await asyncio.gather(*last, return_exceptions=True) if one is not None]
        assert refused, "there is an end: the run's, or Temporal's own at 10,000"
        for error in refused:
            assert isinstance(error, RPCError), error
            assert error.status in (RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.NOT_FOUND), error
        assert await code_of(handle) == "chain.revoked"
    assert (seen.minted, seen.records, GOT) == ([], [], [])
    assert len([one for one in seen.others if one["event"] == "decision"]) <= 32
    assert len(await events(handle)) < 40_000
    assert (await look(handle))["state"] == "halted"


# 28


async def test_28_a_reset_that_drops_the_signal_undoes_no_revocation(
    client: Client, stack: Stack, settings: Settings, parts: Parts
) -> None:
    task = await delegate(settings)
    handle = await start(client, task, "Calls", [READING], queue=QUEUE)
    await happens(lambda: BEGAN)
    await state(settings, task, Event.REVOKED)
    await handle.signal("remit.notice")
    assert await code_of(handle) == "chain.revoked"
    BEGAN.clear()
    async with effects(stack, settings, parts) as seen:
        assert await code_of(await reset(client, handle, signals=False)) == "chain.revoked"
    assert (seen.minted, seen.began(), BEGAN, GOT) == ([], [], [], [])


async def test_28_a_task_started_again_under_its_id_has_nothing_of_the_old_one(
    client: Client, stack: Stack, settings: Settings, parts: Parts
) -> None:
    task, handle, waiting = await waiting_task(client, settings)
    token = await approve(settings, waiting, by="bob")
    assert (await decide(handle, token))["accepted"]
    await handle.result()
    async with effects(stack, settings, parts) as seen:
        again = await start(client, task, "Calls", [note()], queue=QUEUE)
        assert await code_of(again) == "delegation.other-task"
    seen.refused("delegation.other-task")
    assert len(GOT) == 1


# 29


def test_29_what_runs_in_workflows_reaches_no_clock_network_or_key() -> None:
    """import-linter forbids the clients; here it is said of the standard library and of cryptography too."""
    graph = grimp.build_graph("remit", include_external_packages=True, exclude_type_checking_imports=True)
    outside = ("socket", "ssl", "secrets", "random", "time", "subprocess", "cryptography", "jwt", "cedarpy", "urllib3")
    inside = (
        "workflow",
        "_workflow",
        "_task",
        "_step",
        "_gate",
        "_desk",
        "_children",
        "_handlers",
        "_outbound",
        "_view",
    )
    for module in inside:
        for name in outside:
            chain = name in graph.modules and graph.find_shortest_chain(f"remit.temporal.{module}", name)
            assert not chain, chain


async def test_29_a_policy_changed_meanwhile_changes_the_next_attempt_and_no_command(
    settings: Settings, tmp_path: Path
) -> None:
    stricter = altered(
        settings,
        tmp_path / "stricter",
        grants=('Agent in Role::"analyst", action in', 'Agent in Role::"writer", action in'),
    )
    task = await delegate(settings, agent="flight-analyst", actions=("read",))
    short = ["note.read", {"text": "one"}]
    async with worker(settings, "changed") as (client, parts):
        handle = await start(client, task, "Pausing", [short, 4, short], queue="changed")
        await happens(lambda: GOT)
        before = parts.policy.digest
    async with worker(stricter, "changed") as (client, parts):
        handle = client.get_workflow_handle(task.id)
        assert await code_of(handle) == "policy.denied"
        after = parts.policy.digest
    assert len(GOT) == 1
    assert await stumbled(handle) == []
    records = [one for one in audit.read(settings.audit_folder, task=task.id) if one["event"] == "attempt"]
    assert [(one["step"], one["outcome"], one["policy_set"]) for one in records] == [
        (1, "permitted", before), (1, "ok", before), (2, "refused", after),
    ]  # fmt: skip


# 52


class Forger(Interceptor):
    """An agent's own interceptor: it puts approvals into every header it can reach."""

    def workflow_interceptor_class(self, input: Any) -> type[WorkflowInboundInterceptor]:
        return Inside


FORGED: list[str] = []


class Inside(WorkflowInboundInterceptor):
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(Outside(outbound))


class Outside(WorkflowOutboundInterceptor):
    def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle[Any]:
        return super().start_activity(_forged(input))

    def continue_as_new(self, input: ContinueAsNewInput) -> Any:
        super().continue_as_new(_forged(input))


def _forged(input: Any) -> Any:
    input.headers = {**input.headers, "remit-approvals": Payload(metadata=PLAIN, data=json.dumps(FORGED).encode())}
    return input


async def test_52_nothing_a_workflow_says_of_itself_approves(stack: Stack, settings: Settings) -> None:
    FORGED.clear()
    task = await publisher(settings)
    async with worker(settings, "forging", interceptors=[Forger()]) as (client, parts):
        async with effects(stack, settings, parts) as seen:
            with delegated(task.reference):
                handle = await client.start_workflow(
                    "Forging", args=[[note()]], id=task.id, task_queue="forging", memo={"approved": True}
                )
            waiting = await waits(handle)
        assert (await handle.describe()).run_id != handle.first_execution_run_id, "it went on as new"
        seen.refused("approval.needed")
        own = await approve(settings, waiting, by="alice")
        other = await approve(settings, waiting | {"binding": "A" * 43}, by="bob")
        FORGED[:] = ["approved", unsigned(waiting), unsigned(waiting, alg="EdDSA"), own, other]
        again = await publisher(settings)
        async with effects(stack, settings, parts) as seen:
            second = await start(client, again, "Calls", [note()], queue="forging")
            asked = await waits(second)
        seen.refused("approval.needed")
        assert [one["code"] for one in asked["refused"]] == [
            "jws.form", "principal.unknown-key", "principal.unknown-key", "approval.four-eyes", "approval.request",
        ]  # fmt: skip
        assert GOT == []
        for one, request in ((handle, waiting), (second, asked)):
            FORGED.clear()
            assert (await decide(one, await approve(settings, request, by="bob")))["accepted"]
            await one.result()
    assert len(GOT) == 2
