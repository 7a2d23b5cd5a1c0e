"""What must hold after every fault, whatever was killed and whenever.

- No credential, login, database user or record of one is left.
- No tool ran without a record before it, and each record of a permit has one of its end, unless its writer was killed.
- No attempt was permitted under a link after its revocation had been acknowledged.
- What completed left each of its effects exactly once.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from remit.audit import GENESIS, record_hash
from remit.errors import RemitError
from remit.registry import Registry
from remit.vault import Token, Vault
from tests.faults.ground import Ground

ENDS = ("ok", "error", "cancelled", "stopped")


async def left(ground: Ground) -> dict[str, list[str]]:
    """Return what is live: OpenBao's leases, the registry's records of them, and users of the database."""
    openbao = ground.stack.openbao
    async with Vault(openbao.address, openbao.ca, Token(openbao.admin_token())) as admin:
        leases = []
        for role in await admin.list("sys/leases/lookup/database/creds"):
            leases += await admin.list(f"sys/leases/lookup/database/creds/{role.rstrip('/')}")
        records = [lease.grant for lease in await Registry(admin).live.all_leases()]
    return {"leases": leases, "users": ground.minted(), "records": records}


async def nothing_left(ground: Ground, *, seconds: float = 150) -> None:
    """Return once nothing is live any more: by release, by retry, by the reaper, or by its lifetime."""
    await only(ground, 0, seconds=seconds)


async def only(ground: Ground, number: int, *, seconds: float = 30) -> None:
    """Return once exactly so many leases are live, each recorded and with its user, and no other."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            found: dict[str, Any] = await left(ground)
            if {len(names) for names in found.values()} == {number}:
                return
        except RemitError as error:
            found = {"unknown": [error.code]}
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.3)


async def leased(ground: Ground) -> int:
    """Return how many live leases are recorded, without asking PostgreSQL."""
    openbao = ground.stack.openbao
    async with Vault(openbao.address, openbao.ca, Token(openbao.admin_token())) as admin:
        return len(await Registry(admin).live.all_leases())


def audited(ground: Ground, task: str) -> None:
    """See that every run of a tool is in the audit log, and every file of it whole."""
    writers = {one["writer"] for one in ground.points.noted("writer") if one["pid"] in ground.killed}
    records = ground.records(task)
    for began in ground.points.noted("began", task=task):
        same = {name: began[name] for name in ("run", "activity", "attempt")}
        before = [one for one in records if one["outcome"] == "permitted" and same.items() <= one.items()]
        assert [one for one in before if one["time"] <= began["time"]], f"no record before {began}"
    ended = {one["grant"] for one in records if one["outcome"] in ENDS}
    for permit in (one for one in records if one["outcome"] == "permitted"):
        assert permit["grant"] in ended or permit["writer"] in writers, f"no end of {permit}"
        acknowledged = min((ground.revoked[link] for link in permit["chain"] if link in ground.revoked), default=None)
        assert acknowledged is None or permit["time"] <= acknowledged, f"permitted under a revoked link: {permit}"
    for path in ground.settings.audit_folder.glob("*.jsonl"):
        previous = GENESIS
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            record = json.loads(line)
            assert (record["seq"], record["prev"]) == (number, previous), f"{path.name}, line {number}"
            previous = record_hash(line)


def once(ground: Ground, task: str, *, effects: int) -> None:
    """See that a task left exactly so many effects, each by another step."""
    found = ground.points.noted("effect", task=task)
    assert len(found) == effects, found
    assert len({one["note"] for one in found}) == effects, found
