"""Attacks on approvals (17 to 24): each shows what did not happen, on the real service."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from temporalio import workflow
from temporalio.api.enums.v1 import EventType
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import Client, WorkflowUpdateFailedError
from temporalio.service import RPCError
from temporalio.worker import Worker

from remit import approvals, jose
from remit.approvals import Approval
from remit.assembly import Parts, assemble, open_vault, temporal_client
from remit.client import Remit
from remit.client.connection import Connection
from remit.embedded import Stack
from remit.errors import NeedsApproval, Refused, RemitError
from remit.registry import PrincipalRecord, Registry
from remit.settings import Settings
from remit.statements import Event
from remit.step import Call, binding, request_id
from remit.vault import Token

from ..integration.acting import PUBLISH, approve, authorize, delegate, narrower, principal, state
from .asking import (
    BEGAN,
    GOT,
    altered,
    code_of,
    decide,
    happens,
    look,
    note,
    publisher,
    reset,
    start,
    until,
    waits,
    worker,
)
from .effects import effects

# Temporal tells a worker to cancel what it just finished; the SDK warns, and warnings are errors here.
pytestmark = [pytest.mark.servers, pytest.mark.filterwarnings("ignore:Cannot find activity to cancel")]

QUEUE = "approvals"
DAY = timedelta(days=1)
_ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("REMIT_")}
TWO = {
    "catalogue": ("roles: [security]}", "roles: [security, data-steward]}"),
    "approvals": (
        'unless { context.approvals.roles.contains(Role::"data-steward") };',
        'unless { context.approvals.count >= 2 && context.approvals.roles.contains(Role::"data-steward") };',
    ),
}
"""Carol is a steward too, and publishing takes two of them."""


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


async def refused(parts: Parts, attempt: Any) -> RemitError:
    with pytest.raises(RemitError) as caught:
        await authorize(parts, attempt)
    return caught.value


# 17


async def test_17_an_approval_of_one_step_opens_no_other(
    client: Client, stack: Stack, settings: Settings, parts: Parts
) -> None:
    task = await publisher(settings)
    handle = await start(client, task, "Calls", [note(), note()], queue=QUEUE)
    first = await waits(handle)
    token = await approve(settings, first, by="bob")
    assert (await decide(handle, token))["accepted"]
    second = await waits(handle, after=first["request"])
    assert second["input"] == first["input"], "the very same arguments"
    async with effects(stack, settings, parts) as seen:
        await decide(handle, token)  # judged once, and not again
        renamed = await approve(settings, first | {"request": second["request"], "binding": "A" * 43}, by="bob")
        assert (await decide(handle, renamed))["code"] == "approval.binding"
        assert (await waits(handle))["approved"] == 0
    assert (seen.minted, seen.records, len(GOT)) == ([], [], 1)
    assert [(one["outcome"], one["code"]) for one in seen.others] == [("refused", "approval.binding")]
    await decide(handle, await approve(settings, second, by="bob"))
    assert await handle.result() == ["published"] * 2


async def test_17_what_a_worker_carries_over_opens_nothing(stack: Stack, settings: Settings, parts: Parts) -> None:
    task = await narrower(parts, await delegate(settings))
    attempt = task.attempt(PUBLISH, credential="reports-rw")
    waiting = await refused(parts, attempt)
    assert isinstance(waiting, NeedsApproval)
    token = await approve(settings, waiting.request, by="bob")
    changed = Call(PUBLISH.action, PUBLISH.resource, {**PUBLISH.input, "table": "other"})
    for other, why in (
        (replace(attempt, step=2, activity="2"), "approval.request"),
        (replace(attempt, call=changed), "approval.request"),
    ):
        async with effects(stack, settings, parts) as seen:
            error = await refused(parts, replace(other, approvals=(token,)))
            assert isinstance(error, NeedsApproval)
            assert [one["code"] for one in error.request["refused"]] == [why]
        seen.refused("approval.needed")
    turned = Call(PUBLISH.action, PUBLISH.resource, dict(reversed(PUBLISH.input.items())))
    grant = await authorize(parts, replace(attempt, call=turned, approvals=(token,)))
    await parts.authority.release(grant, outcome="ok")


async def test_17_arguments_changed_while_they_are_decided_are_asked_about_anew(
    client: Client, stack: Stack, settings: Settings, parts: Parts
) -> None:
    task = await publisher(settings)
    handle = await start(client, task, "Changing", note(seconds=0.01), queue=QUEUE)
    waiting = await waits(handle)
    async with effects(stack, settings, parts) as seen:
        await handle.signal("change", {"text": "and the payroll"})
        assert (await decide(handle, await approve(settings, waiting, by="bob")))["accepted"]
        asked = await waits(handle, after=waiting["request"])
    assert asked["input"]["text"] == "and the payroll"
    assert [one["code"] for one in asked["refused"]] == ["approval.request"]
    assert GOT == []
    seen.refused("approval.needed")
    await handle.signal("turn")  # the same arguments in another order are the same arguments
    await decide(handle, await approve(settings, asked, by="bob"))
    assert await handle.result() == "published"
    assert GOT == [{"text": "and the payroll", "seconds": 0.01}]


# 18


async def test_18_a_call_worded_anew_is_asked_about_anew(
    client: Client, stack: Stack, settings: Settings, parts: Parts
) -> None:
    task = await publisher(settings)
    handle = await start(client, task, "Insisting", [note("safe", fails=True), note("wider")], queue=QUEUE)
    first = await waits(handle)
    token = await approve(settings, first, by="bob")
    await decide(handle, token)
    second = await waits(handle, after=first["request"])
    assert (second["input"]["text"], [one["text"] for one in GOT]) == ("wider", ["safe"])
    async with effects(stack, settings, parts) as seen:
        await decide(handle, token)
        assert (await waits(handle))["request"] == second["request"]
    assert (seen.minted, seen.records, len(GOT)) == ([], [], 1)
    await handle.terminate()


# 19


async def agent_approves(settings: Settings, parts: Parts, request: dict[str, Any], agent: str) -> str:
    """Have an agent sign an approval with its own key."""
    now = int(time.time())
    made = Approval(
        str(uuid.uuid4()), principal(f"agent/{agent}"), "remit:remit.local", now, now + 600,
        request["request"], request["binding"], "approve",
    )  # fmt: skip
    signer = await parts.presenter.signer(principal(f"agent/{agent}"))
    return await jose.sign(made.to_claims(), typ=approvals.TYP, signer=signer)


@pytest.mark.parametrize("below", [False, True], ids=["task", "child"])
@pytest.mark.parametrize("way", ["update", "signal"])
async def test_19_nobody_of_the_chain_approves(
    client: Client, stack: Stack, settings: Settings, parts: Parts, below: bool, way: str
) -> None:
    task = await delegate(settings) if below else await publisher(settings)
    handle = await start(client, task, "Handing" if below else "Calls", [note()], queue=QUEUE)
    if below:
        await happens(lambda: refusals(settings, f"{task.id}-child"))
        handle = client.get_workflow_handle(f"{task.id}-child")
    waiting = await waits(handle)
    tokens = {
        "approval.four-eyes": await approve(settings, waiting, by="alice"),
        "approval.not-permitted": await approve(settings, waiting, by="carol"),
    }
    agents = ["report-writer", "flight-analyst"] if below else ["report-writer"]
    own = [await agent_approves(settings, parts, waiting, agent) for agent in agents]
    async with effects(stack, settings, parts) as seen:
        for token in (*tokens.values(), *own):
            if way == "update":
                answer = await decide(handle, token)
                assert not answer["accepted"]
            else:
                await handle.signal("remit.decide", token)
        await happens(lambda: len(decisions(settings, handle.id)) == len(tokens) + len(own))
        assert (await waits(handle))["approved"] == 0
    assert (seen.minted, seen.records, GOT) == ([], [], [])
    assert [one["code"] for one in seen.others] == [*tokens, *["approval.four-eyes"] * len(own)]
    await decide(handle, await approve(settings, waiting, by="bob"))
    await handle.result()


def decisions(settings: Settings, task: str) -> list[dict[str, Any]]:
    from remit import audit

    return [one for one in audit.read(settings.audit_folder, task=task) if one["event"] == "decision"]


async def test_19_whoever_delegates_anew_does_not_approve_either(
    client: Client, stack: Stack, settings: Settings, parts: Parts
) -> None:
    task = await publisher(settings)
    handle = await start(client, task, "Calls", [note()], queue=QUEUE, on_revocation=DAY)
    before = await waits(handle)
    old = await approve(settings, before, by="bob")
    await state(settings, task, Event.REVOKED)
    await handle.signal("remit.notice")
    await until(handle, "suspended")
    async with Remit.open(settings, person="alice") as alice:
        await alice.resume(task.id)
    fresh = await waits(handle, after=before["request"])
    async with effects(stack, settings, parts) as seen:
        assert (await decide(handle, await approve(settings, fresh, by="alice")))["code"] == "approval.four-eyes"
        assert (await decide(handle, old))["code"] == "approval.no-request"
        assert (await waits(handle))["approved"] == 0
    assert (seen.minted, seen.records, GOT) == ([], [], [])
    await handle.terminate()


@pytest.mark.parametrize("lost", ["suspended", "revoked", "policy"])
async def test_19_an_approver_who_lost_the_right_meanwhile_is_asked_for_anew(
    stack: Stack, settings: Settings, tmp_path: Path, lost: str
) -> None:
    queue = f"lost-{lost}"
    first = altered(settings, tmp_path / "before", catalogue=TWO["catalogue"])
    task = await publisher(settings)
    async with worker(first, queue) as (client, _):
        handle = await start(client, task, "Calls", [note(seconds=30)], queue=queue)
        waiting = await waits(handle)
        assert (await decide(handle, await approve(settings, waiting, by="carol")))["accepted"]
        await happens(lambda: BEGAN)
        await state(settings, task, Event.SUSPENDED)
        await handle.signal("remit.notice")
        await until(handle, "suspended")
    after = settings if lost == "policy" else first
    async with worker(after, queue) as (client, parts):
        handle = client.get_workflow_handle(task.id)
        try:
            if lost != "policy":
                event = Event.SUSPENDED if lost == "suspended" else Event.REVOKED
                await state(settings, "user/carol", event, by="carol")
            async with effects(stack, settings, parts) as seen:
                await state(settings, task, Event.REINSTATED)
                await handle.signal("remit.notice")
                asked = await waits(handle)
        finally:
            if lost != "policy":
                await back(settings, parts)
        why = {"policy": "approval.not-permitted"}.get(lost, f"chain.{lost}")
        assert [one["code"] for one in asked["refused"]] == [why]
        assert (asked["request"], GOT) == (waiting["request"], [])
        seen.refused("approval.needed")
        await handle.terminate()


async def test_19_what_was_signed_before_a_revocation_stays_dead_after_it(
    stack: Stack, settings: Settings, tmp_path: Path
) -> None:
    """Nobody knows whose hand it was: reinstating carol gives her back her future, not the approvals of a thief."""
    two = altered(settings, tmp_path / "stewards", catalogue=TWO["catalogue"])
    async with assemble(two) as parts:
        await stolen_approval(stack, settings, parts)


async def stolen_approval(stack: Stack, settings: Settings, parts: Parts) -> None:
    task = await narrower(parts, await delegate(settings))
    attempt = task.attempt(PUBLISH, credential="reports-rw")
    waiting = await refused(parts, attempt)
    assert isinstance(waiting, NeedsApproval)
    stolen = await approve(settings, waiting.request, by="carol")
    await state(settings, "user/carol", Event.REVOKED, by="carol")
    await back(settings, parts)
    async with effects(stack, settings, parts) as seen:
        error = await refused(parts, replace(attempt, approvals=(stolen,)))
        assert isinstance(error, NeedsApproval)
        assert [one["code"] for one in error.request["refused"]] == ["chain.revoked"]
        answer = await parts.authority.admit(
            stolen, request=waiting.request, reference=task.reference, namespace="default", task=task.id
        )
        assert (answer.accepted, answer.code) == (False, "chain.revoked")
    seen.refused("approval.needed")
    again = await approve(settings, waiting.request, by="carol")
    await parts.authority.release(await authorize(parts, replace(attempt, approvals=(again,))), outcome="ok")


async def back(settings: Settings, parts: Parts) -> None:
    """Reinstate carol as a cascade would, and return when what she signs counts again."""
    await state(settings, "user/carol", Event.REINSTATED, by="carol")
    for token in await parts.registry.statements(principal("user/carol")):
        await parts.registry.confirm(token)  # it counts whatever becomes of her key
    await asyncio.sleep(3.1)  # statements are dated in whole seconds, each after the one before


@asynccontextmanager
async def lent(stack: Stack, settings: Settings, *, to: str, of: str) -> AsyncIterator[None]:
    """Have the directory say that one principal's key is another's as well, until the block is left."""
    vault = open_vault(settings, Token(stack.openbao.admin_token()))
    try:
        registry = Registry(vault)
        borrower, lender = [await registry.principal(principal(one)) for one in (to, of)]
        assert borrower is not None
        assert lender is not None
        await registry.put_principal(PrincipalRecord(borrower.principal, lender.key, lender.signing_key))
        try:
            yield
        finally:
            await registry.put_principal(borrower)
            await registry.put_principal(lender)
    finally:
        await vault.close()


async def signed(settings: Settings, request: dict[str, Any], *, iss: str, by: str) -> str:
    """Return an approval in one person's name with another's key."""
    person = Connection(settings, by)
    try:
        now = int(time.time())
        made = Approval(
            str(uuid.uuid4()), principal(iss), person.audience, now, now + 600,
            request["request"], request["binding"], "approve",
        )  # fmt: skip
        return await jose.sign(made.to_claims(), typ=approvals.TYP, signer=await person.signer())
    finally:
        await person.vault.close()


async def test_19_a_key_of_the_chain_approves_under_no_name(stack: Stack, settings: Settings, parts: Parts) -> None:
    task = await narrower(parts, await delegate(settings))
    attempt = task.attempt(PUBLISH, credential="reports-rw")
    waiting = await refused(parts, attempt)
    assert isinstance(waiting, NeedsApproval)
    signer = await parts.presenter.signer(principal("agent/flight-analyst"))
    now = int(time.time())
    made = Approval(
        str(uuid.uuid4()), principal("user/bob"), "remit:remit.local", now, now + 600,
        waiting.request["request"], waiting.request["binding"], "approve",
    )  # fmt: skip
    async with lent(stack, settings, to="user/bob", of="agent/flight-analyst"):
        token = await jose.sign(made.to_claims(), typ=approvals.TYP, signer=signer)
        async with effects(stack, settings, parts) as seen:
            error = await refused(parts, replace(attempt, approvals=(token,)))
            assert isinstance(error, NeedsApproval)
            assert [one["code"] for one in error.request["refused"]] == ["approval.four-eyes"]
        seen.refused("approval.needed")


# 20


async def test_20_one_approval_sent_many_times_at_once_is_one_execution(
    client: Client, stack: Stack, settings: Settings, parts: Parts
) -> None:
    task = await publisher(settings)
    handle = await start(client, task, "Calls", [note()], queue=QUEUE)
    token = await approve(settings, await waits(handle), by="bob")
    async with effects(stack, settings, parts) as seen:
        await asyncio.gather(
            *(handle.signal("remit.decide", token) for _ in range(5)),
            *(decide(handle, token) for _ in range(3)),
        )
        assert await handle.result() == ["published"]
    assert len(GOT) == 1
    assert [one["outcome"] for one in seen.records] == ["permitted", "ok"]
    assert seen.minted.count("database/creds/reports-rw") == 1


async def test_20_one_approval_used_in_two_runs_at_once_opens_one(
    stack: Stack, settings: Settings, parts: Parts
) -> None:
    task = await narrower(parts, await delegate(settings))
    attempt = task.attempt(PUBLISH, credential="reports-rw")
    waiting = await refused(parts, attempt)
    assert isinstance(waiting, NeedsApproval)
    attempt = replace(attempt, approvals=(await approve(settings, waiting.request, by="bob"),))
    async with effects(stack, settings, parts) as seen:
        ended = await asyncio.gather(
            *(authorize(parts, replace(attempt, run=str(uuid.uuid4()))) for _ in range(6)), return_exceptions=True
        )
        grants = [one for one in ended if not isinstance(one, BaseException)]
        assert {one.code for one in ended if isinstance(one, Refused)} == {"approval.used"}
        assert len(grants) == 1
        await parts.authority.release(grants[0], outcome="ok")
    assert seen.minted.count("database/creds/reports-rw") == 1
    assert sorted(one["outcome"] for one in seen.records) == ["ok", "permitted", *["refused"] * 5]


async def test_20_two_approvals_by_one_person_or_one_key_count_once(
    stack: Stack, settings: Settings, tmp_path: Path
) -> None:
    two = altered(settings, tmp_path / "two", **TWO)
    task = await publisher(settings)
    async with worker(two, "two") as (client, parts):
        handle = await start(client, task, "Calls", [note()], queue="two")
        waiting = await waits(handle)
        async with effects(stack, settings, parts) as seen:
            for _ in range(2):  # two documents, one person
                assert (await decide(handle, await approve(settings, waiting, by="bob")))["accepted"]
                await happens(lambda: len(refusals(settings, task.id)) > 1)
            async with lent(stack, settings, to="user/bob", of="user/carol"):  # two names, one key
                tried = len(refusals(settings, task.id))
                tokens = [await signed(settings, waiting, iss=f"user/{name}", by="carol") for name in ("carol", "bob")]
                answers = [await decide(handle, token) for token in tokens]
                assert [one["code"] for one in answers] == ["approval.issuer", ""]
                await happens(
                    lambda: len(refusals(settings, task.id)) > tried + 1
                )  # the answer's record, the attempt's
                assert (await waits(handle))["approved"] == 1
        assert (seen.minted, GOT, seen.began()) == ([], [], [])
        assert {one["code"] for one in seen.records} == {"approval.needed"}
        async with effects(stack, settings, parts) as seen:
            for person in ("bob", "carol"):
                await waits(handle)
                assert (await decide(handle, await approve(settings, waiting, by=person)))["accepted"]
            assert await handle.result() == ["published"]
        assert len(GOT) == 1
        (begun,) = seen.began()
        assert sorted(one["by"].rsplit("/", 1)[1] for one in begun["approvals"]) == ["bob", "carol"]


def refusals(settings: Settings, task: str) -> list[dict[str, Any]]:
    from remit import audit

    return [one for one in audit.read(settings.audit_folder, task=task) if one["outcome"] == "refused"]


# 21


async def test_21_an_approval_that_expired_in_a_pause_is_asked_for_anew(
    client: Client, stack: Stack, settings: Settings, parts: Parts
) -> None:
    task = await publisher(settings)
    handle = await start(client, task, "Calls", [note(seconds=30)], queue=QUEUE)
    waiting = await waits(handle)
    began = time.time()
    # it ends in 8 s: clocks may differ by 30
    assert (await decide(handle, await approve(settings, waiting, by="bob", lifetime=-22, age=600)))["accepted"]
    await happens(lambda: BEGAN)
    await state(settings, task, Event.SUSPENDED)
    await handle.signal("remit.notice")
    await until(handle, "suspended")
    await asyncio.sleep(max(0.0, began + 9 - time.time()))
    async with effects(stack, settings, parts) as seen:
        await state(settings, task, Event.REINSTATED)
        await handle.signal("remit.notice")
        asked = await waits(handle)
    assert [one["code"] for one in asked["refused"]] == ["approval.expired"]
    assert GOT == []
    seen.refused("approval.needed")
    await handle.terminate()


async def test_21_a_rejection_beats_the_approval_it_races_for_good(stack: Stack, settings: Settings) -> None:
    """Also where somebody resets the workflow to before it heard the no, and sends it the yes alone."""
    tasks = [await publisher(settings) for _ in range(2)]
    yes = {}
    async with worker(settings, "race") as (client, _):
        handles = [await start(client, task, "Calls", [note()], queue="race") for task in tasks]
        requests = [await waits(handle) for handle in handles]
    for handle, request, order in zip(handles, requests, ("approve reject", "reject approve"), strict=True):
        for word in order.split():  # no worker is there: it finds both at once
            token = await approve(settings, request, by="bob", decision=word)
            await handle.signal("remit.decide", token)
            yes |= {handle.id: token} if word == "approve" else {}
    async with worker(settings, "race") as (client, parts), effects(stack, settings, parts) as seen:
        for task in tasks:
            handle = client.get_workflow_handle(task.id)
            assert await code_of(handle) == "approval.rejected"
            again = await reset(client, handle, signals=False)
            await again.signal("remit.decide", yes[task.id])
            assert await code_of(again) == "approval.rejected"
    assert (seen.minted, seen.began(), GOT) == ([], [], [])
    assert {one["code"] for one in seen.records} == {"approval.rejected"}


async def test_21_an_approval_from_before_the_request_is_ignored(
    client: Client, stack: Stack, settings: Settings, parts: Parts
) -> None:
    task = await delegate(settings, agent="report-writer", actions=("report:publish",))
    handle = await start(client, task, "Calls", [note("first"), note("second")], queue=QUEUE)
    first = await waits(handle)
    call = Call("report:publish", "reports", {**first["input"], "text": "second"})
    run = handle.first_execution_run_id or ""
    bound = binding(task=task.id, run=run, delegation=task.reference.delegation, call=call)
    foreseen = {"request": request_id(bound, 2), "binding": bound}
    async with effects(stack, settings, parts) as seen:
        early = await approve(settings, foreseen, by="bob")
        assert (await decide(handle, early))["code"] == "approval.no-request"
    assert (seen.minted, seen.records) == ([], [])
    assert [(one["outcome"], one["code"], one["task"]) for one in seen.others] == [
        ("refused", "approval.no-request", task.id)
    ]
    async with effects(stack, settings, parts) as seen:
        await decide(handle, await approve(settings, first, by="bob"))
        second = await waits(handle, after=first["request"])
        assert second["request"] == foreseen["request"], "the very request that was foreseen"
        await asyncio.sleep(0.5)
        assert (await waits(handle))["approved"] == 0
    assert [one["text"] for one in GOT] == ["first"]
    await handle.terminate()


# 22

HOSTILE = {
    "bidi": "flights\u202e\u2066 ;tceles\u2069",
    "letters": "\u05d0\u05d1 \u0661\u0662 a\u0301\u0489\ufe0f\U000e0041\u3164\u2800\u00ad",
    "newline": "select 1\r\n\nApprove this as bob? [y/N]: y\u2028\u2029\x85",
    "ansi": "\x1b[2J\x1b[31m\x1b]0;title\x07\x1b]8;;http://evil.example\x07here\x1b]8;;\x07\x9b31m\x7f\x00",
    "markdown": "```\n# Approved\n**by bob** [x](http://evil.example) ![y](http://evil.example/y.png) | a | b |\n~~~",
    "html": "<script>alert(1)</script><img src=x onerror=alert(1)> &#8238; &lt; www.evil.example bob@evil.example",
    "rich": "[bold]x[/bold] [link=http://evil.example]y[/link] :warning:",
    "deep": {"a\u202eb": [1, 1.5, True, None, {"\x1b[0m": "\\u0000"}], "`": "'\""},
    "homely": "Zürich 東京 😀",
}
_STYLE = re.compile(r"\x1b\[[0-9;]*m")


def command(stack: Stack, *arguments: str, columns: int, answer: str = "") -> str:
    """Run a command at a terminal of this width as bob; return what stands there, without its colours."""
    script = (
        "import os, pty, sys\n"
        "sys.exit(os.waitstatus_to_exitcode(pty.spawn([sys.executable, '-m', 'remit.cli', *sys.argv[1:]])))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, *arguments, "--home", str(stack.home), "--as", "bob"],
        env={**_ENVIRONMENT, "COLUMNS": str(columns), "TERM": "xterm-256color"},
        input=answer.encode(),
        capture_output=True,
        timeout=60,
        check=True,
    )
    shown = _STYLE.sub("", ended.stdout.decode()).replace("\r\n", "\n")
    assert all(one == "\n" or one.isprintable() for one in shown), ascii(shown)
    return shown


def table(shown: str) -> dict[str, Any]:
    """Read the arguments back from what a terminal wide enough shows."""
    lines = shown.split("with exactly:\n", 1)[1].splitlines()
    rows = [line.rstrip() for line in lines[1:]]
    found: dict[str, Any] = {}
    for row in rows:
        if not row.startswith('"'):
            break
        name, _, value = row.partition("  ")
        found[json.loads(name)] = json.loads(value)
    return found


async def details(handle: Any) -> str:
    metadata = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    return str(metadata.current_details)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
async def test_22_what_is_shown_in_the_ui_is_what_runs(client: Client, settings: Settings, text: Any) -> None:
    task = await publisher(settings)
    handle = await start(client, task, "Calls", [note(text)], queue=QUEUE)
    waiting = await waits(handle)
    markdown = await details(handle)
    assert all(one == "\n" or (one.isprintable() and one not in "\u3164\u2800\ufe0f\u0301") for one in markdown)
    ((fenced,),) = [re.findall(r"```\n(.*)\n```", markdown)]
    assert json.loads(fenced) == waiting["input"]
    tags = set(re.findall(r"</?(\w+)", MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(markdown)))
    assert tags <= {"p", "strong", "code", "pre", "table", "thead", "tbody", "tr", "th", "td"}
    assert f"`{waiting['request']}`" in markdown
    await decide(handle, await approve(settings, waiting, by="bob"))
    await handle.result()
    assert json.loads(fenced)["text"] == GOT[0]["text"] == text


async def test_22_what_is_shown_at_a_terminal_is_what_runs(client: Client, stack: Stack, settings: Settings) -> None:
    task = await publisher(settings)
    handle = await start(client, task, "Calls", [note(HOSTILE)], queue=QUEUE)
    waiting = await waits(handle)
    listed = await asyncio.to_thread(command, stack, "approvals", columns=20_000)
    (ours,) = [part for part in listed.split("\n\n") if part.startswith(task.id)]
    assert table(ours) == waiting["input"]
    narrow = await asyncio.to_thread(command, stack, "show", task.id, columns=60)
    assert max(map(len, narrow.splitlines())) <= 60
    value = next(line for line in ours.splitlines() if line.startswith('"text"')).partition("  ")[2]
    assert "".join(value.split()) in "".join(narrow.split()).replace('"text"', "", 1), "folded, never cut"
    approved = await asyncio.to_thread(command, stack, "approve", task.id, columns=20_000, answer="y\n")
    assert table(approved) == waiting["input"]
    assert "Approve this as bob?" in approved
    await handle.result()
    assert GOT == [{"text": HOSTILE}]


async def test_22_nothing_is_shortened_unsaid(client: Client, stack: Stack, settings: Settings) -> None:
    task = await publisher(settings)
    text = "x" * 100_000 + "; drop table flights"
    handle = await start(client, task, "Parallel", [note(text), *[note(n) for n in range(9)]], queue=QUEUE)
    await happens(lambda: len(refusals(settings, task.id)) == 10)
    waiting = await waits(handle)
    markdown = await details(handle)
    deadline = time.monotonic() + 60
    while "**2 more wait;**" not in markdown and time.monotonic() < deadline:  # it hears of the last after the record
        await asyncio.sleep(0.05)
        markdown = await details(handle)
    everything = len(json.dumps({**waiting["input"], "text": text}))
    assert f"**Shortened: 2000 of {everything} characters.** Decide only on all of it: `remit approvals`" in markdown
    assert "**2 more wait;** `remit approvals` shows all." in markdown
    assert len(markdown) < 10_000
    listed = await asyncio.to_thread(command, stack, "approvals", columns=80)
    assert "".join(json.dumps(text).split()) in re.sub(r'\s|"text"', "", listed), "a terminal shows all of it"
    await handle.terminate()


@workflow.defn(name="Liar", sandboxed=False)
class Liar:
    """A worker that was taken over: it shows people what it likes, and keeps what they sign."""

    def __init__(self) -> None:
        self._view: dict[str, Any] = {}
        self._told: list[str] = []

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.signal
    def show(self, view: dict[str, Any]) -> None:
        self._view = view

    @workflow.query(name="remit.view")
    def view(self) -> dict[str, Any]:
        return self._view

    @workflow.query
    def told(self) -> list[str]:
        return self._told

    @workflow.update(name="remit.decide")
    def decide(self, token: str) -> dict[str, Any]:
        self._told.append(token)
        return {"accepted": True}


async def test_22_nothing_but_what_was_shown_is_signed(settings: Settings) -> None:
    """Not what a worker says of itself, and not what it says a moment later."""
    task = await publisher(settings)
    client = await temporal_client(settings)
    async with Worker(client, task_queue="lies", workflows=[Liar]):
        handle = await client.start_workflow("Liar", id=task.id, task_queue="lies")

        def waits_with(shown: str, *, asks: str) -> dict[str, Any]:
            calls = [Call("report:publish", "reports", {"text": text}) for text in (shown, asks)]
            run, jti = handle.first_execution_run_id or "", task.reference.delegation
            bound = binding(task=task.id, run=run, delegation=jti, call=calls[1])
            return {
                "task": "another", "delegation": jti, "root": "spiffe://remit.local/user/carol", "purpose": "harmless",
                "agent": "spiffe://remit.local/agent/flight-analyst",
                "waiting": {
                    "request": "r1", "binding": bound, "action": calls[0].action, "resource": calls[0].resource,
                    "input": calls[0].input, "approvers": ["data-steward"], "since": "", "policies": [],
                },
            }  # fmt: skip

        async with Remit.open(settings, person="bob") as bob:
            await handle.signal("show", waits_with("delays", asks="delays"))
            shown = await bob.waiting(task.id)
            assert (shown.task, shown.root, shown.agent, shown.purpose) == (
                task.id, "spiffe://remit.local/user/alice", "spiffe://remit.local/agent/report-writer", "delay-review",
            )  # fmt: skip
            await handle.signal("show", waits_with("payroll", asks="payroll"))
            await bob.decide(shown, "approve")
            await handle.signal("show", waits_with("delays", asks="payroll"))
            with pytest.raises(Refused) as caught:
                await bob.approve(task.id)
        assert caught.value.code == "approval.shown-otherwise"
        (token,) = await handle.query("told")
        said = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        assert said["binding"] == shown.binding
        await handle.terminate()


# 23


async def test_23_a_reset_that_applies_the_signal_again_consumes_nothing_twice(
    client: Client, stack: Stack, settings: Settings, parts: Parts
) -> None:
    task = await publisher(settings)
    handle = await start(client, task, "Calls", [note()], queue=QUEUE)
    token = await approve(settings, await waits(handle), by="bob")
    await handle.signal("remit.decide", token)
    assert await handle.result() == ["published"]
    async with effects(stack, settings, parts) as seen:
        again = await reset(client, handle, signals=True, before=EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED)
        while (await look(again))["state"] != "failed":  # where it came before the request, once more
            with contextlib.suppress(WorkflowUpdateFailedError, RPCError):
                await decide(again, token)
        assert await code_of(again) == "approval.used"
    assert (seen.minted, len(GOT)) == ([], 1)
    assert [one["code"] for one in seen.records if one["outcome"] == "refused"][-1:] == ["approval.used"]
    assert seen.began() == []


# 24


async def test_24_a_thousand_requests_are_bounded(stack: Stack, settings: Settings) -> None:
    task = await publisher(settings, budget=2000)
    async with (
        worker(settings, "thousand", max_concurrent_activities=20) as (client, parts),
        effects(stack, settings, parts) as seen,
    ):
        handle = await start(client, task, "Parallel", [note(n) for n in range(1000)], queue="thousand")
        await happens(lambda: len(refusals(settings, task.id)) >= 1000, every=1)
        view = await until(handle, "waiting-approval")
        assert 1 + len(view["also_waiting"]) == 64
        waiting = view["waiting"]
        assert (await decide(handle, await approve(settings, waiting, by="bob")))["accepted"]
        await happens(lambda: GOT)
        view = await until(handle, "waiting-approval", request=waiting["request"])
        assert 1 + len(view["also_waiting"]) == 64, "the next one takes its place"
        await handle.terminate()
    assert [one["text"] for one in GOT] == [waiting["input"]["text"]]
    assert len(seen.began()) == 1
    assert seen.minted.count("database/creds/reports-rw") == 1
