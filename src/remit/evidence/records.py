"""Records: one writer's records of one task are all there, unchanged and in order, and the authority signed the last.

- Record n names record n - 1 by its hash (``task_prev``), the first one names `GENESIS`; numbers run from 1.
- The last one is a leaf of a head that the authority signed: without it nobody knows what was cut off.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from remit import strictjson
from remit.audit import GENESIS, leaf, leaves_digest, record_hash
from remit.errors import InvalidDocument
from remit.evidence import seals
from remit.evidence.document import Writer
from remit.evidence.findings import Finding, found
from remit.evidence.keys import Keys

_TEXTS = (
    "event",
    "outcome",
    "code",
    "digest",
    "delegation",
    "grant",
    "run",
    "activity",
    "request",
    "binding",
    "approval",
)


@dataclass(frozen=True, slots=True)
class Record:
    """One record: its writer, its number among the task's, its line as stored, and what the line says."""

    writer: str
    number: int
    line: str
    facts: Mapping[str, Any]

    @property
    def hash(self) -> str:
        """``sha256:<hex>`` of the line."""
        return record_hash(self.line)

    @property
    def namespace(self) -> str:
        """The Temporal namespace of its task; a decision's record names none."""
        return str(self.facts.get("namespace", ""))

    @property
    def time(self) -> float:
        """When it was written, Unix seconds."""
        return float(self.facts["time"])

    @property
    def where(self) -> dict[str, Any]:
        """Where it stands, for findings."""
        return {"writer": self.writer, "record": self.number, "step": self.facts.get("step")}


def check(writer: Writer, *, task: str, namespace: str, keys: Keys) -> tuple[list[Record], list[Finding]]:
    """Return a writer's records that can be read, and what does not hold about them."""
    records: list[Record] = []
    wrong: list[Finding] = []
    for at, line in enumerate(writer.records, start=1):
        try:
            records.append(read(line, writer=writer.writer, task=task, namespace=namespace))
        except InvalidDocument as error:
            wrong.append(found("edited", f"line {at} is no record of this task: {error.message}", writer=writer.writer))
    wrong += _order(records)
    ordered: dict[int, Record] = {}
    for one in sorted(records, key=lambda one: one.number):
        ordered.setdefault(one.number, one)
    wrong += _links(ordered)
    if ordered:
        wrong += _seal(writer, ordered[max(ordered)], task=task, keys=keys)
    elif not writer.records:
        wrong.append(found("truncated", "a writer without any record", writer=writer.writer))
    return list(ordered.values()), wrong


def read(line: str, *, writer: str, task: str, namespace: str) -> Record:
    """Read one line.

    Raises:
        InvalidDocument: It is no record of this task by this writer.
    """
    facts = strictjson.loads(line.encode("utf-8", "surrogatepass"))
    number, time = facts.get("task_seq"), facts.get("time")
    if type(number) is not int or number < 1 or type(time) not in (int, float) or "\n" in line:
        raise InvalidDocument("it has no number or time", code="evidence.edited")
    if facts.get("task") != task or facts.get("namespace") != namespace or facts.get("writer") != writer:
        raise InvalidDocument("it is another task's or writer's", code="evidence.edited")
    if not all(facts.get(name) is None or type(facts[name]) is str for name in _TEXTS) or not _lists_ids(facts):
        raise InvalidDocument("what it says is of another type", code="evidence.edited")
    return Record(writer, number, line, facts)


def _lists_ids(facts: Mapping[str, Any]) -> bool:
    given, chain = facts.get("approvals") or [], facts.get("chain") or []
    return (
        type(given) is list
        and all(type(one) is dict and type(one.get("id")) is str for one in given)
        and type(chain) is list
        and all(type(one) is str for one in chain)
        and type(facts.get("seq")) is int
    )


def _order(records: list[Record]) -> Iterator[Finding]:
    """Find what stands twice, what is out of order and what is missing in between."""
    highest = 0
    seen: set[int] = set()
    for one in records:
        if one.number in seen:
            yield found("repeated", f"record {one.number} stands twice", **one.where)
        elif one.number < highest:
            yield found("reordered", f"record {one.number} stands after record {highest}", **one.where)
        seen.add(one.number)
        highest = max(highest, one.number)
    for number in range(1, highest):
        if number not in seen:
            yield found("dropped", f"record {number} of {highest} is missing", writer=records[0].writer, record=number)


def _links(records: Mapping[int, Record]) -> Iterator[Finding]:
    for number, one in records.items():
        before = records.get(number - 1)
        if number == 1 and one.facts.get("task_prev") != GENESIS:
            yield found("edited", "record 1 names one before it", **one.where)
        elif before is not None and one.facts.get("task_prev") != before.hash:
            yield found("edited", f"record {number - 1} is not the one that record {number} names", **before.where)


def _seal(writer: Writer, last: Record, *, task: str, keys: Keys) -> Iterator[Finding]:
    if writer.head is None:
        yield found("unsealed", "no signed head covers its records: nobody knows what was cut off", **last.where)
        return
    try:
        head = seals.verify(writer.head.head, keys=keys)
    except InvalidDocument as error:
        yield found("head", f"its head is not the authority's: {error.message} [{error.code}]", writer=writer.writer)
        return
    if head.writer != writer.writer:
        yield found("head", "its head is another writer's", writer=writer.writer)
    elif leaves_digest(writer.head.leaves) != head.tasks:
        yield found("leaves", "its head's leaves are not the ones that were signed", writer=writer.writer)
    elif leaf(last.namespace, task, number=last.number, last=last.hash) not in writer.head.leaves:
        yield found(
            "truncated",
            f"record {last.number} is not the last one that was signed: it was edited, or others were cut off after it",
            **last.where,
        )
