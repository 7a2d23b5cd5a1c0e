"""Attack 53: evidence that is missing, and evidence that was changed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from remit import jose, sealing
from remit.assembly import Parts, assemble, temporal_client
from remit.audit import record_hash
from remit.client.connection import Connection
from remit.delegation import Reference, Scope
from remit.embedded import Stack
from remit.errors import Denied, InvalidDocument, Refused
from remit.evidence import directory, folder, kept
from remit.evidence.document import Sealed
from remit.evidence.folder import Kept
from remit.evidence.keys import Keys, read
from remit.sealing import TYP, Head
from remit.settings import Settings
from remit.temporal import RemitPlugin, delegated, tool
from remit.vault import steps
from tests.unit.temporal.flows import FLOWS

from ..integration.acting import Task, authorize, delegate
from .effects import effects

pytestmark = [pytest.mark.servers, pytest.mark.filterwarnings("ignore:Cannot find activity to cancel")]

QUEUE = "evidence"
RAN: list[int] = []
FORGED = 'x\r\n{"event":"attempt","outcome":"ok"}\r\n\x1b[2J\u202e'


class Given(BaseModel):
    model_config = ConfigDict(extra="forbid")

    dataset: str
    fails: int = 0


def resource(given: Given) -> str:
    if given.dataset == "trap":
        raise LookupError(FORGED)
    return given.dataset


@tool(name="flaky", action="dataset:query", resource=resource)
async def flaky(given: Given) -> str:
    """Fail so many times."""
    RAN.append(1)
    if len(RAN) <= given.fails:
        raise ApplicationError("not yet", type="NotYet")
    return "done"


@pytest.fixture(scope="module")
async def worker(settings: Settings) -> AsyncIterator[tuple[Client, Parts]]:
    async with assemble(settings) as parts:
        plugin = RemitPlugin(authority=parts.authority, presenter=parts.presenter, ungoverned=["model.*"])
        client = await temporal_client(settings, plugins=[plugin])
        async with Worker(client, task_queue=QUEUE, workflows=FLOWS, activities=[flaky]):
            yield client, parts


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    RAN.clear()


async def test_53_every_failed_attempt_has_its_record(
    stack: Stack, settings: Settings, worker: tuple[Client, Parts]
) -> None:
    """Temporal keeps one event for a step, however often it failed before."""
    client, parts = worker
    task = await delegate(settings)
    async with effects(stack, settings, parts) as seen:
        with delegated(task.reference):
            handle = await client.start_workflow(
                "Calls", [["flaky", {"dataset": "flights", "fails": 2}]], id=task.id, task_queue=QUEUE
            )
        assert await handle.result() == ["done"]
    events = [event async for event in handle.fetch_history_events()]
    assert sum(one.HasField("activity_task_started_event_attributes") for one in events) == 1
    assert not any(one.HasField("activity_task_failed_event_attributes") for one in events)
    told = [(one["attempt"], one["outcome"], one.get("code")) for one in seen.records]
    assert told == [
        (1, "permitted", None), (1, "error", "ApplicationError"),
        (2, "permitted", None), (2, "error", "ApplicationError"),
        (3, "permitted", None), (3, "ok", None),
    ]  # fmt: skip
    assert {one["task"] for one in seen.records} == {task.id}


@pytest.mark.parametrize(
    ("flow", "given", "code", "outcome"),
    [
        ("CallsOnce", {"dataset": "flights", "fails": "x"}, "tool.input", "refused"),
        ("Local", {"dataset": "flights", FORGED: 1}, "tool.input", "refused"),
        ("CallsOnce", {"dataset": "trap"}, "LookupError", "failed"),
        ("CallsOnce", {"dataset": FORGED}, "policy.denied", "refused"),
        ("CallsOnce", None, "delegation.missing", "refused"),
        ("Local", None, "delegation.missing", "refused"),
    ],
    ids=["malformed", "forged line", "declaration fails", "denied", "no delegation", "no delegation, locally"],
)
async def test_53_what_is_refused_before_the_authority_is_asked_has_one_record(
    stack: Stack,
    settings: Settings,
    worker: tuple[Client, Parts],
    flow: str,
    given: Any,
    code: str,
    outcome: str,
) -> None:
    client, parts = worker
    task = await delegate(settings)
    calls = [["flaky", given if given is not None else {"dataset": "flights"}]]
    async with effects(stack, settings, parts) as seen:
        if given is None:
            bare = await temporal_client(settings)
            handle = await bare.start_workflow(flow, calls, id=task.id, task_queue=QUEUE)
        else:
            with delegated(task.reference):
                handle = await client.start_workflow(flow, calls, id=task.id, task_queue=QUEUE)
        with pytest.raises(WorkflowFailureError):
            await handle.result()
    (record,) = seen.records
    assert (record["outcome"], record["code"], record["task"]) == (outcome, code, task.id)
    assert record["tool"] == "flaky"
    assert record["run"] == handle.first_execution_run_id
    assert (seen.minted, seen.leases, RAN) == ([], [], [])
    assert FORGED not in json.dumps(record, ensure_ascii=False)
    assert all(character.isprintable() for character in json.dumps(record, ensure_ascii=False))


async def test_53_authority_that_is_not_handed_on_has_its_record(
    stack: Stack, settings: Settings, parts: Parts
) -> None:
    task, other = await delegate(settings), await delegate(settings)
    signer = await parts.presenter.signer(await parts.presenter.agent(task.reference))
    place = {"namespace": "default", "task": task.id, "first_run": task.run}
    wide = Scope(("dataset:delete",), ("flights",), 10)
    handing = parts.authority.delegating
    async with effects(stack, settings, parts) as seen:
        with pytest.raises((Denied, InvalidDocument)):
            await handing.delegate(
                parent=task.reference, agent="report-writer", scope=wide, expires_in=60, max_depth=2, child="c",
                signer=signer, **place,
            )  # fmt: skip
        with pytest.raises(Refused):
            await handing.allow(other.reference, child="c", **place)
        with pytest.raises(Refused):
            await handing.adopt(old=task.reference, new=other.reference, **place)
        request = {"request": "r", "binding": "", "approvers": []}
        at = {"namespace": "default", "task": task.id}
        assert not (await parts.authority.admit("no", request=request, reference=task.reference, **at)).accepted
        nowhere = Reference(task.reference.delegation, other.reference.digest)
        assert not (await parts.authority.admit("no", request=request, reference=nowhere, **at)).accepted
    assert [(one["event"], one["outcome"]) for one in seen.others] == [
        ("delegated", "refused"), ("allowed", "refused"), ("resumed", "refused"), ("decision", "refused"),
        ("decision", "refused"),
    ]  # fmt: skip
    assert all(one["code"] and one["task"] == task.id and one["namespace"] == "default" for one in seen.others)
    assert (seen.minted, seen.leases, seen.records) == ([], [], [])


@dataclass(frozen=True)
class Log:
    """A writer's whole file, its heads and the authority's keys."""

    name: str
    lines: tuple[str, ...]
    heads: tuple[Kept, ...]
    keys: Keys

    @property
    def writer(self) -> str:
        return self.heads[0].writer

    def check(self, content: str, *, heads: tuple[Kept, ...] | None = None) -> list[tuple[str, int | None, int | None]]:
        files = {self.name: content.encode()}
        report = folder.check(files, heads=self.heads if heads is None else heads, keys=self.keys)
        for one in report.findings:
            assert one.where["writer"] == self.writer
        return [(one.code, one.where.get("line"), one.where.get("seq")) for one in report.findings]


@pytest.fixture(scope="module")
async def log(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Log:
    """What the real authority wrote and signed: two records, a head, two records, a head, the end and its head."""
    own = settings.model_copy(update={"audit": tmp_path_factory.mktemp("log")})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sealing, "SECONDS", 600.0)  # no head but these
        return await _logged(settings, own)


async def _logged(settings: Settings, own: Settings) -> Log:
    async with assemble(own) as parts:
        task = await delegate(settings)
        for step in (1, 2):
            grant = await authorize(parts, task.attempt(step=step))
            await parts.authority.release(grant, outcome="ok")
            await parts.authority.seal()
        writer = parts.audit.writer
    person = Connection(settings, "alice")
    try:
        jwks = await directory.jwks(person.vault, person.registry, trust_domain=person.catalogue.trust_domain)
        heads = [one for one in await kept.collect(person.registry.heads, every=[writer]) if one.writer == writer]
    finally:
        await person.vault.close()
    (path,) = own.audit_folder.glob("*.jsonl")
    made = Log(path.name, tuple(path.read_text().splitlines()), tuple(heads), read(json.dumps(jwks).encode()))
    assert [one.seq for one in made.heads] == [2, 4, 5]
    assert made.check(text(made.lines)) == []
    return made


def text(lines: Any) -> str:
    return "".join(f"{line}\n" for line in lines)


def changed(line: str, **changes: Any) -> str:
    return json.dumps({**json.loads(line), **changes}, separators=(",", ":"), ensure_ascii=False)


def made_anew(lines: list[str]) -> str:
    """Chain records anew, as whoever holds the file can."""
    out: list[str] = []
    for number, line in enumerate(lines, start=1):
        prev = record_hash(out[-1]) if out else json.loads(line)["prev"]
        out.append(changed(line, seq=number, prev=prev))
    return text(out)


def line_after(lines: tuple[str, ...]) -> str:
    return changed(lines[1], seq=6, prev=record_hash(lines[4]))


Tamper = Callable[[tuple[str, ...]], str]
TAMPERED: dict[str, tuple[Tamper, list[tuple[str, int | None, int | None]]]] = {
    "edited": (lambda a: text([a[0], changed(a[1], outcome="error"), *a[2:]]), [("audit.edited", 2, 2)]),
    "first edited": (lambda a: text([changed(a[0], tool="x"), *a[1:]]), [("audit.edited", 1, 1)]),
    "last edited": (lambda a: text([*a[:4], changed(a[4], event="x")]), [("audit.edited", 5, 5)]),
    "edited, and chained anew": (
        lambda a: made_anew([*a[:2], changed(a[2], agent="spiffe://remit.local/agent/x"), *a[3:]]),
        [("audit.edited", 4, 4)],
    ),
    "line ends changed": (
        lambda a: text(a[:2]) + text(a[2:3]).replace("\n", "\r\n") + text(a[3:]),
        [("audit.edited", 3, 3)],
    ),
    "no record": (
        lambda a: text([*a[:2], "x", *a[3:]]),
        [("audit.edited", 3, None), ("audit.dropped", 4, 3)],
    ),
    "dropped": (lambda a: text([a[0], *a[2:]]), [("audit.dropped", 2, 2)]),
    "several dropped": (lambda a: text([a[0], a[4]]), [("audit.dropped", 2, 2)]),
    "first dropped": (lambda a: text(a[1:]), [("audit.dropped", 1, 1)]),
    "dropped, and chained anew": (
        lambda a: made_anew([*a[:2], *a[3:]]),
        [("audit.edited", 4, 4), ("audit.truncated", None, 5)],
    ),
    "reordered": (lambda a: text([a[0], a[2], a[1], *a[3:]]), [("audit.reordered", 3, 2)]),
    "repeated": (lambda a: text([*a[:2], a[1], *a[2:]]), [("audit.repeated", 3, 2)]),
    "truncated": (lambda a: text(a[:3]), [("audit.truncated", None, 4)]),
    "emptied": (lambda a: "", [("audit.truncated", None, 1)]),
    "torn": (lambda a: text(a)[:-20], [("audit.torn", 5, 5), ("audit.truncated", None, 5)]),
    "went on after its end": (lambda a: text([*a, line_after(a)]), [("audit.after-close", None, 6)]),
    "another writer's": (
        lambda a: text([*a[:4], changed(a[4], writer="0" * 32)]),
        [("audit.edited", 5, None), ("audit.truncated", None, 5)],
    ),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_53_a_log_that_was_changed_is_found_out(log: Log, how: str) -> None:
    tamper, findings = TAMPERED[how]
    found = log.check(tamper(log.lines))
    if how == "dropped, and chained anew":  # of heads that do not fit, the first says where
        findings = findings[:1]
    assert found == findings


def test_53_a_writer_whose_file_is_gone_is_missed(log: Log) -> None:
    report = folder.check({}, heads=log.heads, keys=log.keys)
    assert [(one.code, one.where) for one in report.findings] == [
        ("audit.missing", {"writer": log.writer, "seq": 5}),
    ]


def test_53_only_the_end_without_a_head_can_be_cut_off(log: Log) -> None:
    """The limit: what was written after the last head, by a writer that was killed before its next."""
    assert log.check(text(log.lines[:3]), heads=log.heads[:1]) == []
    files = {log.name: text(log.lines[:3]).encode()}
    assert folder.check(files, heads=log.heads[:1], keys=log.keys).counted["unsealed"] == 1
    assert log.check(text(log.lines[:1]), heads=log.heads[:1]) == [("audit.truncated", None, 2)]


@pytest.mark.parametrize("how", ["another key", "claims changed", "leaves changed", "another's place", "nothing"])
async def test_53_a_forged_head_is_found_out(log: Log, how: str) -> None:
    """A log that was made anew, with a head that fits it."""
    last = log.heads[-1]
    head, leaves = last.sealed.head, last.sealed.leaves
    content = made_anew([log.lines[0], changed(log.lines[1], outcome="error"), *log.lines[2:]])
    if how == "another key":
        said = Head.from_claims(jose.peek_claims(head, typ=TYP))
        claims = replace(said, hash=record_hash(content.splitlines()[-1])).to_claims()
        head = await jose.sign(claims, typ=TYP, signer=jose.LocalSigner.generate())
    elif how == "claims changed":
        parts = head.split(".")
        said = Head.from_claims(jose.peek_claims(head, typ=TYP))
        other = await jose.sign(replace(said, seq=1).to_claims(), typ=TYP, signer=jose.LocalSigner.generate())
        head = ".".join([parts[0], other.split(".")[1], parts[2]])
    elif how == "leaves changed":
        leaves = (*leaves, "x")
    elif how == "another's place":
        head = log.heads[0].sealed.head
    else:
        head = ""
    forged = replace(last, sealed=Sealed(head, leaves))
    assert log.check(content, heads=(forged,)) == [("audit.forged", None, 5)]


async def test_53_nobody_changes_or_adds_a_head(settings: Settings, parts: Parts, log: Log) -> None:
    person = Connection(settings, "alice")
    path = f"remit/data/audit/{log.writer}"
    record = {"data": {"head": "", "leaves": []}}
    try:
        for vault, where in ((person.vault, "6"), (person.vault, "5"), (parts.vault, "5")):
            with pytest.raises(Refused) as refused:
                await vault.write(f"{path}/{where}", **record)
            assert refused.value.code == "vault.forbidden"
        for vault in (person.vault, parts.vault):
            for method, beginning in (("DELETE", "data"), ("DELETE", "metadata"), ("POST", "delete")):
                status, _ = await vault.call(method, f"remit/{beginning}/audit/{log.writer}/5", {"versions": [1]})
                assert status == 403
        assert await person.registry.heads.get(log.writer, 5) is not None
    finally:
        await person.vault.close()


async def test_53_a_head_opens_no_step(stack: Stack, settings: Settings, parts: Parts, log: Log) -> None:
    """It is signed with the key that step logins are checked with; nothing else of it fits."""
    async with effects(stack, settings, parts) as seen:
        for role in ("flights-ro", "reports-rw"):
            path, body = steps.request(log.heads[-1].sealed.head, role=role, profile=settings.openbao_profile)
            status, answer = await parts.vault.call("POST", path, body)
            assert status == 400
            assert "auth" not in json.loads(answer)
    assert [path for path in seen.minted if not path.startswith("auth/")] == []


def edited(log: Path) -> Path:
    (path,) = log.glob("*.jsonl")
    path.write_text(text([changed(line, agent="x") for line in path.read_text().splitlines()]))
    return path


async def test_53_the_authority_signs_nothing_it_did_not_write(settings: Settings, tmp_path: Path) -> None:
    """A file that was changed under a writer that goes on is not what its next head says."""
    own = settings.model_copy(update={"audit": tmp_path})
    async with assemble(own) as parts:
        task: Task = await delegate(settings)
        await parts.authority.release(await authorize(parts, task.attempt()), outcome="ok")
        path = edited(tmp_path)
        await parts.authority.release(await authorize(parts, task.attempt(step=2)), outcome="ok")
        await parts.authority.seal()
        heads = [one for one in await kept.collect(parts.registry.heads) if one.writer == parts.audit.writer]
    files = {path.name: path.read_bytes()}
    jwks = {"keys": [{**parts.authority._sealing._signer.key.jwk, "sub": "spiffe://remit.local/authority"}]}
    report = folder.check(files, heads=heads, keys=read(json.dumps(jwks).encode()))
    assert "audit.edited" in {one.code for one in report.findings}
