"""G. Secrets (44-46): canaries through every ending, then searched for wherever anything is written down.

Beside the real secrets a decoy, which is none, goes the same ways. Each search must find the decoy and no secret: so
every one of them is shown able to fail, on the same texts, by the same code.

Searched: histories with headers, markers and payloads; memos; search attributes; heartbeat details; what queries
answer; this process's logs, at the level of debug; what the commands print; spans and metrics; audit files; and every
file of the state folder, those of OpenBao (``openbao/data``, encrypted) and PostgreSQL (``postgres/data``, hashed)
included; each secret of the folder may stand in the one file that keeps it, and nowhere else.
"""

from __future__ import annotations

import asyncio
import contextvars
import copy
import json
import logging
import os
import pickle
import pprint
import socket
import stat
import subprocess
import sys
import time
import traceback
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from temporalio.client import Client, WorkflowFailureError
from temporalio.contrib.opentelemetry import TracingInterceptor
from temporalio.converter import JSONPlainPayloadConverter
from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig
from temporalio.worker import Worker

from remit import audit, telemetry
from remit.assembly import Parts, assemble
from remit.bootstrap import Bootstrapped, OidcProvider, PostgresConnection
from remit.client.connection import Connection
from remit.client.login import PersonLogin, _WithPassword
from remit.credentials import CREDENTIAL, Credential, guard_logs, holds
from remit.credentials.lease import Lease, Occasion
from remit.delegation import Scope
from remit.demo.witness import Witness
from remit.embedded import Stack
from remit.errors import Refused
from remit.jose import LocalSigner
from remit.session import Session as KeptSession
from remit.session import Sessions
from remit.settings import Settings
from remit.statements import Event
from remit.temporal import RemitPlugin, delegated
from remit.vault import JwtLogin, Session, StepLogin, Token, UserpassLogin, Vault
from remit.vault.datakeys import DataKeys

from ..integration.acting import authorize, delegate, state
from . import leaking
from .canaries import hits, writings

pytestmark = [pytest.mark.servers, pytest.mark.filterwarnings("ignore:Cannot find activity to cancel")]

DECOY = "decoy-nobody-minds-5519"
STORED = 'p@ss/w"ö\\rd+%41 &stored=7731'
QUEUE = "leaking"
PLACES = (
    "histories", "descriptions", "heartbeats", "queries", "logs", "commands", "spans", "metrics", "audit",
)  # fmt: skip


@dataclass(slots=True)
class Evidence:
    """What was written down while secrets went about.

    Args:
        secrets: By name, every secret of this run.
        places: By place and name, the texts.
        endings: How attempts ended, from the audit log.
    """

    secrets: dict[str, str] = field(default_factory=dict)
    places: dict[str, dict[str, str]] = field(default_factory=dict)
    endings: set[str] = field(default_factory=set)


@pytest.fixture(scope="module")
async def evidence(stack: Stack, settings: Settings) -> AsyncIterator[Evidence]:
    """One run of everything; the stored canary stands in OpenBao and nowhere else."""
    async with Vault(stack.openbao.address, stack.openbao.ca, Token(stack.openbao.admin_token())) as admin:
        before = await admin.read("remit-secrets/data/weather-api")
        assert before is not None
        await admin.write("remit-secrets/data/weather-api", data={"key": STORED})
        try:
            with pytest.MonkeyPatch.context() as patches:
                yield await _run(stack, settings, patches)
        finally:
            await admin.write("remit-secrets/data/weather-api", data=before["data"]["data"])


async def _run(stack: Stack, settings: Settings, patches: pytest.MonkeyPatch) -> Evidence:
    seen = Evidence()
    spans = _spans(patches)
    port = _free_port()
    runtime = Runtime(telemetry=TelemetryConfig(metrics=PrometheusConfig(bind_address=f"127.0.0.1:{port}")))
    leaking.HELD.clear()
    _overhear(patches, seen)
    with _logs() as logged:
        async with assemble(settings) as parts:
            plugin = RemitPlugin(authority=parts.authority, presenter=parts.presenter, watch=0.3)
            client = await Client.connect(
                stack.temporal.address, runtime=runtime, plugins=[plugin], interceptors=[TracingInterceptor(spans[1])]
            )
            with ThreadPoolExecutor(4) as threads:
                async with Worker(
                    client,
                    task_queue=QUEUE,
                    workflows=[leaking.Leaking],
                    activities=leaking.TOOLS,
                    activity_executor=threads,
                ):
                    tasks = await _tasks(client, parts, settings, seen)
                    lines = [("show", tasks[0], "--json"), ("explain", tasks[1]), ("show", DECOY)]
                    printed = await asyncio.gather(*(asyncio.to_thread(_command, stack, *line) for line in lines))
                    seen.places["commands"] = {" ".join(line): text for line, text in zip(lines, printed, strict=True)}
                    seen.places["queries"] = {task: await _queried(client, task) for task in tasks}
                    runtime.metric_meter.create_counter("decoy").add(1, {"word": DECOY})
                    async with aiohttp.ClientSession() as http:
                        seen.places["metrics"] = {
                            "worker": await (await http.get(f"http://127.0.0.1:{port}/metrics")).text()
                        }
            seen.secrets["session of the authority"] = (await parts.vault.session()).token
        for task in tasks:
            handle = client.get_workflow_handle(task)
            seen.places.setdefault("histories", {})[task] = (await handle.fetch_history()).to_json()
            described = await handle.describe()
            seen.places.setdefault("descriptions", {})[task] = f"{described.raw_description} {await described.memo()}"
    seen.places["logs"] = {"worker": logged.getvalue()}
    seen.places["spans"] = {str(n): one.to_json() for n, one in enumerate(spans[0].get_finished_spans())}
    seen.places["audit"] = {path.name: path.read_text() for path in settings.audit_folder.glob("*.jsonl")}
    records = [one for task in tasks for one in audit.read(settings.audit_folder, task=task)]
    seen.endings = {one["outcome"] for one in records if one["event"] == "attempt"}
    seen.secrets |= leaking.HELD
    return seen


async def _tasks(client: Client, parts: Parts, settings: Settings, seen: Evidence) -> list[str]:
    """Run every errand to its end, and return the tasks."""

    def errand(tool: str, how: str) -> list[Any]:
        place = "status-page" if tool == "leak.token" else "flights"
        return [tool, {"dataset": place, "how": how, "word": DECOY}]

    returns = [errand(tool, "returns") for tool in ("leak.database", "leak.stored", "leak.token")]
    odd = (
        "returns its credential",
        "returns bytes",
        "raises",
        "raises details",
        "raises a group",
        "raises an odd result",
        "raises an error of ours",
    )
    wanted = [
        [*returns, *(errand("leak.stored", how) for how in odd)],
        [*(errand("leak.database", how) for how in odd), ["", DECOY]],
        [errand("leak.database", "times out"), ["", DECOY]],
        [errand("leak.stored", "is cancelled"), errand("leak.stored", "is cancelled, and obeys"), ["", DECOY]],
        [errand("leak.database", "is revoked")],
        [errand("leak.stored", "is revoked")],
    ]
    tasks = [await delegate(settings, actions=("read", "http:request"), budget=100) for _ in wanted]
    named = await authorize(
        parts, (await delegate(settings)).attempt(tool=DECOY)
    )  # so that the audit log has something to be found
    await parts.authority.release(named, outcome="ok")
    handles = []
    for task, errands in zip(tasks, wanted, strict=True):
        with delegated(task.reference):
            handles.append(await client.start_workflow("Leaking", errands, id=task.id, task_queue=QUEUE))
    beats: dict[str, str] = seen.places.setdefault("heartbeats", {})
    for task, handle in zip(tasks[-2:], handles[-2:], strict=True):
        deadline = time.monotonic() + 30
        while DECOY not in beats.get(task.id, ""):
            assert time.monotonic() < deadline
            pending = (await handle.describe()).raw_description.pending_activities
            beats[task.id] = " ".join(str(one.heartbeat_details) for one in pending)
            await asyncio.sleep(0.1)
        await state(settings, task, Event.REVOKED, reason=f"{DECOY}: a test")
        await handle.signal("remit.notice")
    for handle in handles:
        with suppress(WorkflowFailureError):
            await handle.result()
    await parts.authority.settled()
    return [task.id for task in tasks]


async def _queried(client: Client, task: str) -> str:
    return json.dumps(await client.get_workflow_handle(task).query("remit.view"))


def _overhear(patches: pytest.MonkeyPatch, seen: Evidence) -> None:
    """Note every step's login while it is made: the real one, for whoever searches later."""
    log_in = Vault.step_login

    async def noted(self: Vault, jwt: str, *, role: str) -> StepLogin:
        login = await log_in(self, jwt, role=role)
        seen.secrets[f"step token {len(seen.secrets)}"] = jwt
        seen.secrets[f"step login {len(seen.secrets)}"] = login.token
        return login

    patches.setattr(Vault, "step_login", noted)


def _spans(patches: pytest.MonkeyPatch) -> tuple[InMemorySpanExporter, Any]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    patches.setattr(trace, "get_tracer_provider", lambda: provider)
    patches.setattr(telemetry, "_tracer", provider.get_tracer("remit"))
    return exporter, provider.get_tracer("temporal")


class _logs:  # noqa: N801 - a block, used once
    """Everything this process logs, from debug on, as a worker of the service guards it."""

    def __enter__(self) -> Any:
        import io

        self.out = io.StringIO()
        self.handler = logging.StreamHandler(self.out)
        self.handler.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))
        root = logging.getLogger()
        self.level, self.factory = root.level, logging.getLogRecordFactory()
        root.addHandler(self.handler)
        root.setLevel(logging.DEBUG)
        guard_logs()
        return self.out

    def __exit__(self, *_: object) -> None:
        root = logging.getLogger()
        root.removeHandler(self.handler)
        root.setLevel(self.level)
        logging.setLogRecordFactory(self.factory)


def _command(stack: Stack, *line: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-m", "remit.cli", *line],
        env={**os.environ, "REMIT_HOME": str(stack.home), "REMIT_DEBUG": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return f"{ran.stdout}\n{ran.stderr}"


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


# 44. What was written down.


async def test_44_every_ending_was_gone_through(evidence: Evidence) -> None:
    assert evidence.endings >= {"permitted", "ok", "error", "cancelled", "stopped"}
    held = set(leaking.HELD.values())
    assert STORED in held
    assert len(held) > 10
    assert {name.partition("/")[0] for name in leaking.HELD} == {"flights-ro", "weather-api", "service-token"}
    assert set(evidence.places) == set(PLACES)


@pytest.mark.parametrize("place", PLACES)
async def test_44_no_secret_is_anywhere_and_a_decoy_would_be_found(evidence: Evidence, place: str) -> None:
    texts = evidence.places[place]
    assert hits({"decoy": DECOY}, texts), "this search would find nothing"
    assert hits(evidence.secrets, texts) == []


async def test_44_no_file_of_the_state_folder_holds_one_that_is_not_its_own(stack: Stack, evidence: Evidence) -> None:
    secrets = {**evidence.secrets, **_kept(stack)}
    (planted := stack.home / "logs" / "planted.log").write_text(f"postgres://u:{DECOY}@h")
    try:
        found = _in_files(stack.home, {**secrets, "decoy": DECOY})
    finally:
        planted.unlink()
    assert ("logs/planted.log", "decoy") in found
    assert any(path.startswith("temporal/") and name == "decoy" for path, name in found)
    # A kept secret stands in its own file; what initialises a server stands where that server keeps it.
    assert {(path, name) for path, name in found if name != "decoy" and path != name} == set()


async def test_44_openbao_itself_knows_of_no_secret_in_what_was_written(stack: Stack, evidence: Evidence) -> None:
    """The same by OpenBao's own keyed hashes, which know every secret it ever gave (decision 0012)."""
    witness = Witness(stack)
    assert witness.hashed_secrets() > 10
    texts = {
        f"{place}/{name}": text for place in ("commands", "audit") for name, text in evidence.places[place].items()
    }
    assert await witness.secrets_in(texts) == []
    database = next(value for name, value in evidence.secrets.items() if name.startswith("flights-ro/password"))
    assert await witness.secrets_in({"planted": f"password={database}"}) != []


def _kept(stack: Stack) -> dict[str, str]:
    """Return what the state folder keeps, by the file that keeps it."""
    files = [*stack.home.glob("keys/*"), *stack.home.glob("passwords/*")]
    found = {}
    for file in files:
        raw = file.read_bytes()
        if not file.name.endswith((".pub",)) and raw.isascii():
            found[str(file.relative_to(stack.home))] = max(raw.decode().split("\n"), key=len)
    for file in stack.home.glob("sessions/*.json"):
        found[str(file.relative_to(stack.home))] = json.loads(file.read_text())["token"]
    return found


def _in_files(home: Path, secrets: Mapping[str, str]) -> set[tuple[str, str]]:
    found = set()
    for file in home.rglob("*"):
        if not file.is_file():
            continue
        raw = file.read_bytes()
        name = str(file.relative_to(home))
        # The servers' own stores, where a secret would stand as it is: 100 MB are not searched for more.
        stored = name.startswith(("openbao/data/", "postgres/data/"))
        for secret, value in secrets.items():
            if any(form in raw for form in ([value.encode()] if stored else writings(value))):
                found.add((name, secret))
    return found


# 44, on disk and in time.


async def test_44_everything_in_the_state_folder_is_its_owners_alone(stack: Stack) -> None:
    open_to_others = [
        str(path)
        for path in (stack.home, *stack.home.rglob("*"))
        if not path.is_symlink() and path.lstat().st_mode & 0o077 and not stat.S_ISSOCK(path.lstat().st_mode)
    ]
    assert open_to_others == []
    (odd := stack.home / "odd").touch()
    odd.chmod(0o640)
    try:
        assert odd.stat().st_mode & 0o077  # as the search above would see it
    finally:
        odd.unlink()


async def test_44_a_session_that_ended_opens_nothing(stack: Stack, settings: Settings, tmp_path: Path) -> None:
    """What `remit login` keeps ends: by its time here, and in OpenBao when it is revoked there."""
    alice = Connection(settings, "alice")
    token = (await alice.vault.session()).token
    entity = await alice.vault.entity_id()
    await alice.vault.close()
    async with Vault(stack.openbao.address, stack.openbao.ca, Token(stack.openbao.admin_token())) as admin:
        made = await admin.write(
            "auth/token/create", policies=["remit-person"], ttl="600s", no_parent=True, no_default_policy=True
        )
    assert made is not None
    lonely, now = settings.model_copy(update={"home": tmp_path}), [time.time()]
    sessions = Sessions(tmp_path)
    kept = KeptSession("alice", settings.openbao_address, made["auth"]["client_token"], "a", entity, now[0] + 600)
    sessions.keep(kept)
    assert sessions.find("alice", address=settings.openbao_address, now=now[0]) == kept
    person = Connection(lonely, "alice", clock=lambda: now[0])
    try:
        assert (await person.vault.session()).token == kept.token
        assert await person.registry.epoch()
    finally:
        await person.close()
    async with Vault(stack.openbao.address, stack.openbao.ca, Token(stack.openbao.admin_token())) as admin:
        await admin.write("auth/token/revoke", token=kept.token)
    revoked = Connection(lonely, "alice", clock=lambda: now[0])
    try:
        for _ in range(2):  # it is used once, and not again
            with pytest.raises(Refused) as ended:
                await revoked.registry.epoch()
            assert ended.value.code == "login.needed"
            assert kept.token not in str(ended.value)
    finally:
        await revoked.close()
    now[0] += 601
    assert sessions.find("alice", address=settings.openbao_address, now=now[0]) is None
    late = Connection(lonely, "alice", clock=lambda: now[0])
    try:
        with pytest.raises(Refused) as ended:
            await late.registry.epoch()
        assert ended.value.code == "login.needed"
    finally:
        await late.close()
    assert token != kept.token


# 45. What holds a secret shows none, however it is shown.


SECRET = "canary-in-an-object-9921"


def _holders() -> Iterator[tuple[str, Any]]:
    credential = Credential("p", "secret", "u", 1, {"username": "u", "token": SECRET})
    yield "Credential", credential
    yield "StepLogin", StepLogin(SECRET, SECRET, 1)
    occasion = Occasion("g", "t", "r", 1, 1, "", Scope(("read",), ("flights",), 1))
    yield "Lease", Lease(occasion, "root", credential, login=StepLogin(SECRET, SECRET, 1), lease_id=f"x/{SECRET}")
    yield "Session", Session(SECRET, SECRET, "e", 1.0, 1)
    yield "KeptSession", KeptSession("alice", "https://h:1", SECRET, "a", "e", 1.0)
    yield "Token", Token(SECRET)
    yield "JwtLogin", JwtLogin("agent", lambda: SECRET)
    yield "UserpassLogin", UserpassLogin("alice", lambda: SECRET)
    yield "_WithPassword", _WithPassword("alice", SECRET)
    yield "PersonLogin", PersonLogin(Sessions(Path("/nowhere")), "alice", address="https://h:1", clock=time.time)
    yield "PostgresConnection", PostgresConnection("h", 1, "d", "m", SECRET)
    yield "OidcProvider", OidcProvider("https://h", "c", SECRET)
    yield "Bootstrapped", Bootstrapped((), {"alice": SECRET}, SECRET.encode(), {}, ())
    yield "Vault", Vault("https://h:1", None, Token(SECRET))
    yield "DataKeys", DataKeys(lambda: Vault("https://h:1", None, Token(SECRET)))
    signer = LocalSigner.generate()
    yield "LocalSigner", signer


@pytest.mark.parametrize(("name", "holder"), list(_holders()), ids=[name for name, _ in _holders()])
def test_45_what_holds_a_secret_shows_none(name: str, holder: Any) -> None:
    shown = [repr(holder), str(holder), f"{holder}", f"{holder!a}", pprint.pformat(holder), repr([{"x": holder}])]
    try:
        raise RuntimeError("it failed", holder)
    except RuntimeError as error:
        shown += [repr(error), "".join(traceback.format_exception(error))]
    secrets = {"canary": SECRET}
    if isinstance(holder, LocalSigner):
        secrets["key"] = holder.to_pem().decode().split("\n")[1]
    assert hits(secrets, {str(n): text for n, text in enumerate(shown)}) == []
    for take in (pickle.dumps, copy.deepcopy):
        try:
            taken = take(holder)
        except (TypeError, AttributeError, pickle.PicklingError):
            continue
        assert not isinstance(taken, bytes) or hits(secrets, {"pickle": taken}) == []


def test_45_a_planted_secret_in_a_repr_is_found() -> None:
    @dataclass
    class Careless:
        token: str

    assert hits({"canary": SECRET}, {"repr": repr(Careless(SECRET))}) == ["repr: canary"]


async def test_45_a_real_grant_shows_nothing_and_is_not_pickled(
    parts: Parts, settings: Settings, evidence: Evidence
) -> None:
    task = await delegate(settings)
    grant = await authorize(parts, task.attempt(credential="flights-ro"))
    try:
        secrets = {"password": grant.credential["password"], "dsn": grant.credential["dsn"]}
        texts = {"repr": repr(grant), "pretty": pprint.pformat(grant), "credential": repr(grant.credential)}
        running = parts.authority._running
        texts |= {"running": pprint.pformat(vars(running)) if hasattr(running, "__dict__") else repr(running)}
        texts |= {"parts": repr(parts), "context": repr(contextvars.copy_context().get(CREDENTIAL))}
        assert hits(secrets, texts) == []
        with pytest.raises(TypeError):
            pickle.dumps(grant)
        # Nor is it JSON for Temporal by accident: what would be encoded is seen, and refused or scrubbed before.
        encoded = JSONPlainPayloadConverter().to_payload({"password": secrets["password"]})
        assert encoded is not None
        assert hits(secrets, {"payload": encoded.data}) == ["payload: password"]
        assert holds(RuntimeError(secrets["dsn"]), grant.secrets)
    finally:
        await parts.authority.release(grant, outcome="ok")


# 46. Names that would forge what is written down.

FORGED = 'x\r\n{"event":"attempt","outcome":"ok"}\n2026-01-01 ERROR forged \x1b[2J\x1b[31m\u202egpj'


async def test_46_a_name_forges_no_line_and_moves_no_cursor(
    stack: Stack, settings: Settings, parts: Parts, caplog: pytest.LogCaptureFixture
) -> None:
    before = {path.name: path.read_text().count("\n") for path in settings.audit_folder.glob("*.jsonl")}
    name = f"{FORGED}-{uuid.uuid4()}"
    task = await delegate(settings)
    with pytest.raises(Refused) as refused:
        await authorize(parts, task.attempt(task=name, tool=FORGED, activity=FORGED))
    assert refused.value.code == "delegation.other-task"
    added = []
    for path in settings.audit_folder.glob("*.jsonl"):
        lines = path.read_text().splitlines()
        assert path.read_text().count("\n") == len(lines)
        added += lines[before.get(path.name, 0) :]
    (record,) = [json.loads(line) for line in added if task.reference.delegation in line or "forged" in line]
    assert record["outcome"] == "refused"
    assert not any(char in "".join(added) for char in "\r\x1b\u202e")
    with _logs() as logged:
        logging.getLogger("remit").warning("the task %s waits", name)
    assert logged.getvalue().count("\n") == 1
    assert not any(char in logged.getvalue() for char in "\r\x1b\u202e")
    for line in (("show", name), ("tasks", "--query", FORGED), ("revoke", FORGED, "--reason", FORGED)):
        said = _command(stack, *line)
        assert not any(char in said for char in "\r\x1b\u202e"), line
        assert not any(text.startswith('{"event"') for text in said.splitlines()), line


async def test_46_a_reason_and_a_query_with_control_characters_are_shown_escaped(
    stack: Stack, settings: Settings
) -> None:
    task = await delegate(settings)
    await state(settings, task, Event.SUSPENDED, reason=FORGED)
    said = _command(stack, "delegations", task.reference.delegation)
    assert not any(char in said for char in "\r\x1b\u202e")
    assert task.reference.delegation[:8] in said
