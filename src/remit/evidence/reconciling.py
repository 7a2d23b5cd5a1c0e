"""Reconciling: the audit records and OpenBao's own log tell the same story. Pure.

- Every credential OpenBao gave out has its record: the one that names its lease, or, where the attempt got no further,
  the one refusal of that attempt. Every record with a lease has its read.
- A downstream token's signature shows no name in OpenBao's log; it belongs to a record of the same moment.
- What the other log is too young or too old for is counted, not held against anybody.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from remit.evidence.findings import Finding, found
from remit.evidence.openbao import Log, Read

CLOCKS = 1.0
"""Seconds the two logs' clocks may differ."""
YOUNG_SECONDS = 30.0
"""How long after a credential was read its record may be under way."""

Record = Mapping[str, Any]
_Attempt = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What was found: differences, and how many of what there are."""

    findings: tuple[Finding, ...]
    counted: Mapping[str, int]

    def document(self) -> dict[str, Any]:
        """Return ``{"agrees", "findings": [{"code", "message", …}…], "counted": {…}}``."""
        return {
            "agrees": not self.findings,
            "findings": [one.document() for one in self.findings],
            "counted": dict(self.counted),
        }


@dataclass(slots=True)
class _Ours:
    """The records, by what they can be found by."""

    leased: dict[str, Record] = field(default_factory=dict)
    began: dict[str, Record] = field(default_factory=dict)
    without: dict[_Attempt, list[Record]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def of(cls, records: Sequence[Record]) -> _Ours:
        ours = cls()
        for one in records:
            lease = one.get("lease")
            if lease:
                ours.leased.setdefault(str(lease.get("id")), one)
                if one.get("outcome") == "permitted":
                    ours.began[str(lease.get("id"))] = one
            elif one.get("outcome") != "permitted" and "grant" not in one:
                ours.without[_attempt(one)].append(one)
        return ours

    def names(self, one: Read) -> Iterator[str]:
        """Yield what records call a credential that was given out."""
        yield from (lease for lease in one.leases if lease in self.leased)
        if one.hidden and one.attempt is not None:  # only the attempt can tell which login it was
            for lease, record in self.leased.items():
                if record["lease"].get("kind") == "secret" and _attempt(record) == one.attempt:
                    yield lease


def reconcile(
    records: Sequence[Record], log: Log, *, since: float, now: float, young: float = YOUNG_SECONDS
) -> Reconciliation:
    """Compare the records of all writers with OpenBao's log.

    Args:
        since: When the records begin, Unix seconds. now: Unix seconds.
        young: Seconds for which a credential may be without its record.
    """
    attempts = [one for one in records if one.get("event") == "attempt"]
    records = [one for one in attempts if _sound(one)]
    ours, counted = _Ours.of(records), Counter[str]()
    counted |= Counter(
        records=len(records),
        leases=len(ours.began),
        unreadable=log.unreadable + len(attempts) - len(records),
        **{f"{kind}s": 0 for kind in ("login", "credential", "token", "sweep")},
    )
    counted += Counter(f"{one.kind}s" for one in log.reads)
    tokens = [one for one in log.reads if one.kind == "token"]
    wrong: list[Finding] = []
    known: set[str] = set()
    for session in _sessions(log).values():
        wrong += _given(session, ours, known, counted, since=since, until=now - young)
    wrong += _signed(tokens, records, counted, since=since, until=now - young)
    wrong += _unread(ours, known, tokens, log, counted)
    return Reconciliation(tuple(wrong), {name: counted[name] for name in _COUNTED})


_COUNTED = (
    "records", "leases", "logins", "credentials", "tokens", "sweeps",
    "matched", "refused", "before_records", "too_young", "before_log", "after_log", "unreadable",
)  # fmt: skip


def _sessions(log: Log) -> dict[str, list[Read]]:
    """Return what each login was used for; without a readable accessor every entry stands alone."""
    found: dict[str, list[Read]] = defaultdict(list)
    for one in log.reads:
        if one.kind in ("login", "credential"):
            found[one.session or one.request].append(one)
    return found


def _given(
    session: Sequence[Read], ours: _Ours, known: set[str], counted: Counter[str], *, since: float, until: float
) -> Iterator[Finding]:
    """Find what one login gave out and no record knows."""
    reads = [one for one in session if one.kind == "credential"]
    left = []
    for one in reads:
        name = next((lease for lease in ours.names(one) if lease not in known), None)
        if name is None:
            left.append(one)
            continue
        known.add(name)
        counted["matched"] += 1
        record = ours.leased[name]
        if one.attempt is not None and one.attempt != _attempt(record):
            yield _finding("mismatch", "OpenBao gave it to another attempt than its record says", one, lease=name)
    if not left and reads:
        return
    refusals = ours.without.get(next((one.attempt for one in session if one.attempt), ("", "", "", "")))
    if refusals and len(reads) <= 1:
        refusals.pop()
        counted["refused"] += 1
        return
    for one in left or session:
        if one.time < since:
            counted["before_records"] += 1
        elif one.time > until:
            counted["too_young"] += 1
        else:
            what = "a step's login was made" if one.kind == "login" else "a credential was given out"
            yield _finding("unrecorded", f"{what} and no record says so", one)


def _signed(
    tokens: Sequence[Read], records: Sequence[Record], counted: Counter[str], *, since: float, until: float
) -> Iterator[Finding]:
    """Find signatures of downstream tokens at moments when no attempt was being decided."""
    spans = [_span(one) for one in records if _may_sign(one)]
    for one in tokens:
        if any(begins <= one.time <= ends for begins, ends in spans):
            counted["matched"] += 1
        elif one.time < since:
            counted["before_records"] += 1
        elif one.time > until:
            counted["too_young"] += 1
        else:
            yield _finding("unrecorded", "a downstream token was signed and no record says so", one)


def _unread(ours: _Ours, known: set[str], tokens: Sequence[Read], log: Log, counted: Counter[str]) -> Iterator[Finding]:
    """Find records of credentials that OpenBao never gave out."""
    for name, one in ours.began.items():
        begins, ends = _span(one)
        if name in known or (
            one["lease"].get("kind") == "token" and any(begins <= signed.time <= ends for signed in tokens)
        ):
            continue
        if log.begins is None or begins < log.begins:
            counted["before_log"] += 1
        elif log.ends is None or float(one["time"]) > log.ends + CLOCKS:
            counted["after_log"] += 1
        else:
            yield found(
                "unread",
                "a record names a credential that OpenBao never gave out",
                task=one.get("task"),
                step=one.get("step"),
                attempt=one.get("attempt"),
                writer=one.get("writer"),
                seq=one.get("seq"),
                lease=name,
                user=one["lease"].get("user"),
            )


def _sound(one: Record) -> bool:
    """Tell whether a record can be read at all; `remit audit verify` names one that was tampered with."""
    numbers = one.get("time"), one.get("ms", 0)
    return all(type(number) in (int, float) for number in numbers) and type(one.get("lease") or {}) is dict


def _may_sign(one: Record) -> bool:
    lease = one.get("lease") or {}
    return bool(lease.get("kind") == "token" if one.get("outcome") == "permitted" else "grant" not in one)


def _span(one: Record) -> tuple[float, float]:
    """Return from when to when an attempt was being decided."""
    ends = float(one.get("time") or 0)
    return ends - float(one.get("ms") or 0) / 1000 - CLOCKS, ends + CLOCKS


def _attempt(one: Record) -> _Attempt:
    return (str(one.get("delegation")), str(one.get("task")), str(one.get("step")), str(one.get("attempt")))


def _finding(kind: str, message: str, one: Read, **where: Any) -> Finding:
    named = dict(zip(("delegation", "task", "step", "attempt"), one.attempt or (), strict=False))
    return found(
        kind, message, path=one.path, request=one.request, time=one.time, by=one.by, user=one.user, **named, **where
    )
