"""The reaper on the real servers: what others left behind is found and ended, and nothing else is."""

from __future__ import annotations

import asyncio
import json
import random
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import psycopg
import pytest
from psycopg import sql
from temporalio import activity
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.worker import Worker

from activities import plan
from activities.reaper import Reconciling
from remit import audit, cascading, reaping
from remit.assembly import Parts, assemble, temporal_client
from remit.attempt import Grant
from remit.bootstrap.policies import leased_paths
from remit.client import Remit
from remit.client.doctor import examine
from remit.credentials import end_login
from remit.destroying import Destroyed, Destroying
from remit.embedded import Stack
from remit.embedded import openbao as openbao_module
from remit.embedded.provision import provision
from remit.errors import Held
from remit.live import CascadeRecord, LeaseRecord
from remit.reaping import report as reports
from remit.reaping import scheduling
from remit.reaping.cascades import PATIENCE_SECONDS, Cascades
from remit.reaping.leases import GRACE_SECONDS, Leases
from remit.reaping.reaper import Reaper
from remit.reaping.users import Users
from remit.settings import Settings
from remit.statements import Event
from remit.temporal import RemitPlugin
from remit.vault import Token, Vault
from workflows.reaper import Reaper as ReaperWorkflow

from ..conftest import POLICIES
from .acting import Task, authorize, delegate, minted_users, session_of, state

pytestmark = [pytest.mark.servers, pytest.mark.filterwarnings("ignore:Cannot find activity to cancel")]

ROLE = "database/roles/flights-ro"
Start = Callable[[str], Awaitable[bool]]


async def nobody(statement: str) -> bool:
    return False


def reaper(parts: Parts, *, grace: float = 0, start: Start = nobody, vault: Vault | None = None) -> Reaper:
    """Return a reaper with a worker's parts that gives nothing time."""
    return Reaper(
        leases=Leases(
            vault or parts.vault,
            parts.registry,
            paths=leased_paths(parts.catalogue),
            describe=parts.authority.describe,
            clock=time.time,
            grace=grace,
        ),
        users=Users(vault or parts.vault, parts.settings.postgres, grace=grace),
        cascades=Cascades(parts.registry, start, clock=time.time),
        audit=parts.audit,
    )


async def record_of(parts: Parts, grant: Grant) -> LeaseRecord:
    (found,) = [one for one in await parts.registry.live.leases(grant.chain[0]) if one.grant == grant.id]
    return found


async def abandoned(parts: Parts, task: Task, *, recorded: bool = True, step: int = 1) -> tuple[Grant, LeaseRecord]:
    """Leave an attempt as a worker does that is killed while its tool runs, or before the lease's id was recorded."""
    grant = await authorize(parts, task.attempt(step=step, credential="flights-ro"))
    parts.authority._running._held.pop(grant.id)
    record = await record_of(parts, grant)
    if not recorded:
        await parts.registry.live.record(record.root, record.grant, {**record.facts, "lease": None})
    return grant, record


@asynccontextmanager
async def operator(stack: Stack) -> AsyncIterator[Vault]:
    async with Vault(stack.openbao.address, stack.openbao.ca, Token(stack.openbao.admin_token())) as vault:
        yield vault


@asynccontextmanager
async def irrevocable_users(stack: Stack) -> AsyncIterator[None]:
    """Make ending a user fail at the database."""
    async with operator(stack) as vault:
        held = await vault.read(ROLE)
        assert held is not None
        await vault.write(ROLE, **{**held["data"], "revocation_statements": ["SELECT no_such_function()"]})
    try:
        yield
    finally:
        async with operator(stack) as vault:
            await vault.write(ROLE, **held["data"])


async def leases_of(stack: Stack) -> int:
    async with operator(stack) as vault:
        return len(await vault.list("sys/leases/lookup/database/creds/flights-ro"))


def users_of(stack: Stack, like: str = "d-%") -> set[str]:
    with stack.postgres.connect("flights", autocommit=True) as admin:
        return {row[0] for row in admin.execute("SELECT rolname FROM pg_roles WHERE rolname LIKE %s", (like,))}


def alive(session: psycopg.Connection[Any]) -> bool:
    try:
        return session.execute("SELECT 1").fetchone() == (1,)
    except psycopg.OperationalError:
        return False


async def gone(condition: Callable[[], bool], *, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


# Leases


async def test_what_a_worker_minted_and_had_not_recorded_is_revoked(
    stack: Stack, settings: Settings, parts: Parts
) -> None:
    """Attack 38: killed between the mint and the record of the lease's id."""
    task = await delegate(settings)
    grant, record = await abandoned(parts, task, recorded=False)
    with session_of(grant) as session:
        young = await reaper(parts, grace=3600).run()
        assert young["done"][reports.ORPHANS] == 0
        assert alive(session), "a mint may be under way"
        found = await reaper(parts).run()
        assert reports.digest(record.facts["lease"]) in found["named"][reports.ORPHANS]
        assert not alive(session)
    assert minted_users(stack, task) == []
    await end_login(parts.vault, record.facts["accessor"])  # as its TTL would
    assert (await reaper(parts).run())["done"][reports.FORGOTTEN] >= 1
    assert await parts.registry.live.leases(task.reference.delegation) == []


async def test_a_running_attempt_is_left_alone(stack: Stack, settings: Settings, parts: Parts) -> None:
    task = await delegate(settings)
    grant = await authorize(parts, task.attempt(credential="flights-ro"))
    with session_of(grant) as session:
        found = await reaper(parts).run()
        assert found["live"] >= 1
        assert alive(session)
        assert len(minted_users(stack, task)) == 1
    assert (await record_of(parts, grant)).facts["lease"]
    await parts.authority.release(grant, outcome="ok")


@pytest.mark.parametrize("status", ["revoked", "suspended", "expired"])
async def test_a_lease_under_a_chain_without_authority_is_destroyed(
    stack: Stack, settings: Settings, parts: Parts, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    """Whoever stated it died before anything was destroyed; its worker died as well."""

    async def died(self: Destroying, about: Any, **_named: Any) -> Destroyed:
        return Destroyed({}, {})

    task, sibling = await delegate(settings, seconds=600), await delegate(settings, seconds=6000)
    grant, _ = await abandoned(parts, task)
    living = await authorize(parts, sibling.attempt(credential="flights-ro"))
    with session_of(grant) as session, session_of(living) as other:
        if status == "expired":
            monkeypatch.setattr(parts.authority.standing, "_clock", lambda: time.time() + 660)
        else:
            with monkeypatch.context() as patch:
                patch.setattr(Destroying, "under", died)
                await state(settings, task, Event[status.upper()])
        found = await reaper(parts).run()
        assert found["done"][reports.DESTROYED] >= 1
        assert not alive(session)
        assert alive(other)
    assert minted_users(stack, task) == []
    assert await parts.registry.live.leases(task.reference.delegation) == []
    await parts.authority.release(living, outcome="ok")


async def test_a_lease_whose_revocation_failed_is_ended_by_a_later_run(
    stack: Stack, settings: Settings, parts: Parts
) -> None:
    task = await delegate(settings)
    grant, record = await abandoned(parts, task)
    digest = reports.digest(record.facts["lease"])
    with session_of(grant) as session:
        async with irrevocable_users(stack):
            await end_login(parts.vault, record.facts["accessor"])
            found = await reaper(parts, grace=3600).run()
            assert {"kind": reports.REVOKED, "id": digest, "code": "vault.rejected"} in found["pending_first"]
            assert alive(session), "nothing could end it"
            assert await record_of(parts, grant) == record, "and nobody has forgotten it"
        found = await reaper(parts, grace=3600).run()
        assert digest in found["named"][reports.REVOKED]
        assert found["pending"] == 0
        assert not alive(session)
    assert minted_users(stack, task) == []
    assert await parts.registry.live.leases(task.reference.delegation) == []


async def test_two_runs_at_once_do_no_harm(stack: Stack, settings: Settings, parts: Parts) -> None:
    task, running = await delegate(settings), await delegate(settings)
    for step in range(1, 5):
        _, record = await abandoned(parts, task, recorded=step % 2 == 0, step=step)
        if step % 2 == 0:
            await parts.vault.write("auth/token/revoke-accessor", accessor=record.facts["accessor"])
    grant = await authorize(parts, running.attempt(credential="flights-ro"))
    for found in await asyncio.gather(reaper(parts).run(), reaper(parts).run()):
        assert (found["pending"], found["unreachable"], found["not_set_up"]) == (0, {}, {})
    assert minted_users(stack, task) == []
    assert len(minted_users(stack, running)) == 1
    await parts.authority.release(grant, outcome="ok")


async def test_cancelled_and_timed_out_attempts_leave_nothing(stack: Stack, settings: Settings, parts: Parts) -> None:
    """Attack 40: 200 attempts, stopped at any moment of their life."""
    leases, users = await leases_of(stack), users_of(stack)
    task = await delegate(settings, budget=10_000)
    chance = random.Random(40)
    gate = asyncio.Semaphore(16)

    async def one(step: int) -> None:
        async with gate:
            if step % 10 == 0:  # its worker is killed
                _, record = await abandoned(parts, task, recorded=step % 20 == 0, step=step)
                await end_login(parts.vault, record.facts["accessor"])
                return
            try:
                async with asyncio.timeout(chance.uniform(0.0, 0.4)):
                    grant = await authorize(parts, task.attempt(step=step, credential="flights-ro"))
            except (TimeoutError, Held):
                return
            await parts.authority.release(grant, outcome="cancelled")

    await asyncio.gather(*(one(step) for step in range(1, 201)))
    await parts.authority.settled()
    await parts.authority.retry_pending()
    # A request that was given up may still be under way in OpenBao: what it makes is for a later run, or the TTL.
    deadline = time.monotonic() + 120
    while True:
        await reaper(parts).run()
        recorded = await parts.registry.live.leases(task.reference.delegation)
        if await leases_of(stack) <= leases and users_of(stack) <= users and not recorded:
            break
        assert time.monotonic() < deadline, (await leases_of(stack), users_of(stack), recorded)
        await asyncio.sleep(0.5)


# Database users


@contextmanager
def made_user(stack: Stack, name: str, *, by: str = "bao_min") -> Iterator[psycopg.Connection[Any]]:
    """Make a user as OpenBao does, and hold a session of it."""
    manager = stack.postgres.manager_password if by == "bao_min" else stack.postgres.superuser_password
    with psycopg.connect(f"{stack.postgres.dsn} user={by} password={manager}", autocommit=True) as maker:
        role = sql.Identifier(name)
        until = "VALID UNTIL 'tomorrow'"
        maker.execute(sql.SQL(f"CREATE ROLE {{}} LOGIN PASSWORD 'x' {until} IN ROLE app_rw").format(role))
        maker.execute(sql.SQL("GRANT {} TO {}").format(role, sql.Identifier(by)))
        with psycopg.connect(f"{stack.postgres.dsn} user={name} password=x", autocommit=True) as session:
            yield session


def expire(stack: Stack, name: str) -> None:
    with stack.postgres.connect("flights", autocommit=True) as admin:
        admin.execute(sql.SQL("ALTER ROLE {} VALID UNTIL '2020-01-01'").format(sql.Identifier(name)))


def drop(stack: Stack, *names: str) -> None:
    with stack.postgres.connect("flights", autocommit=True) as admin:
        for name in names:
            admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


async def test_a_user_that_outlived_its_lease_is_ended_with_its_session(stack: Stack, parts: Parts) -> None:
    name = f"d-{uuid.uuid4()}-1-orphan"
    with made_user(stack, name) as session:
        table = sql.Identifier("reports", f"t{uuid.uuid4().hex}")
        session.execute(sql.SQL("CREATE TABLE {} (a int)").format(table))
        assert (await reaper(parts).run())["done"][reports.USERS] == 0
        expire(stack, name)
        assert alive(session), "its time being over does not end a session"
        found = await reaper(parts).run()
        assert found["named"][reports.USERS] == [name]
        assert not alive(session)
    assert name not in users_of(stack)
    with stack.postgres.connect("flights", autocommit=True) as admin:
        assert admin.execute(sql.SQL("SELECT count(*) FROM {}").format(table)).fetchone() == (0,), "what it made stays"
        admin.execute(sql.SQL("DROP TABLE {}").format(table))


async def test_a_renewed_lease_keeps_its_user(stack: Stack, settings: Settings, parts: Parts) -> None:
    """What tells the reaper that a user's lease is over moves with every renewal."""

    def until(user: str) -> float:
        with stack.postgres.connect("flights", autocommit=True) as admin:
            asked = "SELECT extract(epoch FROM rolvaliduntil) FROM pg_roles WHERE rolname = %s"
            return float((admin.execute(asked, [user]).fetchone() or (0,))[0])

    task = await delegate(settings)
    grant = await authorize(parts, task.attempt(credential="flights-ro"))
    user, lease = str(grant.lease["user"]), (await record_of(parts, grant)).facts["lease"]
    expire(stack, user)
    async with operator(stack) as vault:
        await vault.write("sys/leases/renew", lease_id=lease, increment=120)
    assert time.time() + 60 < until(user) < time.time() + 180
    with session_of(grant) as session:
        await reaper(parts).run()
        assert alive(session)
    await parts.authority.release(grant, outcome="ok")


async def test_what_the_manager_did_not_make_is_left_alone(stack: Stack, parts: Parts) -> None:
    mark = uuid.uuid4().hex[:8]
    foreign, named, timeless = f"d-{mark}-foreign", f"x-{mark}", f"d-{mark}-timeless"
    with made_user(stack, foreign, by="postgres") as one, made_user(stack, named) as two:
        expire(stack, foreign)
        expire(stack, named)
        with stack.postgres.connect("flights", autocommit=True) as admin:
            admin.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(timeless)))
        assert (await reaper(parts).run())["done"][reports.USERS] == 0
        assert alive(one)
        assert alive(two)
    drop(stack, foreign, named, timeless)


async def test_the_sweeping_user_may_end_expired_users_and_do_nothing_else(
    stack: Stack, settings: Settings, parts: Parts
) -> None:
    task = await delegate(settings)
    grant = await authorize(parts, task.attempt(credential="flights-ro"))
    user = str(grant.lease["user"])
    made = await parts.vault.read("database/creds/sweep")
    assert made is not None
    name, password = made["data"]["username"], made["data"]["password"]
    assert name.startswith("sweep-")
    try:
        with session_of(grant) as session:
            for call in ("expired_users('0')", f"shut_out('{user}')", f"end_user('{user}')"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    session.execute(f"SELECT remit.{call}")
            with psycopg.connect(f"{stack.postgres.dsn} user={name} password={password}", autocommit=True) as sweeper:
                for call in ("shut_out", "end_user"):
                    for who in (user, "postgres", "bao_min", "app_rw", name, 'd-x"; DROP ROLE app_ro; --'):
                        assert sweeper.execute(f"SELECT remit.{call}(%s)", [who]).fetchone() == (False,)
                for statement in (
                    "SELECT * FROM public.flights",
                    "CREATE ROLE d_evil",
                    f'ALTER ROLE "{user}" NOLOGIN',
                    "CREATE FUNCTION remit.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
                    "CREATE TABLE public.mine (a int)",
                    "SET ROLE bao_min",
                ):
                    with pytest.raises(psycopg.errors.InsufficientPrivilege):
                        sweeper.execute(statement)
            assert alive(session)
            # Another run meets this lease and this user: neither is its to end while they may be in use.
            found = await reaper(parts, grace=30).run()
            assert (found["done"][reports.ORPHANS], found["done"][reports.USERS]) == (0, 0)
            assert name in users_of(stack, "sweep-%")
    finally:
        await parts.authority.release(grant, outcome="ok")
        await parts.vault.write(f"sys/leases/revoke/{made['lease_id']}", sync=True)


async def test_a_run_leaves_no_user_of_its_own(stack: Stack, parts: Parts) -> None:
    before = users_of(stack, "sweep-%")
    await reaper(parts).run()
    assert users_of(stack, "sweep-%") <= before


async def test_a_sweeping_user_left_behind_is_ended_by_a_later_run(stack: Stack, parts: Parts) -> None:
    """Its run was killed; it is a lease nobody recorded, like any other."""
    made = await parts.vault.read("database/creds/sweep")
    assert made is not None
    for later, there in ((0, True), (GRACE_SECONDS + 1, False)):
        leases = Leases(
            parts.vault,
            parts.registry,
            paths=["database/creds/sweep"],
            describe=parts.authority.describe,
            clock=lambda later=later: time.time() + later,
            grace=0,
        )
        await leases.reap(reports.Findings())
        assert (made["data"]["username"] in users_of(stack, "sweep-%")) is there


async def test_without_the_means_it_says_so(stack: Stack, parts: Parts) -> None:
    async with operator(stack) as vault:
        held = await vault.read("database/roles/sweep")
        assert held is not None
        await vault.delete("database/roles/sweep")
        try:
            found = await reaper(parts).run()
        finally:
            await vault.write("database/roles/sweep", **held["data"])
    assert found["not_set_up"] == {"database": "vault.rejected"}
    for away, back, code in (
        ("ALTER SCHEMA remit RENAME TO away", "ALTER SCHEMA away RENAME TO remit", "postgres.3F000"),
        ("ALTER ROLE remit_sweep RENAME TO away", "ALTER ROLE away RENAME TO remit_sweep", "vault.failed"),
    ):
        with stack.postgres.connect("flights", autocommit=True) as admin:
            admin.execute(away)
            try:
                found = await reaper(parts).run()
            finally:
                admin.execute(back)
        assert found["not_set_up"] == {"database": code}
        assert not reports.well(found)
        assert "not set up" in reports.summary(found)
    assert reports.well(await reaper(parts).run())


# Outages


async def test_an_openbao_that_does_not_answer_is_told_and_left_to_the_next_run(
    settings: Settings, parts: Parts
) -> None:
    async with Vault("https://127.0.0.1:1", settings.openbao_ca, Token("x")) as away:
        found = await reaper(parts, vault=away).run()
    assert found["unreachable"] == {"leases": "vault.unreachable", "database": "vault.unreachable"}
    assert reports.well(await reaper(parts).run())


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack whose servers may be stopped, and whose OpenBao shows its storage."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openbao_module, "_TEMPLATE", openbao_module._TEMPLATE + "raw_storage_endpoint = true\n")
        stack = Stack(
            tmp_path_factory.mktemp("own") / "home",
            port_base=0,
            bootstrap=lambda started: provision(started, policies=POLICIES),
        )
        stack.start()
        yield stack
        stack.stop()


async def test_postgresql_down_at_the_revocation_does_not_bring_a_credential_back(own: Stack) -> None:
    """Attack 39."""
    settings = Settings.load(home=own.home)
    async with assemble(settings) as parts:
        task = await delegate(settings)
        grant, record = await abandoned(parts, task)
        await asyncio.to_thread(own._running["postgres"].stop)
        await state(settings, task, Event.REVOKED)
        found = await reaper(parts).run()
        assert "database" in found["unreachable"]
        assert reports.digest(record.facts["lease"]) in [one["id"] for one in found["pending_first"]]
        await asyncio.to_thread(own.revive)
        assert len(minted_users(own, task)) == 1, "PostgreSQL has forgotten nothing"
        found = await reaper(parts).run()
        assert found["done"][reports.REVOKED] == 1
        assert reports.well(found)
        assert minted_users(own, task) == []
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(grant.credential["dsn"])
        assert await parts.registry.live.leases(task.reference.delegation) == []


async def test_a_lease_openbao_has_given_up_on_is_retried_and_told(own: Stack) -> None:
    """OpenBao gives up after six tries, which takes it some ten minutes: here its own storage says that it has."""
    settings = Settings.load(home=own.home)
    async with assemble(settings) as parts:
        task = await delegate(settings)
        grant, record = await abandoned(parts, task)
        lease = record.facts["lease"]
        async with operator(own) as vault:
            held = await vault.read(f"sys/raw/sys/expire/id/{lease}")
            assert held is not None
            entry = {**json.loads(held["data"]["value"]), "revokeErr": "maximum revocation attempts reached"}
            await vault.write(f"sys/raw/sys/expire/id/{lease}", value=json.dumps(entry))
        await asyncio.to_thread(own._running["openbao"].stop)
        await asyncio.to_thread(own.revive)
        async with irrevocable_users(own):
            async with operator(own) as vault:
                listed = await vault.read("sys/leases", type="irrevocable")
                assert [one["lease_id"] for one in listed["data"]["leases"]] == [lease]
            await end_login(parts.vault, record.facts["accessor"])
            found = await reaper(parts).run()
            pending = {"kind": reports.IRREVOCABLE, "id": reports.digest(lease), "code": "vault.rejected"}
            assert found["pending_first"] == [pending]
        assert len(minted_users(own, task)) == 1
        found = await reaper(parts).run()
        assert found["done"][reports.IRREVOCABLE] == 1
        assert minted_users(own, task) == []
        async with operator(own) as vault:
            listed = await vault.read("sys/leases", type="irrevocable")
            assert listed["data"]["lease_count"] == 0
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(grant.credential["dsn"])


# Cascades


async def test_a_cascade_is_started_when_whoever_stated_has_had_the_time(settings: Settings, parts: Parts) -> None:
    now = time.time()
    old, young = (
        CascadeRecord(str(uuid.uuid4()), "user", "alice", None, Event.REVOKED.value, now - age)
        for age in (PATIENCE_SECONDS + 1, PATIENCE_SECONDS - 1)
    )
    async with Remit.open(settings, person="alice") as alice:
        for record in (old, young):
            await alice.connection.registry.live.open_cascade(record)
    started: list[str] = []

    async def start(statement: str) -> bool:
        started.append(statement)
        return True

    try:
        await Cascades(parts.registry, start, clock=lambda: now).reap(found := reports.Findings())
        assert old.statement in started
        assert found.done[reports.CASCADES] == len(started), "others' may have been left open too"
        assert found.named[reports.CASCADES] == started[: len(found.named[reports.CASCADES])]
        assert young.statement not in started
    finally:
        for record in (old, young):
            await parts.registry.live.close_cascade(record.statement)


# The service


@asynccontextmanager
async def worker(parts: Parts, queue: str) -> AsyncIterator[Client]:
    plugin = RemitPlugin(
        authority=parts.authority,
        presenter=parts.presenter,
        ungoverned=[plan.NEXT, reaping.WORKFLOW, reaping.ACTIVITY, cascading.WORKFLOW],
    )
    client = await temporal_client(parts.settings, plugins=[plugin])
    async with Worker(
        client, task_queue=queue, workflows=[ReaperWorkflow], activities=[Reconciling(parts, grace=0).reconcile]
    ):
        yield client


async def latest(client: Client, *, after: float) -> scheduling.LatestRun:
    """Return a run that began after a moment (Unix seconds)."""
    deadline = time.monotonic() + 60
    while True:
        run = await scheduling.latest(client)
        if run.ended is not None and run.ended > after:
            return run
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


async def test_the_schedule_runs_it_and_nothing_secret_is_kept(stack: Stack, settings: Settings, parts: Parts) -> None:
    queue = f"reaper-{uuid.uuid4()}"
    task, revoked = await delegate(settings), await delegate(settings)
    grant, orphan = await abandoned(parts, task, recorded=False)
    _, dead = await abandoned(parts, task, step=2)
    await end_login(parts.vault, dead.facts["accessor"])
    statement = (await state(settings, revoked, Event.REVOKED)).statement
    async with worker(parts, queue) as client:
        began = time.time()
        await scheduling.keep(client, task_queue=queue, seconds=3600)
        try:
            run = await latest(client, after=began)
            handle = client.get_workflow_handle(run.id)
            found = await handle.result()
            assert minted_users(stack, task) == []
            assert found["done"][reports.ORPHANS] >= 1
            assert found["done"][reports.CASCADES] >= 1
            cascade = client.get_workflow_handle(cascading.workflow_id(statement))
            assert (await cascade.describe()).workflow_type == cascading.WORKFLOW
            history = (await handle.fetch_history()).to_json()
            assert len((await handle.fetch_history()).events) <= 12
            written = [one for one in audit.read(settings.audit_folder) if one["event"] == "reaped"]
            assert written
            secrets = [one.facts[name] for one in (orphan, dead) for name in ("accessor", "lease")] + [
                grant.credential["password"]
            ]
            for secret in secrets:
                for part in (secret, secret.rsplit("/", 1)[-1]):
                    assert part not in history + json.dumps(written)
            assert "database/creds" not in history

            assert reaping.WORKFLOW in {one.workflow_type async for one in client.list_workflows()}
            async with Remit.open(settings, person="alice") as alice:
                assert not [one for one in await alice.tasks() if one["task"].startswith(reaping.SCHEDULE)]
                checks = {one.name: one for one in await examine(alice.connection)}
            assert checks["reaper"].state == "ok", checks["reaper"]
            assert "ran" in checks["reaper"].detail
            assert "Reaper" not in checks["ungoverned"].detail

            # A worker that starts later keeps the one schedule, as its settings say, and runs it again.
            began = time.time()
            await scheduling.keep(client, task_queue=queue, seconds=1)
            described = await client.get_schedule_handle(reaping.SCHEDULE).describe()
            assert [one.every.total_seconds() for one in described.schedule.spec.intervals] == [1]
            await latest(client, after=began + 2)
        finally:
            await client.get_schedule_handle(reaping.SCHEDULE).delete()
            await parts.registry.live.close_cascade(statement)
            with suppress(RPCError):  # it was never started
                await client.get_workflow_handle(cascading.workflow_id(statement)).terminate()
            async for one in client.list_workflows(f"TaskQueue = '{queue}' AND ExecutionStatus = 'Running'"):
                await client.get_workflow_handle(one.id).terminate()


async def test_a_paused_schedule_stays_paused(settings: Settings, parts: Parts) -> None:
    queue = f"reaper-{uuid.uuid4()}"
    async with worker(parts, queue) as client:
        await scheduling.keep(client, task_queue=queue, seconds=3600)
        handle = client.get_schedule_handle(reaping.SCHEDULE)
        try:
            await handle.pause()
            await scheduling.keep(client, task_queue=queue, seconds=1800)
            described = await handle.describe()
            assert described.schedule.state.paused
            assert [one.every.total_seconds() for one in described.schedule.spec.intervals] == [1800]
            async with Remit.open(settings, person="alice") as alice:
                checks = {one.name: one for one in await examine(alice.connection)}
            assert checks["reaper"].state == "warn"
            assert "paused" in checks["reaper"].detail
        finally:
            await handle.delete()


async def test_a_run_that_cannot_be_made_ends_well_and_says_so(parts: Parts) -> None:
    @activity.defn(name=reaping.ACTIVITY)
    async def broken() -> dict[str, Any]:
        raise RuntimeError("out of order")

    queue = f"reaper-{uuid.uuid4()}"
    client = await temporal_client(parts.settings)
    async with Worker(client, task_queue=queue, workflows=[ReaperWorkflow], activities=[broken]):
        found = await client.execute_workflow(reaping.WORKFLOW, id=queue, task_queue=queue)
    assert found == {"failed": "RuntimeError"}
    assert not reports.well(found)
