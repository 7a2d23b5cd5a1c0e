"""OpenBao's own audit log: which credentials were given out, to whom, when. Pure.

- Step logins, reads of what the catalogue's profiles name, and signatures of downstream tokens; refused ones are left
  out, and so is everything else.
- A lease's id and a database user stand there in the clear, an accessor where ``hmac_accessor`` is false, and a step's
  login carries the task it was made for. That is what joins this log with the records.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from remit.bootstrap.identities import TOKEN_KEY
from remit.catalogue import Catalogue
from remit.reaping.sweep import ROLE as SWEEP
from remit.vault.steps import MOUNT as STEPS

Kind = Literal["login", "credential", "token", "sweep"]


@dataclass(frozen=True, slots=True)
class Read:
    """One credential that OpenBao gave out.

    Args:
        kind: A step's login, a credential, a downstream token's signature, or the reaper's own database user.
        time: Unix seconds. path: What was asked for. request: The request's id in the log.
        session: Names the login it was asked with. by: Whose login that is, as OpenBao shows it.
        leases: What records call it (`Lease.evidence`): hashes of the lease's id or the login's accessor.
        hidden: Whether what records call it cannot be known, because the log hides accessors.
        user: Database user. attempt: Delegation, task, step and attempt, all text; None for other than steps' logins.
    """

    kind: Kind
    time: float
    path: str
    request: str
    session: str
    by: str
    leases: frozenset[str] = frozenset()
    hidden: bool = False
    user: str | None = None
    attempt: tuple[str, str, str, str] | None = None


@dataclass(slots=True)
class Log:
    """What the log says.

    Args:
        reads: In the log's order. begins, ends: Times of its first and last entry; None: it has none.
        unreadable: Lines that are no entries.
    """

    reads: list[Read] = field(default_factory=list)
    begins: float | None = None
    ends: float | None = None
    unreadable: int = 0


@dataclass(frozen=True, slots=True)
class Paths:
    """What gives out credentials: prefixes of static secrets, and prefixes of what makes credentials."""

    secrets: tuple[str, ...]
    makers: tuple[str, ...]

    @classmethod
    def of(cls, catalogue: Catalogue) -> Paths:
        """Return those of the catalogue's profiles: what lies beside a profile's path is looked at as well."""
        profiles = [one for one in catalogue.credentials.values() if one.kind != "token"]
        return cls(
            secrets=tuple(sorted({_folder(one.path, "data") for one in profiles if one.kind == "secret"})),
            makers=tuple(sorted({_folder(one.path, "creds") for one in profiles if one.kind != "secret"})),
        )

    def kind(self, path: str, operation: str) -> Kind | None:
        """Return what a request to OpenBao gives out; None: nothing of ours."""
        if path.startswith(f"auth/{STEPS}/") and path.endswith("login"):
            return "login"
        if path == f"transit/sign/{TOKEN_KEY}":
            return "token"
        if path.startswith(self.makers):
            return "sweep" if path.rpartition("/")[2] == SWEEP else "credential"
        return "credential" if operation == "read" and path.startswith(self.secrets) else None


def _folder(path: str, name: str) -> str:
    """Return a path up to this segment, or else to its last one."""
    head, found, _ = path.partition(f"/{name}/")
    return f"{head}/{name}/" if found else path.rpartition("/")[0] + "/"


def read(lines: Iterable[str], *, paths: Paths, into: Log | None = None) -> Log:
    """Read a log, one JSON entry a line.

    Args:
        into: The log to go on with, for one that was rotated.
    """
    log = into or Log()
    for line in lines:
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            time = datetime.fromisoformat(entry["time"]).timestamp()
        except (ValueError, KeyError, TypeError):
            log.unreadable += 1
            continue
        log.begins = time if log.begins is None else min(log.begins, time)
        log.ends = time if log.ends is None else max(log.ends, time)
        if entry.get("type") == "response" and not entry.get("error"):
            request, answer = entry.get("request") or {}, entry.get("response") or {}
            kind = paths.kind(str(request.get("path")), str(request.get("operation")))
            if kind is not None and (answer.get("data") or answer.get("auth")):
                log.reads.append(_read(kind, time, entry, request, answer))
    return log


def _read(
    kind: Kind, time: float, entry: Mapping[str, Any], request: Mapping[str, Any], answer: Mapping[str, Any]
) -> Read:
    auth = (answer.get("auth") if kind == "login" else entry.get("auth")) or {}
    session = str(auth.get("accessor") or "")
    lease = (answer.get("secret") or {}).get("lease_id")
    told = auth.get("metadata") or {}
    attempt = tuple(str(told.get(name) or "") for name in ("delegation", "task", "step", "attempt"))
    user = (answer.get("data") or {}).get("username")
    return Read(
        kind=kind,
        time=time,
        path=str(request.get("path")),
        request=str(request.get("id")),
        session=session,
        by=str(auth.get("display_name") or ""),
        leases=frozenset("sha256:" + hashlib.sha256(name.encode()).hexdigest() for name in (lease or session,) if name),
        hidden=not lease and session.startswith("hmac-"),
        user=str(user) if user else None,
        attempt=(attempt[0], attempt[1], attempt[2], attempt[3]) if all(attempt) else None,
    )
