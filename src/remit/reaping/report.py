"""Report: what one run of the reaper found, as a workflow's result and as people read it.

- A lease or login is named by the digest of its id, as in audit records; a database user by its name.
- Bounded: of each kind a few are named, all are counted.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

FORGOTTEN: Final = "forgotten"
REVOKED: Final = "revoked"
DESTROYED: Final = "destroyed"
ORPHANS: Final = "orphans"
IRREVOCABLE: Final = "irrevocable"
USERS: Final = "users"
CASCADES: Final = "cascades"
WORDS: Final[Mapping[str, str]] = {
    FORGOTTEN: "records of dead leases forgotten",
    REVOKED: "leases of dead logins revoked",
    DESTROYED: "live leases destroyed, their chain being revoked, suspended or expired",
    ORPHANS: "leases nobody had recorded revoked",
    IRREVOCABLE: "leases OpenBao had given up on revoked",
    USERS: "database users ended that had outlived their lease",
    CASCADES: "consequences of statements started",
}
NAMED = 10
"""Most named of one kind."""


def digest(secret: str) -> str:
    """Return how an id that is secret is named."""
    return "sha256:" + hashlib.sha256(secret.encode()).hexdigest()


@dataclass(slots=True)
class Findings:
    """What a run has found so far.

    Args:
        done: How many of each kind (`WORDS`) were dealt with.
        live: Leases of running attempts, left alone.
        named: Which were dealt with, by kind, the first few.
        pending: What could not be dealt with: ``{"kind", "id", "code"}``.
        unreachable: What did not answer, with the code.
        not_set_up: What the reaper has not been given the means for, and why.
    """

    done: Counter[str] = field(default_factory=Counter)
    live: int = 0
    named: dict[str, list[str]] = field(default_factory=dict)
    pending: list[dict[str, str]] = field(default_factory=list)
    unreachable: dict[str, str] = field(default_factory=dict)
    not_set_up: dict[str, str] = field(default_factory=dict)

    def did(self, kind: str, name: str) -> None:
        """Count something that was dealt with."""
        self.done[kind] += 1
        if len(named := self.named.setdefault(kind, [])) < NAMED:
            named.append(name)

    def left(self, kind: str, name: str, code: str) -> None:
        """Note something that could not be dealt with now."""
        self.pending.append({"kind": kind, "id": name, "code": code})

    def __bool__(self) -> bool:
        """Tell whether there was anything to end or start."""
        return bool(self.done or self.pending)

    def document(self, *, ms: float) -> dict[str, Any]:
        """Return the report: JSON values.

        Args:
            ms: How long the run took.
        """
        return {
            "done": {kind: self.done[kind] for kind in WORDS},
            "live": self.live,
            "named": {kind: list(self.named[kind]) for kind in WORDS if kind in self.named},
            "pending": len(self.pending),
            "pending_first": [dict(one) for one in self.pending[:NAMED]],
            "unreachable": dict(self.unreachable),
            "not_set_up": dict(self.not_set_up),
            "ms": round(ms, 1),
        }


def summary(report: Mapping[str, Any]) -> str:
    """Return a report in one line."""
    if failed := report.get("failed"):
        return f"failed: {failed}"
    parts = [f"{count} {kind}" for kind, count in report["done"].items() if count]
    parts += [f"{report['pending']} pending"] if report["pending"] else []
    parts += [f"{what} unreachable ({code})" for what, code in report["unreachable"].items()]
    parts += [f"{what} not set up ({why})" for what, why in report["not_set_up"].items()]
    return ", ".join(parts) or "nothing to do"


def well(report: Mapping[str, Any]) -> bool:
    """Tell whether a run could do all there was to do."""
    return not any(report.get(part) for part in ("failed", "pending", "unreachable", "not_set_up"))


def markdown(report: Mapping[str, Any]) -> str:
    """Return a report as the Temporal UI shows it."""
    if failed := report.get("failed"):
        return f"**Failed**: `{failed}`. The next run tries again."
    lines = [f"**{summary(report)}** in {report['ms']} ms; {report['live']} leases of running attempts left alone."]
    rows = [(count, WORDS[kind]) for kind, count in report["done"].items() if count]
    if rows:
        lines += ["", "| | done |", "|---:|---|", *(f"| {count} | {words} |" for count, words in rows)]
    if report["pending_first"]:
        lines += ["", "| pending | id | why |", "|---|---|---|"]
        lines += [f"| {one['kind']} | `{one['id']}` | `{one['code']}` |" for one in report["pending_first"]]
    return "\n".join(lines)
