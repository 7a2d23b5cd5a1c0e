"""What must hold when a soak has settled; every breach is one line, and all are told.

- PostgreSQL's own log is the witness: each statement of a minted user is an effect. Its user has a record of a permit
  from before it, and none runs under a link or principal after its stop was acknowledged and before it was lifted.
- The invariants after single faults (`tests.faults.invariants`) hold as well.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from temporalio.service import RPCError

from remit import audit
from remit.chain import Chain
from remit.errors import RemitError
from remit.registry import Registry
from remit.vault import Token, Vault
from remit.vault.paths import join
from tests.faults import invariants
from tests.faults.ground import Ground
from tests.soak.soak import Soak, Stop

KNOWN = frozenset({"completed", "failed", "halted", "rejected", "suspended", "waiting-approval", "waits-below"})
SAMPLE = 40
"""Tasks whose histories are searched for secrets."""
_LINE = re.compile(r"^(\S+ \S+) UTC \[\d+\] (d-[^@\s]+)@\S+ LOG:  (?:statement|execute [^:]*): (.*)")
_TOKEN = re.compile(r"\b(?:hv)?s\.[A-Za-z0-9_-]{20,}\b")
_TICK = 0.002
"""Seconds by which the log's times, cut to milliseconds, may differ from the audit log's."""


@dataclass(frozen=True, slots=True)
class Effect:
    """A statement a minted user sent to PostgreSQL."""

    at: float
    user: str
    statement: str


def effects(logs: Path) -> Iterator[Effect]:
    """Yield what minted users did, as PostgreSQL logged it."""
    for path in sorted(logs.glob("postgres.log*"), reverse=True):
        for line in path.read_text(errors="replace").splitlines():
            if (found := _LINE.match(line)) is not None:
                moment = datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=UTC)
                yield Effect(moment.timestamp(), found[2], found[3][:80])


def under(stop: Stop, chain: Chain) -> bool:
    """Tell whether a stop is about a link or a principal of a chain."""
    return stop.subject in chain.ids or stop.subject in {one.short for one in chain.principals}


def breaks(at: float, chain: Chain, stops: Iterable[Stop]) -> Stop | None:
    """Return a stop that what happened at this moment (Unix seconds) under this chain breaks.

    A principal's revocation stays in force over what was delegated through it before it was lifted.
    """
    for stop in stops:
        if at <= stop.acknowledged + _TICK or not under(stop, chain):
            continue
        if stop.lifted is None or at < stop.lifted:
            return stop
        if stop.final and any(link.iat < int(stop.acknowledged) for link in _through(stop, chain)):
            return stop
    return None


def _through(stop: Stop, chain: Chain) -> list[Any]:
    return [link for link in chain.links if stop.subject in (link.iss.short, link.delegate.short)]


def judged(
    records: Iterable[Mapping[str, Any]],
    happened: Iterable[Effect],
    *,
    chains: Mapping[str, Chain],
    stops: list[Stop],
) -> list[str]:
    """Return how the audit log and PostgreSQL's log break the rules, one line each."""
    found, permitted = [], dict[str, tuple[float, Chain]]()
    for record in records:
        if record.get("outcome") != "permitted":
            continue
        chain = chains[record["chain"][-1]]
        user = (record.get("lease") or {}).get("user")
        if user:
            permitted[user] = (float(record["time"]), chain)
        if (stop := breaks(float(record["time"]), chain, stops)) is not None:
            late = float(record["time"]) - stop.acknowledged
            found.append(f"permitted {late:.3f} s after {stop.subject} was stopped: {record['task']} {record['step']}")
    for effect in happened:
        if effect.user not in permitted:
            found.append(f"an effect without a record: {effect}")
            continue
        recorded, chain = permitted[effect.user]
        if effect.at + _TICK < recorded:
            found.append(f"an effect {recorded - effect.at:.3f} s before its record: {effect}")
        if (stop := breaks(effect.at, chain, stops)) is not None:
            found.append(f"an effect {effect.at - stop.acknowledged:.3f} s after {stop.subject} was stopped: {effect}")
    return found


async def violations(soak: Soak, states: Mapping[str, str]) -> list[str]:
    """Return every breach, one line each."""
    ground = soak.ground
    ground.revoked |= {stop.subject: stop.acknowledged for stop in soak.stops if stop.final and "/" not in stop.subject}
    found = list(soak.violations)
    found += [f"{task} is {state}" for task, state in states.items() if state not in KNOWN]
    connection = soak.people["alice"].connection
    chains = {jti: await connection.chain(jti) for jti in await connection.registry.delegations()}
    records = [one for one in audit.read(ground.settings.audit_folder) if one.get("event") == "attempt"]
    happened = list(effects(ground.stack.home / "logs"))
    soak.done["effects seen"] = len(happened)
    soak.done["permits seen"] = sum(one.get("outcome") == "permitted" for one in records)
    found += judged(records, happened, chains=chains, stops=soak.stops)
    found += await asyncio.to_thread(_audited, ground, list(states))
    found += await _budgets(ground, chains)
    found += await _secrets(ground, sorted(states)[:: max(1, len(states) // SAMPLE)])
    try:
        await invariants.nothing_left(ground)
    except AssertionError as error:
        found.append(f"left: {error}"[:2000])
    return found


def _audited(ground: Ground, tasks: list[str]) -> list[str]:
    found = []
    for task in tasks:
        try:
            invariants.audited(ground, task)
        except AssertionError as error:
            found.append(f"audit of {task}: {error}"[:600])
    return found


async def _budgets(ground: Ground, chains: Mapping[str, Chain]) -> list[str]:
    """Return the links that more was taken from than they have."""
    openbao, found = ground.stack.openbao, []
    links = {link.jti: link for chain in chains.values() for link in chain.links}
    async with Vault(openbao.address, openbao.ca, Token(openbao.admin_token())) as admin:
        documents = Registry(admin).documents
        for root in {chain.ids[0] for chain in chains.values()}:
            record = await documents.get(join("budget", root))
            for jti, units in (record["taken"] if record else {}).items():
                if units > links[jti].scope.budget:
                    found.append(f"{units} of {links[jti].scope.budget} units taken from {jti}")
    return found


async def _secrets(ground: Ground, tasks: list[str]) -> list[str]:
    """Return the tasks whose history holds a password, a key or a token."""
    kept = [path.read_bytes() for path in (ground.stack.home / "keys").rglob("*") if path.is_file()]
    secrets = [secret for one in kept if b"PUBLIC" not in one and len(secret := one.strip()) >= 16]
    client, found = await ground.client(), []
    for task in tasks:
        try:
            history = await client.get_workflow_handle(task).fetch_history()
        except (RPCError, RemitError) as error:
            found.append(f"the history of {task} cannot be read: {error}")
            continue
        data = b"".join(event.SerializeToString() for event in history.events)
        if any(secret in data for secret in secrets) or _TOKEN.search(data.decode("latin-1")) or b"password=" in data:
            found.append(f"a secret is in the history of {task}")
    return found
