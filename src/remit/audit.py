"""The audit log: one record per attempt, also of those that were denied or failed.

- One file per writer, JSON lines, appended and flushed before the attempt's outcome is acted on.
- Records are chained: each carries the SHA-256 of the one before it, so an edit, drop or reorder shows. Those of one
  task are chained once more (`task_seq`, `task_prev`), so that they prove themselves without any other task's.
- A writer's life is bounded; its last record says that it ended, and another begins. What it is to have signed is a
  `Mark`; nothing is forgotten until somebody says that a mark was sealed.
- A record holds references, digests and outcomes; no secret and no argument.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Control, direction and invisible characters, and surrogates, which no UTF-8 file can hold.
_CONTROL = re.compile(
    r"[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb]"
)
GENESIS = "sha256:" + "0" * 64
CLOSED = "closed"
"""Event of a writer's last record."""
MOST_RECORDS = 100_000
"""Records of one writer, so that its memory of tasks stays bounded."""
MOST_LEAVES = 4096
"""Tasks one head vouches for, so that the head and its leaves fit into one document."""

Key = tuple[str, str]
"""Namespace and task, as records name them."""


def record_hash(line: str) -> str:
    """Return ``sha256:<hex>`` of one stored line, without its newline."""
    return "sha256:" + hashlib.sha256(line.encode()).hexdigest()


def leaf(namespace: str, task: str, *, number: int, last: str) -> str:
    r"""Return what a head says of one task: base64url SHA-256 of ``<namespace>\n<task>\n<task_seq>\n<hash>``.

    Args:
        namespace, task: As the records name them.
        number: `task_seq` of the task's last record. last: The hash of that record.
    """
    return _digest(f"{namespace}\n{task}\n{number}\n{last}")


def leaves_digest(leaves: Sequence[str]) -> str:
    """Return what a head signs for its leaves: base64url SHA-256 of them, sorted, one a line."""
    return _digest("\n".join(sorted(leaves)))


def plain(value: Any) -> Any:
    r"""Return the value with control and direction characters spelled out, so that no log line can be forged."""
    if isinstance(value, str):
        return _CONTROL.sub(lambda found: f"\\u{ord(found.group()):04x}", value)
    if isinstance(value, Mapping):
        return {plain(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a writer is: what its next head is to say.

    Args:
        writer: Its id. seq, hash: Its last record. closed: Whether it writes no more.
        leaves: Of every task with records since the last mark that was sealed, sorted.
    """

    writer: str
    seq: int
    hash: str
    closed: bool
    leaves: tuple[str, ...]


class _Writer:
    """One file, and the ends of the chains in it."""

    def __init__(self, folder: Path, *, now: float) -> None:
        self.id = uuid.uuid4().hex
        self.seq = 0
        self.last = GENESIS
        self.sealed = 0
        self.tasks: dict[Key, tuple[int, str]] = {}
        self.unsealed: dict[Key, None] = {}
        # The time in the name keeps a folder's files in order of their birth.
        path = folder / f"{int(now)}-{self.id}.jsonl"
        self.file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        self._size = 0

    def append(self, record: Mapping[str, Any], *, now: float) -> str:
        key = _key(record)
        number, before = self.tasks.get(key, (0, GENESIS)) if key else (0, "")
        head: dict[str, Any] = {"time": round(now, 6), "writer": self.id, "seq": self.seq + 1, "prev": self.last}
        if key:
            head |= {"task_seq": number + 1, "task_prev": before}
        line = _line({**head, **record})
        if "\\" in line or _CONTROL.search(line):  # JSON has escaped whatever else is not plain
            line = _line({**head, **plain(record)})
        self._write(f"{line}\n".encode())
        self.seq, self.last = self.seq + 1, record_hash(line)
        if key:
            self.tasks[key] = number + 1, self.last
            self.unsealed[key] = None
        return self.last

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self.file, left) :]
        except OSError:
            with suppress(OSError):  # half a line would spoil the next one
                os.ftruncate(self.file, self._size)
            raise
        self._size += len(data)

    @property
    def full(self) -> bool:
        return self.seq >= MOST_RECORDS - 1 or len(self.unsealed) >= MOST_LEAVES

    def mark(self) -> Mark:
        leaves = (leaf(*key, number=number, last=last) for key in self.unsealed for number, last in [self.tasks[key]])
        return Mark(self.id, self.seq, self.last, self.file < 0, tuple(sorted(leaves)))

    def seal(self, mark: Mark) -> None:
        self.sealed, told = max(self.sealed, mark.seq), frozenset(mark.leaves)
        for key in list(self.unsealed):
            number, last = self.tasks[key]
            if leaf(*key, number=number, last=last) in told:
                del self.unsealed[key]

    def finish(self, *, now: float) -> None:
        """Write the last record, write everything through to the disk and close the file."""
        if self.seq:
            self.append({"event": CLOSED}, now=now)
        os.fsync(self.file)
        os.close(self.file)
        self.file = -1


class AuditLog:
    """Appends records to files of its own in a folder (made with mode 0700, files 0600).

    Args:
        folder: Where all writers of one deployment write.
        clock: Unix seconds.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], float]) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._clock = clock
        self._lock = threading.Lock()
        self._writer = _Writer(folder, now=clock())
        self._former: dict[str, _Writer] = {}

    @property
    def writer(self) -> str:
        """The id of who writes now."""
        return self._writer.id

    def append(self, record: Mapping[str, Any]) -> str:
        """Append one record; return its hash.

        Args:
            record: JSON values; ``time``, ``writer``, ``seq``, ``prev`` are added here, and ``task_seq`` and
                ``task_prev`` to one that names a ``task`` (and its ``namespace``).
        """
        with self._lock:
            written = self._writer.append(record, now=self._clock())
            if self._writer.full:
                self._finish()
                self._writer = _Writer(self._folder, now=self._clock())
            return written

    def marks(self) -> list[Mark]:
        """Return how far each writer is that has records since its last sealed mark, once these are on the disk.

        Blocks while the disk is written to. A head must not name what a power cut can still take away.
        """
        with self._lock:
            going = self._writer.file >= 0
            writers = [*self._former.values(), self._writer] if going else [*self._former.values()]
            found = [one.mark() for one in writers if one.seq > one.sealed]
            file = os.dup(self._writer.file) if going else -1
        if file >= 0:
            try:
                os.fsync(file)
            finally:
                os.close(file)
        return found

    def sealed(self, mark: Mark) -> None:
        """Take note that a mark was signed and stored: what it covers is not told again."""
        with self._lock:
            if mark.closed:
                self._former.pop(mark.writer, None)
            elif (writer := self._former.get(mark.writer, self._writer)).id == mark.writer:
                writer.seal(mark)

    def close(self) -> None:
        """End the writer; what is not sealed yet can still be."""
        with self._lock:
            if self._writer.file >= 0:
                self._finish()

    def _finish(self) -> None:
        writer = self._writer
        writer.finish(now=self._clock())
        if writer.seq:
            self._former[writer.id] = writer


def _key(record: Mapping[str, Any]) -> Key | None:
    """Return which task's chain a record belongs to, None when it names no task."""
    task = record.get("task")
    return (plain(str(record.get("namespace", ""))), plain(task)) if isinstance(task, str) else None


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False)


def _digest(text: str) -> str:
    return urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def read(folder: Path, *, task: str | None = None) -> Iterator[dict[str, Any]]:
    """Yield the records of every writer (of one task), in order of time.

    A line cut off by a crash is left out here; verifying the chain is what names it.
    """
    records = []
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            if task is not None and task not in line:
                continue
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if task is None or record.get("task") == task:
                records.append(record)
    yield from sorted(records, key=lambda record: record.get("time", 0))
