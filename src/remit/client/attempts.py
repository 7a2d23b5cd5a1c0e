"""Attempts: what the audit log knows of a task's steps, laid beside what the workflow says of them. Pure.

- A permitted attempt has two records, one before its tool ran and one after; they are one attempt here.
- A step's attempts are numbered in the order of time, over approvals, suspensions and fresh delegations.
- Records are evidence and never invented: a step without records shows none.
- Temporal repeats a held attempt by itself and tells the workflow nothing; so that a step is held, its record says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

Record = Mapping[str, Any]


def moment(seconds: float) -> str:
    """Return a time as RFC 3339 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def by_step(records: Iterable[Record]) -> dict[int, list[dict[str, Any]]]:
    """Return the attempts of each step, as merged records in order of time.

    Args:
        records: One task's audit records.
    """
    steps: dict[int, list[dict[str, Any]]] = {}
    granted: dict[str, dict[str, Any]] = {}
    for record in records:
        if record.get("event") != "attempt" or not isinstance(record.get("step"), int):
            continue
        grant = record.get("grant")
        if isinstance(grant, str) and grant in granted:
            granted[grant] |= {**record, "began": granted[grant]["time"]}
            continue
        entry = dict(record)
        if isinstance(grant, str):
            granted[grant] = entry
        steps.setdefault(record["step"], []).append(entry)
    return steps


def shown(number: int, record: Record) -> dict[str, Any]:
    """Return one attempt as `remit show` prints it; ``outcome`` is ``running`` while its tool runs."""
    lease = record.get("lease")
    outcome = record.get("outcome")
    entry: dict[str, Any] = {
        "n": number,
        "verdict": record.get("verdict"),
        "policies": list(record.get("policies") or ()),
        "lease": _lease(lease) if isinstance(lease, Mapping) else None,
        "outcome": "running" if outcome == "permitted" else outcome,
        "ms": record.get("ms"),
    }
    return entry | ({"code": record["code"]} if record.get("code") else {})


def merged(view: Mapping[str, Any], records: Iterable[Record]) -> list[dict[str, Any]]:
    """Return a task's steps with their attempts.

    Args:
        view: What the workflow says; it keeps its latest steps only.
        records: One task's audit records.
    """
    attempts = by_step(records)
    steps = {step["n"]: {**step} for step in view.get("steps") or () if isinstance(step.get("n"), int)}
    for number, found in attempts.items():
        last = found[-1]
        known = {"n": number, "tool": last.get("tool"), "action": last.get("action"), "resource": last.get("resource")}
        if last.get("agent") and last["agent"] != view.get("agent"):
            known["agent"] = last["agent"]
        known["state"] = state = _state(last)
        if state not in ("done", "running"):
            known |= {"code": last.get("code"), "policies": last.get("policies")}
        steps.setdefault(number, known)
    return [_step(steps[number], attempts.get(number, ())) for number in sorted(steps)]


def _step(step: Mapping[str, Any], attempts: Iterable[Record]) -> dict[str, Any]:
    told = {name: step.get(name) for name in ("n", "tool", "action", "resource", "state")}
    tried = [shown(at, record) for at, record in enumerate(attempts, start=1)]
    if told["state"] == "running" and tried and tried[-1]["outcome"] == "held":
        told["state"] = "held"
    more = {name: step[name] for name in ("agent", "code", "policies") if step.get(name)}
    return told | {"attempts": tried} | more


def _state(record: Record) -> str:
    outcome = record.get("outcome")
    if outcome == "ok":
        return "done"
    if outcome == "permitted":
        return "running"
    if record.get("code") == "approval.needed":
        return "waiting-approval"
    if record.get("code") == "step.once":
        return "unknown"
    return str(outcome) if outcome in ("stopped", "held", "refused") else "failed"


def _lease(lease: Mapping[str, Any]) -> dict[str, Any]:
    expires = lease.get("expires_at")
    return {
        "kind": lease.get("kind"),
        "id": lease.get("id"),
        "user": lease.get("user"),
        "expires_at": moment(expires) if isinstance(expires, int | float) else expires,
    }
