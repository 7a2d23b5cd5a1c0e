"""The audit log: one record per attempt, also of those that were denied or failed.

- One file per writer and process life, JSON lines, appended and flushed before the attempt's outcome is acted on.
- Records are chained: each carries the SHA-256 of the one before it, so an edit, drop or reorder shows.
- A record holds references, digests and outcomes; no secret and no argument.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

# Control, direction and invisible characters, and surrogates, which no UTF-8 file can hold.
_CONTROL = re.compile(
    r"[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb]"
)
GENESIS = "sha256:" + "0" * 64


def record_hash(line: str) -> str:
    """Return ``sha256:<hex>`` of one stored line, without its newline."""
    return "sha256:" + hashlib.sha256(line.encode()).hexdigest()


def plain(value: Any) -> Any:
    r"""Return the value with control and direction characters spelled out, so that no log line can be forged."""
    if isinstance(value, str):
        return _CONTROL.sub(lambda found: f"\\u{ord(found.group()):04x}", value)
    if isinstance(value, Mapping):
        return {plain(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


class AuditLog:
    """Appends records to a file of its own in a folder (made with mode 0700, files 0600).

    Args:
        folder: Where all writers of one deployment write.
        clock: Unix seconds.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], float]) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.writer = uuid.uuid4().hex
        self._clock = clock
        self._lock = threading.Lock()
        self._previous = GENESIS
        self._number = 0
        # The time in the name keeps a folder's files in order of their birth.
        path = folder / f"{int(clock())}-{self.writer}.jsonl"
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)

    def append(self, record: Mapping[str, Any]) -> str:
        """Append one record; return its hash.

        Args:
            record: JSON values; ``time``, ``writer``, ``seq`` and ``prev`` are added here.
        """
        with self._lock:
            self._number += 1
            head = {
                "time": round(self._clock(), 6),
                "writer": self.writer,
                "seq": self._number,
                "prev": self._previous,
            }
            line = _line({**head, **record})
            if "\\" in line or _CONTROL.search(line):  # JSON has escaped whatever else is not plain
                line = _line({**head, **plain(record)})
            data = memoryview(f"{line}\n".encode())
            while data:
                data = data[os.write(self._file, data) :]
            self._previous = record_hash(line)
            return self._previous

    def close(self) -> None:
        """Write everything through to the disk and close the file."""
        with self._lock:
            if self._file >= 0:
                os.fsync(self._file)
                os.close(self._file)
                self._file = -1


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False)


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
