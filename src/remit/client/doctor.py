"""Doctor: what is reachable, what is misconfigured, what runs ungoverned.

- Each check says one thing and, when it is not well, what to do. One that cannot be made because something before it
  failed is left out.
- Nothing is changed and nothing secret is told.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import stat
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from remit import cascade, reaping
from remit.client.mapping import findings
from remit.client.workflows import listed
from remit.errors import Held, RemitError
from remit.mapping import Mapping
from remit.settings import FILE
from remit.temporal import _names as names
from remit.vault.wire import Wire

if TYPE_CHECKING:
    from temporalio.client import Client

    from remit.client.connection import Connection

State = Literal["ok", "warn", "bad", "unreachable"]
OLDEST_OPENBAO = (2, 6, 2)
"""GHSA-59w7-v8rr-pr4p."""
CLOCK_SECONDS = 30
TCP_SECONDS = 3.0
LATE_SECONDS = 120.0
"""Age of the reaper's last run from which it is told, unless it is to run more rarely."""
OWN_WORKFLOWS = (reaping.WORKFLOW, cascade.WORKFLOW)
"""The service's own workflows, which act for nobody."""


@dataclass(frozen=True, slots=True)
class Check:
    """What one check found.

    Args:
        name: What was looked at. state: How it is. detail: What was seen. next: What to do.
    """

    name: str
    state: State
    detail: str
    next: str = ""

    def document(self) -> dict[str, str]:
        """Return its JSON form."""
        return {"name": self.name, "state": self.state, "detail": self.detail, "next": self.next}


async def examine(connection: Connection) -> list[Check]:
    """Make every check."""
    found = [_state_folder(connection), _policies(connection), *_mapping(connection)]
    found += [check async for check in _openbao(connection)]
    found += [check async for check in _postgres(connection)]
    found += [check async for check in _temporal(connection)]
    return found


def _state_folder(connection: Connection) -> Check:
    home = connection.settings.home
    if not home.exists():
        return Check("state folder", "warn", f"{home} does not exist", "Start the stack with `remit dev`, or log in.")
    mode = stat.S_IMODE(home.stat().st_mode)
    if mode & 0o077:
        return Check(
            "state folder", "bad", f"{home} is open to others ({mode:04o})", f"chmod 700 {shlex.quote(str(home))}"
        )
    if not os.access(home, os.W_OK):
        return Check("state folder", "bad", f"{home} cannot be written", "Choose another with --home or REMIT_HOME.")
    return Check("state folder", "ok", str(home))


def _policies(connection: Connection) -> Check:
    try:
        engine = connection.policy
    except RemitError as error:
        return Check("policies", "bad", error.message, "See `remit policy check`.")
    return Check("policies", "ok", f"{len(engine.policies)} policies in {connection.settings.policies}")


def _mapping(connection: Connection) -> list[Check]:
    """Judge the mapping of ``./remit.toml``, if it holds one."""
    if not FILE.exists():
        return []
    try:
        mapping = Mapping.load(FILE)
        wrong = findings(mapping, catalogue=connection.catalogue, policy=connection.policy)
    except RemitError as error:
        return [_of("mapping", error)]
    if mapping == Mapping():
        return []
    if wrong:
        return [Check("mapping", "bad", "; ".join(wrong), f"Correct {FILE}, or the catalogue and the schema.")]
    ungoverned = f"; ungoverned: {', '.join(mapping.ungoverned)}" if mapping.ungoverned else ""
    known = f"{len(mapping.tools) + sum(len(one.tools) for one in mapping.servers.values())} tools"
    return [Check("mapping", "ok", f"{known} for {', '.join(mapping.frameworks) or 'no framework'}{ungoverned}")]


async def _openbao(connection: Connection) -> AsyncIterator[Check]:
    settings = connection.settings
    try:
        wire = Wire(settings.openbao_address, ca=settings.openbao_ca, timeout=TCP_SECONDS)
    except RemitError as error:
        yield _of("OpenBao", error)
        return
    try:
        status, body = await wire.send("GET", "/v1/sys/health", {})
        health: dict[str, Any] = json.loads(body)
    except (RemitError, ValueError) as error:
        yield _of("OpenBao", error)
        return
    finally:
        await wire.close()
    version = str(health.get("version"))
    if status != 200:
        what = "sealed" if health.get("sealed") else "not the active node"
        yield Check(
            "OpenBao", "unreachable", f"{settings.openbao_address} is {what}", "Unseal it, or name the active node."
        )
        return
    yield _version(version, settings.openbao_address, profile=settings.openbao_profile)
    difference = abs(float(health.get("server_time_utc") or connection.clock()) - connection.clock())
    if difference > CLOCK_SECONDS:
        yield Check(
            "clock", "bad", f"{difference:.0f} s from OpenBao's", "Set both clocks by NTP: documents end by them."
        )
    else:
        yield Check("clock", "ok", "agrees with OpenBao's")
    async for check in _registry(connection):
        yield check


async def _registry(connection: Connection) -> AsyncIterator[Check]:
    try:
        principal = connection.principal
        await connection.vault.session()
    except RemitError as error:
        yield Check("session", "warn", error.message, error.next_action)
        return
    yield Check("session", "ok", f"as {principal.name}")
    try:
        await connection.registry.epoch()
        people = [f"user/{name}" for name in connection.catalogue.people]
        agents = [f"agent/{name}" for name in connection.catalogue.agents]
        everyone = [connection.catalogue.principal(short) for short in (*people, *agents)]
        records = await asyncio.gather(*(connection.registry.principal(one) for one in everyone))
    except RemitError as error:
        yield _of("registry", error)
        return
    without = [one.short for one, record in zip(everyone, records, strict=True) if record is None]
    if without:
        yield Check("registry", "bad", f"no key for {', '.join(without)}", "Run `remit bootstrap`.")
    else:
        yield Check("registry", "ok", f"{len(everyone)} principals have their keys")


async def _postgres(connection: Connection) -> AsyncIterator[Check]:
    for mount, dsn in connection.settings.postgres.items():
        facts = dict(part.split("=", 1) for part in shlex.split(dsn) if "=" in part)
        name = f"PostgreSQL ({mount})"
        if {"password", "user"} & facts.keys():
            yield Check(
                name, "bad", "its connection string holds a user or password", "Take them out: they are minted."
            )
            continue
        host, port = facts.get("host", "localhost"), int(facts.get("port", "5432"))
        try:
            async with asyncio.timeout(TCP_SECONDS):
                if host.startswith("/"):
                    _, writer = await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
                else:
                    _, writer = await asyncio.open_connection(host, port)
            writer.close()
            await writer.wait_closed()
        except (OSError, TimeoutError):
            yield Check(name, "unreachable", f"{host}:{port} does not answer", "Start it, or correct REMIT_POSTGRES.")
        else:
            yield Check(name, "ok", f"{host}:{port}")


async def _temporal(connection: Connection) -> AsyncIterator[Check]:
    try:
        client = await connection.temporal()
    except RemitError as error:
        yield _of("Temporal", error)
        return
    yield Check("Temporal", "ok", f"{client.service_client.config.target_host}, namespace {client.namespace}")
    for name, look in (
        ("search attributes", _attributes), ("worker", _worker), ("reaper", _reaper), ("ungoverned", _ungoverned)
    ):  # fmt: skip
        yield await _made(name, look(connection, client))


async def _made(name: str, look: Awaitable[Check]) -> Check:
    from temporalio.service import RPCError

    try:
        return await look
    except RemitError as error:
        return _of(name, error)
    except RPCError as error:
        return Check(name, "warn", f"Temporal does not say: {error.message[:120]}", "")


async def _attributes(connection: Connection, client: Client) -> Check:
    from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest

    asked = ListSearchAttributesRequest(namespace=client.namespace)
    known = (await client.operator_service.list_search_attributes(asked)).custom_attributes
    missing = [key.name for key in names.SEARCH_ATTRIBUTES if key.name not in known]
    if missing:
        made = "temporal operator search-attribute create --name NAME --type Keyword (RemitDelegations: KeywordList)"
        return Check("search attributes", "bad", f"missing: {', '.join(missing)}", made)
    return Check("search attributes", "ok", "there")


async def _worker(connection: Connection, client: Client) -> Check:
    from remit.client.pollers import polled

    queue = connection.settings.task_queue
    if not await polled(client, queue, since=connection.clock() - 120):
        return Check("worker", "bad", f"nobody asks for work on {queue}", "Start one with `python worker.py`.")
    return Check("worker", "ok", f"asks for work on {queue}")


async def _reaper(connection: Connection, client: Client) -> Check:
    from temporalio.service import RPCError, RPCStatusCode

    from remit.reaping.scheduling import latest

    try:
        run = await latest(client)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return Check("reaper", "warn", "there is no schedule for it", "Start a worker: it makes the schedule.")
    if run.paused:
        return Check("reaper", "warn", "its schedule is paused", "temporal schedule toggle --unpause -s remit-reaper")
    if run.ended is None:
        return Check("reaper", "warn", "it has not run yet", "Start a worker.")
    age = connection.clock() - run.ended
    detail = f"ran {age:.0f} s ago: {run.said}"
    if age > max(LATE_SECONDS, 4 * connection.settings.reap_seconds):
        return Check("reaper", "warn", detail, "It runs only while a worker does: look at the worker.")
    if not run.well:
        return Check("reaper", "warn", detail, f"Look at the workflow {run.id} in the Temporal UI.")
    return Check("reaper", "ok", detail)


async def _ungoverned(connection: Connection, client: Client) -> Check:
    own = ", ".join(f"'{kind}'" for kind in OWN_WORKFLOWS)
    query = f"RemitState IS NULL AND ExecutionStatus = 'Running' AND WorkflowType NOT IN ({own})"
    found = await listed(connection, query, most=100)
    if found:
        kinds = ", ".join(sorted({f"{one.workflow_type} on {one.task_queue}" for one in found})[:5])
        return Check("ungoverned", "warn", f"{len(found)} running workflows carry no delegation: {kinds}",
                     "Start them through a client with RemitPlugin, or list their types as ungoverned.")  # fmt: skip
    return Check("ungoverned", "ok", "every running workflow carries a delegation")


def _version(version: str, address: str, *, profile: str) -> Check:
    match = re.match(r"(\d+)\.(\d+)\.(\d+)", version)
    if profile == "openbao" and match and tuple(map(int, match.groups())) < OLDEST_OPENBAO:
        wanted = ".".join(map(str, OLDEST_OPENBAO))
        return Check(
            "OpenBao", "bad", f"{address} runs {version}", f"Upgrade to {wanted} or later (GHSA-59w7-v8rr-pr4p)."
        )
    return Check("OpenBao", "ok", f"{address}, {version}")


def _of(name: str, error: Exception) -> Check:
    if isinstance(error, RemitError):
        return Check(name, "unreachable" if isinstance(error, Held) else "bad", error.message, error.next_action)
    return Check(name, "bad", "its answer is not OpenBao's", "Look at REMIT_OPENBAO_ADDRESS.")
