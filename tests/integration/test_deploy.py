"""What docker-compose.yml mounts, run on real servers without containers: OpenBao's configuration with generated keys,
the namespace script, and the job that fills the data server."""

from __future__ import annotations

import asyncio
import datetime as dt
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from types import ModuleType

import psycopg
import pytest
import urllib3
import yaml

from remit.assembly import assemble
from remit.embedded.openbao import OpenBao
from remit.embedded.ports import Ports, choose
from remit.embedded.postgres import DATABASE, MANAGER, Postgres
from remit.embedded.process import Command, start
from remit.embedded.programs import program
from remit.embedded.state import StateFolder
from remit.embedded.temporal import SEARCH_ATTRIBUTES, Temporal
from remit.principals import Principal
from remit.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"deploy_{name}", ROOT / "deploy" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    return StateFolder.open(tmp_path / "state")


@pytest.fixture
def ports() -> Ports:
    return choose(0)


@contextmanager
def running(command: Command, state: StateFolder, ready: Callable[[], bool]) -> Iterator[None]:
    server = start(command, state)
    try:
        server.wait_until(ready, seconds=60, abandoned=Event())
        yield
    finally:
        server.stop()


def localised(ports: Ports, folder: Path) -> str:
    """Return OpenBao's configuration with the container's places and names turned into this machine's."""
    config = (ROOT / "deploy/openbao/openbao.hcl").read_text(encoding="utf-8")
    for there, here in {
        "/run/remit": str(folder / "run"),
        "/openbao/file": str(folder / "file"),
        "/openbao/logs": str(folder / "logs"),
        "0.0.0.0:8200": f"127.0.0.1:{ports.openbao}",
        "0.0.0.0:8201": f"127.0.0.1:{ports.openbao_cluster}",
        "//openbao:8200": f"//localhost:{ports.openbao}",
        "//openbao:8201": f"//localhost:{ports.openbao_cluster}",
    }.items():
        assert there in config
        config = config.replace(there, here)
    return config


@contextmanager
def openbao(state: StateFolder, ports: Ports, folder: Path) -> Iterator[str]:
    """Run OpenBao as Compose does, with Compose's own healthcheck; yield its address."""
    for name in ("file", "logs"):
        (folder / name).mkdir(exist_ok=True)
    script("generate").generate(folder / "run", now=dt.datetime.now(dt.UTC))
    config = state.write("openbao.hcl", localised(ports, folder))
    address, bao = f"https://localhost:{ports.openbao}", str(program("bao"))
    environment = {
        "PATH": os.defpath,
        "HOME": str(folder),
        "BAO_ADDR": address,
        "BAO_CACERT": str(folder / "run/public/ca.pem"),
    }

    def healthy() -> bool:
        return subprocess.run((bao, "status"), env=environment, capture_output=True).returncode == 0

    argv = (bao, "server", "-config", str(config), "-log-level", "warn")
    with running(Command("openbao", "OpenBao", argv, folder), state, healthy):
        yield address


class TestOpenBao:
    def test_it_starts_with_generated_keys_and_lets_only_their_operator_in(
        self, state: StateFolder, ports: Ports, tmp_path: Path
    ) -> None:
        ca, operator = tmp_path / "run/public/ca.pem", tmp_path / "run/operator/operator.pem"

        def log_in(key: Path) -> str:
            return str(script("operate").log_in(address, ca=ca, key=key, now=int(time.time())))

        with openbao(state, ports, tmp_path) as address:
            token = log_in(operator)
            with urllib3.PoolManager(ca_certs=str(ca)) as http:
                looked = http.request(
                    "GET", f"{address}/v1/auth/token/lookup-self", headers={"X-Vault-Token": token}
                ).json()["data"]
            assert looked["policies"] == ["admin", "default"]
            assert looked["ttl"] <= 600
            with pytest.raises(RuntimeError, match="status 400"):
                log_in(tmp_path / "run/identity/identity.pem")
        with openbao(state, ports, tmp_path) as address:  # it unseals itself
            assert log_in(operator)


class TestBootstrap:
    async def test_composes_own_command_sets_openbao_up_for_composes_own_worker(
        self, state: StateFolder, ports: Ports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]

        def here(value: str) -> str:
            for there, instead in {
                "/run/remit": str(tmp_path / "run"),
                "/var/lib/remit": str(tmp_path / "home"),
                "/app/policies": str(ROOT / "policies"),
                "https://openbao:8200": address,
                "host=data-db port=5432": f"host=127.0.0.1 port={ports.postgres}",
            }.items():
                value = value.replace(there, instead)
            return value

        postgres = Postgres(state, ports)
        with openbao(state, ports, tmp_path) as address, running(postgres.prepare(), state, postgres.ready):
            with postgres.connect("postgres", autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {DATABASE}")
            script("data").fill(
                host="127.0.0.1",
                port=ports.postgres,
                database=DATABASE,
                password=postgres.superuser_password,
                manager_password=(tmp_path / "run/data-manager/password").read_text(encoding="ascii"),
            )
            job = services["bootstrap"]
            environment = {key: here(value) for key, value in job["environment"].items()}
            environment["PATH"] = f"{Path(sys.executable).parent}:{os.defpath}"
            said = []
            for _ in range(2):
                done = await asyncio.to_thread(
                    subprocess.run,
                    [here(word) for word in job["command"]],
                    env=environment,
                    cwd=ROOT,
                    capture_output=True,
                    text=True,
                    timeout=120,
                )
                assert done.returncode == 0, done.stderr
                said.append(done.stdout + done.stderr)
            assert " 0 changes" not in said[0]
            assert " 0 changes" in said[1]

            monkeypatch.chdir(tmp_path)
            for key, value in services["worker"]["environment"].items():
                monkeypatch.setenv(key, here(value))
            async with assemble(Settings.load()) as parts:
                agent = await parts.presenter.signer(Principal(parts.catalogue.trust_domain, "agent", "flight-analyst"))
                assert len(await agent.sign(b"anything")) == 64
        for path in (tmp_path / "home/passwords").iterdir():
            assert path.stat().st_mode & 0o077 == 0
            assert path.read_text(encoding="utf-8").strip() not in "".join(said)


class TestNamespace:
    def test_the_script_makes_namespace_and_attributes_and_may_run_again(
        self, state: StateFolder, ports: Ports
    ) -> None:
        temporal = Temporal(state, ports)
        environment = {
            "PATH": f"{program('temporal').parent}:{os.defpath}",
            "HOME": str(state.path),
            "TEMPORAL_ADDRESS": temporal.address,
            "TEMPORAL_NAMESPACE": "fresh",
        }
        with running(temporal.prepare(), state, temporal.ready):
            for _ in range(2):
                done = subprocess.run(
                    ["/bin/sh", str(ROOT / "deploy/temporal/namespace.sh")],
                    env=environment,
                    capture_output=True,
                    text=True,
                    timeout=90,
                )
                assert done.returncode == 0, done.stderr
            listed = subprocess.run(
                ["temporal", "operator", "search-attribute", "list"],
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            ).stdout.split()
        for name, kind in SEARCH_ATTRIBUTES.items():
            assert listed[listed.index(name) + 1] == kind


class TestData:
    def test_the_job_fills_the_server_and_may_run_again(self, state: StateFolder, ports: Ports) -> None:
        postgres = Postgres(state, ports)
        fill = script("data").fill
        with running(postgres.prepare(), state, postgres.ready):
            with postgres.connect("postgres", autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {DATABASE}")
            for manager_password in ("canary-one", "canary-two"):
                fill(
                    host="127.0.0.1",
                    port=ports.postgres,
                    database=DATABASE,
                    password=postgres.superuser_password,
                    manager_password=manager_password,
                )
            with psycopg.connect(f"{postgres.dsn} user={MANAGER} password=canary-one") as manager:
                row = manager.execute(
                    "SELECT rolcreaterole, rolsuper, pg_has_role('app_ro', 'member') FROM pg_roles"
                    " WHERE rolname = current_user"
                ).fetchone()
            assert row == (True, False, True)
            with postgres.connect() as connection:
                assert connection.execute("SELECT count(*) FROM flights").fetchone() == (336_776,)
        log = postgres.log.read_text(encoding="utf-8")
        assert "PASSWORD" not in log
        assert "canary" not in log


def test_the_embedded_configuration_and_this_one_do_not_drift(state: StateFolder, ports: Ports) -> None:
    """Both stacks keep to the same limits; what differs is where things are and who the operator is."""

    def limits(config: str) -> list[str]:
        return [line.strip() for line in config.splitlines() if "lease_ttl" in line or "tls_min_version" in line]

    OpenBao(state, ports).prepare()
    embedded = (state.path / "openbao/openbao.hcl").read_text(encoding="utf-8")
    assert limits(embedded) == limits((ROOT / "deploy/openbao/openbao.hcl").read_text(encoding="utf-8"))
