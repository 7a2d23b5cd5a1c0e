"""The folder: each writer's file against its own chain, and against what the authority signed about it. Pure.

- Within a file every record names the one before it by its hash; numbers run from 1. What breaks that is named where
  it stands: ``audit.edited``, ``audit.dropped``, ``audit.reordered``, ``audit.repeated``, ``audit.torn``.
- A head says what a file must at least hold: ``audit.truncated``, ``audit.edited`` (a chain made anew fits itself, not
  the head), ``audit.after-close``, ``audit.missing`` (heads and no file). A head nobody signed is ``audit.forged``.
- What stands behind the last head is counted as unsealed: it can be cut off without a trace.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from remit.audit import CLOSED, GENESIS, leaves_digest, record_hash
from remit.errors import InvalidDocument
from remit.evidence import seals
from remit.evidence.document import Sealed
from remit.evidence.findings import Finding
from remit.evidence.keys import Keys
from remit.sealing import Head


@dataclass(frozen=True, slots=True)
class Kept:
    """A head as it is kept: whose it is to be, at which record, and the document."""

    writer: str
    seq: int
    sealed: Sealed


@dataclass(frozen=True, slots=True)
class Report:
    """What a look at a folder found.

    Args:
        findings: What does not hold; empty: everything does. counted: How many of what were looked at.
        writers: Whose files do not hold.
    """

    findings: tuple[Finding, ...]
    counted: Mapping[str, int]

    @property
    def valid(self) -> bool:
        """Whether everything holds."""
        return not self.findings

    @property
    def writers(self) -> frozenset[str]:
        """Whose records do not hold."""
        return frozenset(one.where["writer"] for one in self.findings)

    def document(self) -> dict[str, Any]:
        """Return ``{"valid", "findings": [{"code", "message", "writer", …}…], "counted": {…}}``."""
        return {
            "valid": self.valid,
            "findings": [one.document() for one in self.findings],
            "counted": dict(self.counted),
        }


@dataclass(frozen=True, slots=True)
class _Line:
    """A record where it stands: its number, its line in the file, its hash, what it says it follows, its event."""

    seq: int
    at: int
    hash: str
    prev: object
    event: object


def check(files: Mapping[str, bytes], *, heads: Sequence[Kept] = (), keys: Keys | None = None) -> Report:
    """Check files against themselves and against heads.

    Args:
        files: Name → content.
        heads: Of any of the writers. keys: Whose signatures count; needed with heads.
    """
    findings: list[Finding] = []
    counted = {"files": len(files), "records": 0, "heads": 0, "unsealed": 0}
    signed: dict[str, dict[int, Head]] = {}
    for one in heads:
        head = None if keys is None else _read(one, keys=keys)
        if head is None:
            message = f"the head at record {one.seq} was not signed by the authority"
            findings.append(_found("forged", message, writer=one.writer, seq=one.seq))
        else:
            signed.setdefault(one.writer, {})[head.seq] = head
            counted["heads"] += 1
    for name, content in files.items():
        file = _File(name, content)
        findings += file.findings
        its = signed.pop(file.writer, {})
        findings += file.against([its[seq] for seq in sorted(its)])
        counted["records"] += len(file.lines)
        counted["unsealed"] += sum(seq > max(its, default=0) for seq in file.lines)
    for writer, its in sorted(signed.items()):
        message = f"there is no file of a writer that had written {max(its)} records"
        findings.append(_found("missing", message, writer=writer, seq=max(its)))
    return Report(tuple(findings), counted)


class _File:
    """One writer's file, read."""

    def __init__(self, name: str, content: bytes) -> None:
        self.name = name
        self.writer = name.rpartition("-")[2].removesuffix(".jsonl")
        self.lines: dict[int, _Line] = {}
        self.findings: list[Finding] = []
        *lines, rest = content.split(b"\n")
        highest = 0
        for at, raw in enumerate(lines, start=1):
            line = _line(raw, at=at, writer=self.writer)
            if line is None:
                self._find("edited", "the line is no record of this writer", line=at)
            elif line.seq in self.lines:
                self._find("repeated", f"record {line.seq} stands twice", line=at, seq=line.seq)
            else:
                if line.seq < highest:
                    self._find("reordered", f"record {line.seq} stands behind record {highest}", line=at, seq=line.seq)
                highest = max(highest, line.seq)
                self.lines[line.seq] = line
        if rest:
            self._find("torn", "the last line is cut off, as a crash leaves it", line=len(lines) + 1, seq=highest + 1)
        self._chained()

    def against(self, heads: Sequence[Head]) -> Iterator[Finding]:
        """Find where the file is not what was signed; of several heads that do not fit, the first says where."""
        last, fits = max(self.lines, default=0), 0
        for head in heads:
            if head.seq > last:
                message = f"the file ends with record {last}; {head.seq} were signed"
                yield self._made("truncated", message, seq=last + 1)
                break
            line = self.lines.get(head.seq)
            if line is None:
                continue  # named already: it was dropped
            if line.hash != head.hash:
                if any(fits < one.where.get("seq", 0) <= head.seq for one in self.findings):
                    break  # named already, and more exactly
                message = f"records between {fits + 1} and {head.seq} are not those that were signed"
                yield self._made("edited", message, line=line.at, seq=head.seq)
                break
            fits = head.seq
        ends = [head.seq for head in heads if head.closed] + [
            line.seq for line in self.lines.values() if line.event == CLOSED
        ]
        if ends and min(ends) < last:
            message = f"{last - min(ends)} records stand behind the writer's last one"
            yield self._made("after-close", message, seq=min(ends) + 1)

    def _chained(self) -> None:
        numbers = sorted(self.lines)
        for before, after in pairwise([0, *numbers]):
            if after > before + 1:
                which = f"record {after - 1}" if after == before + 2 else f"records {before + 1} to {after - 1}"
                self._find("dropped", f"{which} missing", line=self.lines[after].at, seq=before + 1)
                continue
            prev, line = self.lines.get(before), self.lines[after]
            if line.prev != (prev.hash if prev else GENESIS):
                place = prev or line
                message = f"record {place.seq} is not the one that record {line.seq} follows"
                self._find("edited", message, line=place.at, seq=place.seq)

    def _find(self, kind: str, message: str, **where: int) -> None:
        self.findings.append(self._made(kind, message, **where))

    def _made(self, kind: str, message: str, **where: int) -> Finding:
        return _found(kind, message, file=self.name, writer=self.writer, **where)


def _line(raw: bytes, *, at: int, writer: str) -> _Line | None:
    try:
        text = raw.decode()
        record = json.loads(text)
        seq = record["seq"]
        if type(seq) is not int or seq < 1 or record["writer"] != writer:
            return None
        return _Line(seq, at, record_hash(text), record["prev"], record.get("event"))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _read(kept: Kept, *, keys: Keys) -> Head | None:
    """Return a head that was signed for where it stands, None when it was not."""
    try:
        head = seals.verify(kept.sealed.head, keys=keys)
    except InvalidDocument:
        return None
    whole = head.tasks == leaves_digest(kept.sealed.leaves)
    return head if whole and (head.writer, head.seq) == (kept.writer, kept.seq) else None


def _found(kind: str, message: str, **where: Any) -> Finding:
    return Finding(f"audit.{kind}", message, where)
