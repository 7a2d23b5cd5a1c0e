"""The commands, on the real servers and with the real worker.

One worker serves the whole file, on a task queue of its own.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from remit import audit
from remit.cli import terminal
from remit.cli.entry import run
from remit.embedded import Stack
from remit.local import polling
from remit.settings import Settings

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]

REPOSITORY = Path(__file__).parents[2]
SECONDS = 60.0


@dataclass(frozen=True)
class Result:
    status: int
    out: str
    err: str

    def document(self) -> Any:
        assert self.status == 0, self.err
        return json.loads(self.out)


@dataclass(frozen=True)
class Service:
    home: Path
    queue: str

    def remit(self, *arguments: object, person: str | None = "alice", **environment: str) -> Result:
        """Run one command, in a thread of its own for the event loop it makes."""
        argv = [*map(str, arguments), "--home", str(self.home), *(["--as", person] if person else [])]
        named = {"REMIT_TASK_QUEUE": self.queue, "COLUMNS": "200", **environment}
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            for name, value in named.items():
                patch.setenv(name, value)
            patch.setattr("remit.client.stopping.FOLLOW_SECONDS", 60.0)
            terminal.reset()
            with ThreadPoolExecutor(1) as threads:
                status = threads.submit(run, argv).result(SECONDS)
            terminal.reset()
        assert "Traceback" not in err.getvalue(), err.getvalue()
        return Result(status, out.getvalue(), err.getvalue())

    def process(self, *arguments: object, **environment: str) -> Result:
        """Run one command of alice's as people do, in a process of its own."""
        argv = [sys.executable, "-m", "remit.cli", *map(str, arguments), "--home", str(self.home), "--as", "alice"]
        named = {**os.environ, "REMIT_TASK_QUEUE": self.queue, "COLUMNS": "200", **environment}
        ended = subprocess.run(argv, env=named, capture_output=True, text=True, timeout=SECONDS, check=False)
        assert "Traceback" not in ended.stderr, ended.stderr
        return Result(ended.returncode, ended.stdout, ended.stderr)

    def show(self, task: str) -> dict[str, Any]:
        shown: dict[str, Any] = self.remit("show", task, "--json").document()
        return shown

    def until(self, task: str, wanted: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Wait until a task is as wanted."""
        end = time.monotonic() + SECONDS
        while not wanted(shown := self.show(task)):
            assert time.monotonic() < end, shown
        return shown

    def submit(self, job: Path, **more: Any) -> str:
        return str(self.remit("submit", job, "--json", **more).document()["task"])


@pytest.fixture(scope="module")
def service(stack: Stack) -> Iterator[Service]:
    """The real worker, on the session's stack."""
    queue = f"cli-{uuid.uuid4().hex[:8]}"
    began = time.time()
    log = stack.home / "logs" / "cli-worker.log"
    log.touch(mode=0o600)  # the folder is searched for what others may read
    with log.open("wb") as out:
        worker = subprocess.Popen(
            [sys.executable, str(REPOSITORY / "worker.py")],
            env={**os.environ, "REMIT_HOME": str(stack.home), "REMIT_TASK_QUEUE": queue, "REMIT_WATCH_SECONDS": "60"},
            stdout=out,
            stderr=out,
        )
    # in a thread, for an event loop runs here already
    settings = Settings.load(home=stack.home).model_copy(update={"task_queue": queue})
    ready = threading.Thread(target=_await_worker, args=(settings, worker, began))
    ready.start()
    ready.join(SECONDS)
    assert worker.poll() is None, log.read_text()
    yield Service(stack.home, queue)
    worker.terminate()
    worker.wait(30)


def _await_worker(settings: Settings, worker: subprocess.Popen[bytes], began: float) -> None:
    import asyncio

    async def wait() -> None:
        while worker.poll() is None and not await polling(settings, since=began):  # noqa: ASYNC110
            await asyncio.sleep(0.2)

    asyncio.run(wait())


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., Path]:
    """Write a job file: the steps given, for flight-analyst."""

    def write(*steps: object, **more: Any) -> Path:
        path = tmp_path / f"{uuid.uuid4().hex}.yaml"
        handed = {"actions": ["read", "report:publish"], "spaces": ["flights"], "budget": 100, "expires_in": "1h"}
        document = {
            "agent": "flight-analyst",
            "purpose": "delay-review",
            "delegation": {**handed, "max_depth": 2},
            "steps": list(steps),
            **more,
        }
        path.write_text(json.dumps(document))
        return path

    return write


def query(sql: str, dataset: str = "flights") -> dict[str, Any]:
    return {"tool": "sql.query", "input": {"dataset": dataset, "sql": sql}}


def publish(table: str) -> dict[str, Any]:
    handed = {"actions": ["report:publish"], "spaces": ["flights"], "budget": 10, "expires_in": "1h", "max_depth": 2}
    step = {"tool": "report.publish", "input": {"table": table, "sql": "select 1 as one"}}
    return {"delegate": {"agent": "report-writer", "delegation": handed, "steps": [step]}}


class Pace:
    """How long a query takes, set from outside while tasks run: they cannot see the machine's own pace."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._table = f"pace_{uuid.uuid4().hex[:8]}"
        with stack.postgres.connect(autocommit=True) as connection:
            connection.execute(f"CREATE TABLE public.{self._table} AS SELECT 300 AS seconds")

    @property
    def query(self) -> dict[str, Any]:
        return query(f"select count(pg_sleep(seconds)) as slept from {self._table}")

    def set(self, seconds: float) -> None:
        with self._stack.postgres.connect(autocommit=True) as connection:
            connection.execute(f"UPDATE public.{self._table} SET seconds = {seconds}")


@pytest.fixture
def pace(stack: Stack) -> Pace:
    return Pace(stack)


def await_query(stack: Stack) -> None:
    end = time.monotonic() + SECONDS
    while not sleeping(stack):
        assert time.monotonic() < end
        time.sleep(0.05)


def sleeping(stack: Stack) -> list[tuple[str]]:
    with stack.postgres.connect(autocommit=True) as connection:
        return connection.execute(
            "SELECT usename FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND usename LIKE 'd-%'"
        ).fetchall()


def test_login_is_kept_for_its_owner_and_a_wrong_password_is_refused(service, tmp_path):
    said = service.remit("login", "--json").document()
    assert said["person"] == "alice"
    kept = service.home / "sessions" / "alice.json"
    assert kept.stat().st_mode & 0o077 == 0
    before = kept.read_bytes()
    wrong = tmp_path / "password"
    wrong.write_text("wrong-4711\n")
    ended = service.remit("login", "--password-file", wrong)
    assert ended.status == 1
    assert "[login.refused]" in ended.err
    assert "4711" not in ended.err + ended.out
    assert kept.read_bytes() == before


def test_a_session_openbao_no_longer_knows_is_made_anew(service):
    service.remit("login")
    kept = service.home / "sessions" / "alice.json"
    document = json.loads(kept.read_text())
    kept.write_text(json.dumps({**document, "token": "s.unknown"}))
    assert service.remit("delegations", "--json").status == 0
    assert json.loads(kept.read_text())["token"] != "s.unknown"


def test_a_task_from_submit_to_result(service, job):
    ended = service.remit("submit", job(query("select count(*) as n from flights")), "--wait", "--json")
    done = ended.document()
    assert {"task", "run_id", "delegation", "state"} <= done.keys()
    assert done["state"] == "completed"
    shown = service.show(done["task"])
    named = "task run_id state root agent purpose chain steps waiting children result error"
    assert list(shown)[:12] == named.split()
    assert shown["root"] == "spiffe://remit.local/user/alice"
    assert [link["status"] for link in shown["chain"]] == ["live"]
    assert shown["chain"][0]["delegation"] == done["delegation"]
    (step,) = shown["steps"]
    (attempt,) = step["attempts"]
    assert (step["tool"], step["action"], step["resource"], step["state"]) == (
        "sql.query", "dataset:query", "flights", "done",
    )  # fmt: skip
    assert (attempt["n"], attempt["verdict"], attempt["outcome"]) == (1, "permit", "ok")
    assert attempt["lease"]["kind"] == "postgres"
    assert attempt["lease"]["id"].startswith("sha256:")
    assert attempt["lease"]["user"].startswith(f"d-{done['delegation']}")
    assert shown["result"]["output"]["rows"] == [{"n": 336776}]


def test_waiting_for_a_person_four_eyes_and_approval(service, job, stack):
    table = f"t_{uuid.uuid4().hex[:8]}"
    task = service.submit(job(query("select 1 as one"), publish(table)))
    shown = service.until(task, lambda shown: shown["state"] == "waiting-approval")
    assert shown["waiting"]["input"] == {"table": table, "sql": "select 1 as one"}
    assert shown["waiting"]["approvers"] == ["data-steward"]
    waits = service.remit("approvals", "--json", person="bob").document()["approvals"]
    assert shown["waiting"]["request"] in [one["request"] for one in waits]
    for person, code in (("alice", "approval.four-eyes"), ("carol", "approval.not-permitted")):
        ended = service.remit("approve", task, person=person)
        assert ended.status == 1
        assert f"[{code}]" in ended.err
        assert table in ended.err  # the exact arguments were shown
    assert service.show(task)["state"] == "waiting-approval"
    done = service.remit("approve", task, "--request", shown["waiting"]["request"], "--json", person="bob").document()
    assert done["accepted"] is True
    assert service.until(task, lambda shown: shown["state"] != "waiting-approval" or None)
    ended = service.until(task, lambda shown: shown["state"] in ("completed", "failed"))
    assert ended["state"] == "completed"
    with stack.postgres.connect() as connection:
        assert connection.execute(f'SELECT one FROM reports."{table}"').fetchall() == [(1,)]
    said = json.dumps(service.remit("explain", task, "--json").document())
    assert "user/bob approved" in said
    assert "approval.four-eyes" in said


def test_rejecting_ends_the_step(service, job):
    task = service.submit(job(publish(f"t_{uuid.uuid4().hex[:8]}")))
    service.until(task, lambda shown: shown["state"] == "waiting-approval")
    assert service.remit("reject", task, "--reason", "not today", person="bob").status == 0
    ended = service.until(task, lambda shown: shown["state"] not in ("running", "waiting-approval"))
    assert ended["state"] in ("rejected", "failed")
    assert service.remit("watch", task).status == 1
    assert "[approval.none]" in service.remit("approve", task, person="bob").err


def test_a_denied_step_names_its_policies_and_mints_nothing(service, job):
    ended = service.remit("submit", job(query("select 1", dataset="payroll")), "--wait", "--json")
    assert ended.status == 1
    task = json.loads(ended.out)["task"]
    shown = service.show(task)
    assert shown["error"]["code"] == "policy.denied"
    (attempt,) = shown["steps"][0]["attempts"]
    assert "delegated-scope" in attempt["policies"]
    assert attempt["lease"] is None


def test_revoking_kills_the_query_and_resuming_goes_on_at_the_same_step(service, job, stack, pace):
    task = service.submit(job(query("select 1 as one"), pace.query, on_revocation={"wait": "1h"}))
    await_query(stack)
    not_hers = service.remit("revoke", task, "--reason", "x", person="bob")
    assert (not_hers.status, "[statement.not-permitted]" in not_hers.err) == (1, True)
    done = service.remit("revoke", task, "--reason", "seen enough", "--json").document()
    assert sleeping(stack) == []
    assert list(done) == ["statement", "tasks_stopped", "leases_revoked", "pending", "ms_to_last_lease_dead"]
    assert (done["leases_revoked"], done["tasks_stopped"], done["pending"]) == (1, 1, [])
    assert done["ms_to_last_lease_dead"] > 0
    shown = service.until(task, lambda shown: shown["state"] == "suspended")
    assert [link["status"] for link in shown["chain"]] == ["revoked"]
    assert service.remit("watch", task, "--json").document()["state"] == "suspended"
    assert "[resume.not-yours]" in service.remit("resume", task, person="bob").err
    fresh = service.remit("resume", task, "--json").document()
    assert fresh["task"] == task
    await_query(stack)
    assert "[resume.not-waiting]" in service.remit("resume", task).err
    service.remit("suspend", fresh["delegation"], "--reason", "a moment")
    service.until(task, lambda shown: shown["state"] == "suspended")
    pace.set(0)
    assert service.remit("reinstate", fresh["delegation"]).status == 0
    ended = service.until(task, lambda shown: shown["state"] == "completed")
    assert [len(step["attempts"]) for step in ended["steps"]] == [1, 3]  # nothing done was done again
    assert ended["chain"][0]["delegation"] == fresh["delegation"]
    tree = service.remit("delegations", task, "--json").document()["delegations"]
    assert {node["delegation"]: node["status"] for node in tree}[fresh["delegation"]] == "live"
    assert "revoked" in {node["status"] for node in tree}
    said = json.dumps(service.remit("explain", task, "--json").document())
    assert "seen enough" in said
    assert "delegated anew" in said


def test_revoking_with_temporal_down_is_complete_and_says_so(service, job, stack, pace, tmp_path):
    task = service.submit(job(pace.query))
    await_query(stack)
    nowhere = tmp_path / "temporal.toml"
    nowhere.write_text('[profile.default]\naddress = "127.0.0.1:1"\n')
    done = service.remit("revoke", task, "--reason", "x", "--json", REMIT_TEMPORAL_CONFIG=str(nowhere)).document()
    assert sleeping(stack) == []
    assert done["tasks_stopped"] is None
    assert any("temporal" in line for line in done["pending"])
    assert done["leases_revoked"] == 1
    assert service.until(task, lambda shown: shown["state"] == "halted")


def test_a_revocation_is_final(service, job):
    task = service.submit(job(query("select 1 as one")))
    assert service.remit("revoke", task, "--reason", "done").status == 0
    ended = service.remit("reinstate", task)
    assert (ended.status, "[statement.final]" in ended.err) == (1, True)


def test_a_task_that_cannot_start_leaves_no_live_delegation(service, job):
    before = {node["delegation"] for node in service.process("delegations", "--json").document()["delegations"]}
    # a namespace without Remit's search attributes
    ended = service.process("submit", job(query("select 1")), TEMPORAL_NAMESPACE="temporal-system")
    assert ended.status != 0
    listed = service.process("delegations", "--json").document()["delegations"]
    fresh = [node for node in listed if node["delegation"] not in before]
    assert fresh, "it was handed over"
    assert all(node["status"] == "revoked" for node in fresh)


def test_what_is_not_there_is_one_clear_line(service):
    for command in (["show"], ["watch"], ["explain"], ["approve"], ["reject"], ["resume"]):
        ended = service.remit(*command, "task-none")
        assert (ended.status, ended.out) == (1, "")
        assert "[task.unknown]" in ended.err
    for target in ("task-none", "task-0123456789ab"):
        assert "[task.unknown]" in service.remit("revoke", target, "--reason", "x").err
    assert "[delegation.unknown]" in service.remit("revoke", uuid.uuid4(), "--reason", "x").err
    assert service.remit("revoke", "agent/nobody", "--reason", "x").status == 2


def test_listing_and_doctor(service, job):
    task = service.submit(job(query("select 1")))
    end = time.monotonic() + SECONDS
    while not any(one["task"] == task for one in service.remit("tasks", "--json").document()["tasks"]):
        assert time.monotonic() < end
    found = service.remit("doctor", "--json")
    checks = {check["name"]: check["state"] for check in json.loads(found.out)["checks"]}
    for name in ("OpenBao", "clock", "session", "registry", "PostgreSQL (database)", "Temporal", "search attributes",
                 "worker", "policies"):  # fmt: skip
        assert checks[name] == "ok", found.out


def test_bootstrap_again_changes_nothing(service):
    ended = service.remit("bootstrap", "--json").document()
    assert ended["changed"] == []


def test_no_secret_is_in_the_records(service):
    passwords = [file.read_text() for file in (service.home / "passwords").iterdir()]
    records = json.dumps(list(audit.read(service.home / "audit")))
    assert records
    assert not any(password in records for password in passwords)


def test_as_a_process_of_its_own_it_ends_with_its_status_and_one_document(service):
    environment = {**os.environ, "REMIT_HOME": str(service.home)}
    for _ in range(3):  # native threads of the Temporal client once ended it with an abort, after all was done
        ended = subprocess.run(
            [sys.executable, "-m", "remit.cli", "tasks", "--json"],
            env=environment, cwd=REPOSITORY, capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        assert (ended.returncode, ended.stderr) == (0, "")
        assert "tasks" in json.loads(ended.stdout)
