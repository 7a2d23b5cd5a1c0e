"""The evidence of real tasks: sealed in their histories, verified as a whole by the command line."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from remit import audit
from remit.assembly import Parts, assemble, temporal_client
from remit.cli import terminal
from remit.cli.entry import run
from remit.embedded import Stack
from remit.errors import NeedsApproval
from remit.evidence import history
from remit.settings import Settings
from remit.step import binding, request_id

from .acting import PUBLISH, approve, authorize, delegate, narrower
from .service import asks, job, serving, submit, until

pytestmark = [pytest.mark.servers, pytest.mark.filterwarnings("ignore:Cannot find activity to cancel")]


@pytest.fixture(scope="module")
def own(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A log of one's own, a queue of one's own."""
    return settings.model_copy(update={"audit": tmp_path_factory.mktemp("log"), "task_queue": "sealing"})


@pytest.fixture(scope="module")
async def service(own: Settings) -> AsyncIterator[Parts]:
    async with serving(own) as parts:
        yield parts


def remit(own: Settings, *arguments: object, status: tuple[int, ...] = (0,)) -> Any:
    """Run one command of alice's, in a thread of its own for the event loop it makes."""
    argv = [*map(str, arguments), "--home", str(own.home), "--as", "alice"]
    out = io.StringIO()
    with redirect_stdout(out), ThreadPoolExecutor(1) as threads:
        terminal.reset()
        assert threads.submit(run, argv).result(60) in status, out.getvalue()
    terminal.reset()
    return json.loads(out.getvalue())


def kept(own: Settings) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in own.audit_folder.glob("*.jsonl")}


async def test_a_tasks_history_holds_its_seal(own: Settings, service: Parts) -> None:
    task = await submit(own, job(f"[{asks('select 1 as one')}]"))
    await until(own, task, "completed")
    client = await temporal_client(own, vault=service.vault)
    await client.get_workflow_handle(task).result()
    found = json.loads((await client.get_workflow_handle(task).fetch_history()).to_json())
    seal = history.seal(found["events"])
    assert seal is not None
    stored = await service.registry.heads.get(seal["writer"], seal["seq"])
    assert stored is not None
    assert stored["head"] == seal["head"]
    records = list(audit.read(own.audit_folder, task=task))
    assert [one["outcome"] for one in records] == ["permitted", "ok"]
    assert {one["writer"] for one in records} == {seal["writer"]}
    assert records[-1]["seq"] <= seal["seq"], "sealed when everything was recorded"
    assert [one["task_seq"] for one in records] == [1, 2]


async def test_an_approved_step_names_its_request(settings: Settings, own: Settings, service: Parts) -> None:
    task = await narrower(service, await delegate(settings))
    attempt = task.attempt(PUBLISH, credential="reports-rw")
    with pytest.raises(NeedsApproval) as needed:
        await authorize(service, attempt)
    token = await approve(settings, needed.value.request, by="bob")
    grant = await authorize(service, replace(attempt, approvals=(token,)))
    await service.authority.release(grant, outcome="ok")
    bound = binding(task=task.id, run=task.run, delegation=task.reference.delegation, call=PUBLISH)
    records = [one for one in audit.read(own.audit_folder, task=task.id) if one["event"] == "attempt"]
    assert [one["outcome"] for one in records] == ["refused", "permitted", "ok"]
    assert {(one["request"], one["binding"]) for one in records} == {(request_id(bound, attempt.step), bound)}
    plain = await delegate(settings)
    await service.authority.release(await authorize(service, plain.attempt()), outcome="ok")
    assert all("request" not in one for one in audit.read(own.audit_folder, task=plain.id))


async def test_an_attempt_costs_no_request_more(
    stack: Stack, settings: Settings, own: Settings, service: Parts
) -> None:
    """Heads are made behind: no attempt waits for one."""
    log = stack.home / "logs" / "openbao-audit.log"
    task = await delegate(settings)
    await service.authority.seal()  # what it would seal now and then itself
    async with assemble(own) as parts:
        asked = log.stat().st_size
        for step in range(1, 4):
            await parts.authority.release(await authorize(parts, task.attempt(step=step)), outcome="ok")
        paths = asked_since(log, asked)
        assert any(path.startswith("transit/sign/") for path in paths), "the agent's own proofs"
        assert [path for path in paths if path == "transit/sign/remit-authority" or "/audit/" in path] == []


def asked_since(log: Path, at: int) -> list[str]:
    with log.open("rb") as tail:
        tail.seek(at)
        return [str(json.loads(line)["request"].get("path", "")) for line in tail]


async def test_the_whole_log_is_verified_online_and_offline(own: Settings, service: Parts, tmp_path: Path) -> None:
    await service.authority.seal()
    sealed = remit(own, "audit", "verify", own.audit_folder, "--json", status=(0, 1))
    ours = [one for one in sealed["findings"] if one.get("file")]
    assert ours == [], "only writers of other folders are missed here"
    assert {one["code"] for one in sealed["findings"]} <= {"audit.missing"}
    assert sealed["counted"]["unsealed"] == 0
    assert sealed["unheard"] is None

    writers = {name.rpartition("-")[2].removesuffix(".jsonl") for name in kept(own)}
    heads = remit(own, "audit", "heads", "--all")
    mine = [one for one in heads["heads"] if one["writer"] in writers]
    assert len(mine) > len({one["writer"] for one in mine}), "all of them"
    keys, given = tmp_path / "keys.json", tmp_path / "heads.json"
    keys.write_text(json.dumps(remit(own, "audit", "keys")))
    given.write_text(json.dumps({"heads": mine}))
    offline = ["audit", "verify", "--heads", given, "--keys", keys, "--json"]
    held = remit(own, *offline, own.audit_folder)
    assert held["valid"] is True
    assert held["counted"]["heads"] == len(mine)

    spoilt = tmp_path / "spoilt"
    spoilt.mkdir()
    for name, content in kept(own).items():
        (spoilt / name).write_bytes(content.replace(b'"outcome":"ok"', b'"outcome":"error"', 1))
    found = remit(own, *offline, spoilt, status=(1,))
    assert found["valid"] is False
    assert {one["code"] for one in found["findings"]} == {"audit.edited"}
    assert all(one["file"] and one["line"] and one["seq"] for one in found["findings"])


def test_heads_without_keys_prove_nothing(own: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = tmp_path / "heads.json"
    given.write_text('{"heads": []}')
    with ThreadPoolExecutor(1) as threads:
        argv = ["audit", "verify", str(own.audit_folder), "--heads", str(given), "--home", str(own.home)]
        assert threads.submit(run, argv).result(60) == 2
        given.write_text('{"heads": [{}]}')
        assert threads.submit(run, [*argv, "--keys", str(given)]).result(60) == 2
