"""Private: a file that is its owner's alone and is replaced as a whole, whatever the caller's umask.

- It is written beside, synced and renamed: a crash leaves the old one or the new one, never half of either.
- Two that write at once each write one of their own; the later rename counts.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def replace(file: Path, content: str | bytes) -> None:
    """Write a file with mode 0600, a missing folder for it with mode 0700.

    A link in its place is replaced, not followed.
    """
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=draft(file.name), dir=file.parent)
    beside = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as out:
            os.fchmod(descriptor, 0o600)  # a umask may have taken even the owner's part
            out.write(content.encode() if isinstance(content, str) else content)
            out.flush()
            os.fsync(descriptor)
        beside.replace(file)
    except BaseException:
        beside.unlink(missing_ok=True)  # or its error would hide the first
        raise


def draft(name: str) -> str:
    """Return what the names of drafts of a file begin with; a process that was killed may leave one."""
    return f".{name}."
