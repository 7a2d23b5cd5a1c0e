"""What an attack left behind, asked of the servers themselves: credentials minted, leases held, records written.

A refusal is proven by its effects: nothing minted, no tool begun, exactly one audit record, the workflow alive.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from remit.assembly import Parts
from remit.embedded import Stack
from remit.settings import Settings

_MINTS = ("auth/remit-step/", "database/creds/", "remit-secrets/data/", "transit/sign/remit-token")
ENDINGS = ("ok", "error", "cancelled", "stopped")


@dataclass(slots=True)
class Effects:
    """What happened inside the block; complete once it was left.

    Args:
        records: Audit records of attempts, in order of time.
        others: Audit records of anything else: decisions, delegations, refusals before an attempt.
        minted: Paths of what OpenBao gave for a step, from its own audit log.
        leases: Grants recorded as live that were not before.
    """

    records: list[dict[str, Any]] = field(default_factory=list)
    others: list[dict[str, Any]] = field(default_factory=list)
    minted: list[str] = field(default_factory=list)
    leases: list[str] = field(default_factory=list)

    def refused(self, code: str, *, records: int = 1) -> None:
        """Nothing was minted, nothing ran, and each refusal has its one record with this code."""
        assert self.minted == [], self.minted
        assert self.leases == [], self.leases
        assert [one["outcome"] for one in self.records] == ["refused"] * records, self.records
        assert {one["code"] for one in self.records} == {code}, self.records

    def began(self) -> list[dict[str, Any]]:
        """Return the records of attempts whose tool was let begin."""
        return [one for one in self.records if one["outcome"] == "permitted"]


@asynccontextmanager
async def effects(stack: Stack, settings: Settings, parts: Parts) -> AsyncIterator[Effects]:
    """Watch what happens until the block is left."""
    log = stack.home / "logs" / "openbao-audit.log"
    lines, asked = _lines(settings.audit_folder), log.stat().st_size
    held = {one.grant for one in await parts.registry.live.all_leases()}
    seen = Effects()
    yield seen
    for path, now in _lines(settings.audit_folder).items():
        for line in now[len(lines.get(path, ())) :]:
            record = json.loads(line)
            (seen.records if record["event"] == "attempt" else seen.others).append(record)
    seen.records.sort(key=lambda one: one["time"])
    with log.open("rb") as tail:
        tail.seek(asked)
        for line in tail:
            entry = json.loads(line)
            path = entry.get("request", {}).get("path", "")
            if entry.get("type") == "response" and not entry.get("error") and path.startswith(_MINTS):
                seen.minted.append(path)
    seen.leases += [one.grant for one in await parts.registry.live.all_leases() if one.grant not in held]


def _lines(folder: Path) -> dict[Path, list[str]]:
    return {path: path.read_text(encoding="utf-8").splitlines() for path in folder.glob("*.jsonl")}
