"""One task's evidence from the real service: exported, verified with the keys alone, compared with OpenBao's own log.

The task is denied a step, asks a service with a token, publishes after an approval, is revoked while it publishes
again, and goes on under a fresh delegation after another approval.
"""

from __future__ import annotations

import asyncio
import copy
import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from remit import jose
from remit.assembly import Parts
from remit.attempt import Attempt
from remit.audit import AuditLog
from remit.bootstrap.identities import STEP_KEY
from remit.client import Remit
from remit.credentials.mint import STEP_AUDIENCE
from remit.embedded import Stack
from remit.embedded.programs import program
from remit.evidence import document, history, keys, verification
from remit.presentation import STEP_TYP, step_token_claims
from remit.settings import Settings
from remit.vault import TransitSigner
from tests.unit.documents import token as signed

from .acting import delegate, principal
from .service import job, running, serving, submit, until

pytestmark = [
    pytest.mark.servers,
    pytest.mark.timeout(180),
    pytest.mark.filterwarnings("ignore:Cannot find activity to cancel"),
]

STEPS = """[{tool: sql.query, input: {dataset: flights, sql: "select 1"}},
  {tool: http.request, input: {service: status-page, path: /now}},
  {tool: report.publish, input: {table: evidence, sql: "select 1 as n"}},
  {tool: report.publish, input: {table: evidence, sql: "select pg_sleep(8)::text as evidence"}}]"""
SCOPE = (
    '{actions: [read, "report:publish", "http:request"], spaces: [flights], budget: 50, expires_in: 1h, max_depth: 2}'
)


@dataclass(frozen=True)
class Told:
    """What there is about the task, as files and as read."""

    task: str
    folder: Path
    export: dict[str, Any]

    @property
    def keys(self) -> keys.Keys:
        return keys.load(self.folder / "keys.json")

    def codes(self, export: dict[str, Any], *, by_history: bool = False) -> set[str]:
        histories = [history.read((self.folder / "history.json").read_bytes())] if by_history else []
        report = verification.verify(document.read(json.dumps(export).encode()), keys=self.keys, histories=histories)
        return {one.code for one in report.findings}


def said(jws: str) -> dict[str, Any]:
    """Return what a signed document says."""
    body = jws.split(".")[1]
    claims: dict[str, Any] = json.loads(urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return claims


def command(home: Path, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "remit.cli", *map(str, arguments), "--home", str(home)]
    named = {**os.environ, "COLUMNS": "200", **environment}
    ended = subprocess.run(argv, env=named, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in ended.stderr, ended.stderr
    return ended


@pytest.fixture(scope="module")
async def page() -> AsyncIterator[str]:
    """A service that answers everything."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.fixture(scope="module")
async def told(stack: Stack, settings: Settings, page: str, tmp_path_factory: pytest.TempPathFactory) -> Told:
    """Run the task, export it, and keep what OpenBao logged meanwhile."""
    folder = tmp_path_factory.mktemp("evidence")
    log = stack.home / "logs" / "openbao-audit.log"
    before = log.stat().st_size
    async with serving(settings, service=page):
        wanted = job(
            " ".join(STEPS.split()),
            agent="report-writer",
            delegation=SCOPE,
            on_denied="continue",
            on_revocation="{wait: 1h}",
        )
        task = await submit(settings, wanted)
        await decided(settings, task)
        await decided(settings, task)
        await running(stack, "%pg_sleep(8)%")
        async with Remit.open(settings, person="alice") as alice:
            await alice.revoke(task, "look first")
            await until(settings, task, "suspended")
            await alice.resume(task)
        await decided(settings, task)
        await until(settings, task, "completed")
    for name, arguments in {"keys": ["keys"], "export": ["export", task]}.items():
        ended = await asyncio.to_thread(command, stack.home, "audit", *arguments, "--as", "alice")
        assert ended.returncode == 0, ended.stderr
        (folder / f"{name}.json").write_text(ended.stdout)
    shown = [str(program("temporal")), "workflow", "show", "--workflow-id", task, "-o", "json"]
    printed = await asyncio.to_thread(
        subprocess.run, [*shown, "--address", stack.temporal.address], capture_output=True, text=True, check=True
    )
    (folder / "history.json").write_text(printed.stdout)
    with log.open("rb") as whole:
        whole.seek(before)
        (folder / "openbao.log").write_bytes(whole.read())
    shutil.copytree(settings.audit_folder, folder / "audit")
    return Told(task, folder, json.loads((folder / "export.json").read_text()))


async def decided(settings: Settings, task: str) -> None:
    """Have bob approve what the task waits for."""
    asked = (await until(settings, task, "waiting-approval"))["waiting"]["request"]
    async with Remit.open(settings, person="bob") as bob:
        await bob.approve(task, asked)
    deadline = time.monotonic() + 60
    async with Remit.open(settings, person="alice") as alice:
        while ((await alice.show(task))["waiting"] or {}).get("request") == asked:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)


def records(export: dict[str, Any]) -> list[dict[str, Any]]:
    return [json.loads(line) for writer in export["writers"] for line in writer["records"]]


def test_the_export_tells_the_whole_story(told: Told) -> None:
    outcomes = [(one.get("step"), one.get("outcome"), one.get("code")) for one in records(told.export)]
    assert (1, "refused", "policy.denied") in outcomes
    assert (2, "ok", None) in outcomes
    assert (3, "ok", None) in outcomes
    assert (4, "stopped", "chain.revoked") in outcomes
    assert outcomes[-1] == (4, "ok", None)
    assert len(told.export["approvals"]) == 3
    assert len(told.export["chains"]) == 2
    links = {said(link)["jti"] for chain in told.export["chains"].values() for link in chain}
    stated = [said(one["jws"]) for one in told.export["statements"]]
    about_it = [one["events"] for one in stated if any(link in json.dumps(one["sub_id"]) for link in links)]
    assert len(about_it) == 1, "others are about its people"
    assert told.export["history"][0]["seal"] is not None


def test_another_process_verifies_it_with_the_keys_alone(told: Told, tmp_path: Path) -> None:
    nowhere = {"REMIT_OPENBAO_ADDRESS": "https://127.0.0.1:1", "TEMPORAL_ADDRESS": "127.0.0.1:1"}
    given = ["audit", "verify", told.folder / "export.json", "--keys", told.folder / "keys.json"]
    by_itself = command(tmp_path, *given, "--json", **nowhere)
    assert (by_itself.returncode, by_itself.stderr) == (0, "")
    assert json.loads(by_itself.stdout)["valid"] is True
    with_history = command(tmp_path, *given, "--history", told.folder / "history.json", **nowhere)
    assert with_history.returncode == 0, with_history.stdout
    changed = copy.deepcopy(told.export)
    del changed["writers"][0]["records"][0]
    (tmp_path / "export.json").write_text(json.dumps(changed))
    given[2] = tmp_path / "export.json"
    found = command(tmp_path, *given, "--json", **nowhere)
    assert found.returncode == 1
    assert "evidence.dropped" in {one["code"] for one in json.loads(found.stdout)["findings"]}
    without = command(tmp_path, *given[:3], **nowhere)
    assert (without.returncode, without.stdout) == (2, "")
    assert "[keys.needed]" in without.stderr


def test_the_digest_is_that_of_what_temporal_shows(told: Told) -> None:
    events = history.read((told.folder / "history.json").read_bytes())
    (run,) = told.export["history"]
    assert (run["events"], run["digest"]) == (len(events), history.digest(events))
    assert run["seal"] == history.seal(events)


def _swapped_link(export: dict[str, Any]) -> None:
    one, other = export["chains"].values()
    one[0], other[0] = other[0], one[0]


def _foreign_key(export: dict[str, Any]) -> None:
    stranger = jose.LocalSigner.generate()
    export["keys"]["keys"] = [{**one, **stranger.key.jwk, "kid": stranger.key.kid} for one in export["keys"]["keys"]]
    export["writers"][0]["head"]["head"] = _signed_again(export["writers"][0]["head"]["head"], stranger)


def _signed_again(token: str, by: jose.LocalSigner) -> str:
    body = token.split(".")[1]
    return signed(urlsafe_b64decode(body + "=" * (-len(body) % 4)), typ="audit-head+jwt", by=by)


def _last(export: dict[str, Any]) -> list[str]:
    lines: list[str] = export["writers"][-1]["records"]
    return lines


MUTATIONS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a record dropped": (lambda export: _last(export).pop(2), "evidence.dropped"),
    "a record edited": (
        lambda export: _last(export).__setitem__(1, _last(export)[1].replace('"step"', '"Step"', 1)),
        "evidence.edited",
    ),
    "two records reordered": (lambda export: _last(export).insert(1, _last(export).pop(3)), "evidence.reordered"),
    "the last record cut off": (lambda export: _last(export).pop(), "evidence.truncated"),
    "the last record edited": (
        lambda export: _last(export).append(_last(export).pop().replace('"ok"', '"error"')),
        "evidence.truncated",
    ),
    "a chain's links swapped": (_swapped_link, "evidence.chain"),
    "a chain removed": (lambda export: export["chains"].popitem(), "evidence.chain-missing"),
    "an approval removed": (lambda export: export["approvals"].pop(), "evidence.approval-missing"),
    "an approval changed": (
        lambda export: export["approvals"].append(export["approvals"].pop()[:-8] + "AAAAAAAA"),
        "evidence.approval",
    ),
    "a statement removed that was felt": (lambda export: export["statements"].clear(), "evidence.statement-missing"),
    "a head removed": (lambda export: export["writers"][-1].update(head=None), "evidence.unsealed"),
    "keys of its own": (_foreign_key, "evidence.head"),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_every_change_is_found_and_named(told: Told, name: str) -> None:
    change, code = MUTATIONS[name]
    export = copy.deepcopy(told.export)
    assert told.codes(export) == set()
    change(export)
    assert code in told.codes(export)


def test_no_record_can_be_left_out_or_changed(told: Told) -> None:
    for writer, held in enumerate(told.export["writers"]):
        for at, line in enumerate(held["records"]):
            dropped, edited = copy.deepcopy(told.export), copy.deepcopy(told.export)
            del dropped["writers"][writer]["records"][at]
            edited["writers"][writer]["records"][at] = line[:-1] + ',"more":1}'
            assert told.codes(dropped), at
            assert told.codes(edited), at


def test_an_earlier_state_is_told_by_the_history(told: Told) -> None:
    """What is cut back to an earlier head may hold by itself; Temporal's own history names what is missing."""
    export = copy.deepcopy(told.export)
    export["writers"] = []
    assert "evidence.record-missing" in told.codes(export, by_history=True)


def test_a_history_of_something_else_is_found(told: Told) -> None:
    events = history.read((told.folder / "history.json").read_bytes())
    changed = [{**events[0], "eventTime": "2020-01-01T00:00:00Z"}, *events[1:]]
    report = verification.verify(document.read(json.dumps(told.export).encode()), keys=told.keys, histories=[changed])
    assert [one.code for one in report.findings] == ["evidence.history"]


def reconciled(told: Told, home: Path, *arguments: object, folder: Path | None = None) -> dict[str, Any]:
    given = ["--openbao-log", told.folder / "openbao.log", "--folder", folder or told.folder / "audit"]
    ended = command(home, "audit", "reconcile", *given, "--young", 0, "--json", *arguments)
    found: dict[str, Any] = json.loads(ended.stdout)
    assert ended.returncode == (0 if found["agrees"] else 1)
    return found


async def test_openbaos_log_tells_the_same(told: Told, stack: Stack) -> None:
    found = await asyncio.to_thread(reconciled, told, stack.home)
    assert found["findings"] == []
    given = [one for one in records(told.export) if one.get("outcome") == "permitted"]
    assert found["counted"]["matched"] == len(given) == 4
    assert (found["counted"]["logins"], found["counted"]["tokens"]) == (3, 1)


async def test_a_record_of_what_openbao_never_gave_out_is_found(told: Told, stack: Stack, tmp_path: Path) -> None:
    shutil.copytree(told.folder / "audit", tmp_path / "audit")
    # The last one: nobody can say of the first second of a log what came before it.
    one = [one for one in records(told.export) if one.get("outcome") == "permitted" and one["lease"]["user"]][-1]
    planted = AuditLog(tmp_path / "audit", clock=lambda: float(one["time"]))
    names = {name: value for name, value in one.items() if name not in ("time", "writer", "seq", "prev")}
    planted.append(names | {"lease": {**one["lease"], "id": "sha256:" + "0" * 64}})
    planted.close()
    found = await asyncio.to_thread(reconciled, told, stack.home, folder=tmp_path / "audit")
    assert [one["code"] for one in found["findings"]] == ["evidence.unread"]
    assert found["findings"][0]["task"] == told.task


async def test_a_credential_read_outside_remit_is_found(
    told: Told, stack: Stack, settings: Settings, parts: Parts, tmp_path: Path
) -> None:
    """The authority's own session signs a step token and logs in with it: OpenBao gives a credential out."""
    log = stack.home / "logs" / "openbao-audit.log"
    before = log.stat().st_size
    await read_outside(settings, parts)
    with log.open("rb") as whole:
        whole.seek(before)
        (tmp_path / "more.log").write_bytes(whole.read())
    more = ["--openbao-log", tmp_path / "more.log"]
    found = await asyncio.to_thread(reconciled, told, stack.home, *more)
    assert [(one["code"], one["path"]) for one in found["findings"]] == [
        ("evidence.unrecorded", "database/creds/flights-ro")
    ]
    assert found["findings"][0]["task"].startswith("task-")


async def read_outside(settings: Settings, parts: Parts) -> None:
    made = await delegate(settings)
    attempt: Attempt = made.attempt()
    claims = step_token_claims(
        jti=str(uuid.uuid4()),
        issuer=f"spiffe://{parts.catalogue.trust_domain}/authority",
        audience=STEP_AUDIENCE,
        now=int(time.time()),
        root=made.reference.delegation,
        delegation=made.reference.delegation,
        chain=made.reference.digest,
        human=principal("user/alice"),
        agent=principal("agent/flight-analyst"),
        task=attempt.task,
        step=1,
        attempt=1,
        role="flights-ro",
    )
    signer = await TransitSigner.open(parts.vault, STEP_KEY)
    token = await jose.sign(claims, typ=STEP_TYP, signer=signer)
    login = await parts.vault.step_login(token, role="flights-ro")
    session = parts.vault.as_token(login.token)
    given = await session.make("database/creds/flights-ro")
    assert given is not None
    await session.write("auth/token/revoke-self")


async def test_what_people_decided_outlives_temporals_memory(stack: Stack, told: Told) -> None:
    """The last test of this file: it takes the task from Temporal, as the end of its retention would."""
    temporal = [str(program("temporal")), "workflow"]
    named = ["--workflow-id", told.task, "--address", stack.temporal.address]
    gone = await asyncio.to_thread(
        subprocess.run, [*temporal, "delete", "--yes", *named], capture_output=True, text=True
    )
    assert gone.returncode == 0, gone.stderr
    deadline = time.monotonic() + 60
    while not (
        await asyncio.to_thread(subprocess.run, [*temporal, "describe", *named], capture_output=True)
    ).returncode:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    again = await asyncio.to_thread(command, stack.home, "audit", "export", told.task, "--as", "alice")
    assert again.returncode == 0, again.stderr
    export = json.loads(again.stdout)
    assert export["history"] == []
    assert sorted(export["approvals"]) == sorted(told.export["approvals"])
    assert told.codes(export) == set()
