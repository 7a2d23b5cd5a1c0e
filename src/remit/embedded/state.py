"""The state folder: everything the embedded stack writes is in here, and nowhere else.

- The folder is mode 0700, what is in it 0700 and 0600, whatever the caller's umask.
- ``version.json`` is written first. A folder of another version is refused, never converted in place;
  a folder that holds other things is refused too.
- One owner at a time: a lock that the operating system drops when the owner dies.
- Files are replaced as a whole (write beside, sync, rename), so a crash leaves the old one or the new one.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from remit import private
from remit.errors import RemitError

VERSION = 1
_VERSION_FILE = "version.json"
_LOCK_FILE = "lock"
# What other commands may have put here before the embedded stack was ever started.
_OURS = frozenset({_LOCK_FILE, "remit.toml", "sessions", "audit", "logs", "tools.json"})


@dataclass(frozen=True, slots=True)
class StateFolder:
    """A state folder of this version.

    Args:
        path: Absolute path of the folder.
        id: Random, made with the folder; servers of this folder carry it in their environment.
    """

    path: Path
    id: str

    @classmethod
    def open(cls, path: Path) -> StateFolder:
        """Open the folder, making it when it is not there.

        Raises:
            RemitError: ``state.version`` for a folder of another version, ``state.foreign`` for one that
                holds something else, ``state.owner`` for another user's, ``state.folder`` when it cannot
                be made or read.
        """
        path = path.expanduser().resolve()
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if path.stat().st_uid != os.geteuid():
                raise RemitError(
                    f"the state folder {path} belongs to another user",
                    code="state.owner",
                    next_action="Run as its owner, or choose another folder with --home.",
                )
            identity = _identity(path)
            path.chmod(0o700)  # only now: until then it may be anybody's folder, /tmp for one
            return cls(path, identity)
        except OSError as error:
            raise RemitError(
                f"the state folder {path} cannot be used: {error.strerror}",
                code="state.folder",
                next_action="Choose another folder with --home or REMIT_HOME.",
            ) from error

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Own the folder for the time of a ``with`` block.

        Raises:
            RemitError: ``state.busy`` while another process owns it.
        """
        # mode: the lock file is made by filelock, which would otherwise leave it to the umask
        lock = FileLock(self.path / _LOCK_FILE, timeout=0, mode=0o600, thread_local=False)
        try:
            lock.acquire()
        except Timeout as error:
            raise RemitError(
                f"another process runs the stack of {self.path}",
                code="state.busy",
                next_action="Stop it with: remit stop",
            ) from error
        try:
            yield
        finally:
            lock.release()

    def folder(self, name: str) -> Path:
        """Return a folder in here, making it with mode 0700."""
        folder = self.path / name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    def write(self, name: str, content: str | bytes) -> Path:
        """Replace the file ``name`` (a relative path) as a whole, mode 0600."""
        private.replace(file := self.path / name, content)
        return file

    def write_json(self, name: str, document: Any) -> Path:
        """Replace the file ``name`` by a JSON document."""
        return self.write(name, json.dumps(document, indent=2) + "\n")

    def read_json(self, name: str) -> Any:
        """Return the document in ``name``, or None when there is none that can be read."""
        try:
            return json.loads((self.path / name).read_bytes())
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None

    def secret(self, name: str, make: Callable[[], bytes]) -> bytes:
        """Return the content of the file ``name``, made once with ``make``."""
        file = self.path / name
        if not file.exists():
            self.write(name, make())
        return file.read_bytes()

    def completed(self, name: str) -> bool:
        """Tell whether the first start of the server ``name`` reached its end."""
        return (self.path / name / "complete").exists()

    def complete(self, name: str) -> None:
        """Record that the first start of the server ``name`` reached its end."""
        self.write(f"{name}/complete", "")

    def wipe(self, name: str) -> Path:
        """Empty the folder ``name`` and return it."""
        folder = self.path / name
        if folder.exists():
            shutil.rmtree(folder)
        return self.folder(name)


def _identity(path: Path) -> str:
    file = path / _VERSION_FILE
    if not file.exists():
        there = {entry.name for entry in path.iterdir()}
        others = {name for name in there - _OURS if not name.startswith(private.draft(_VERSION_FILE))}
        if others:
            raise RemitError(
                f"{path} is not a state folder: it holds {min(others)!r}",
                code="state.foreign",
                next_action="Choose an empty or new folder with --home or REMIT_HOME.",
            )
        private.replace(file, json.dumps({"version": VERSION, "id": str(uuid.uuid4())}) + "\n")
    try:
        document = json.loads(file.read_bytes())
        version, identity = document["version"], str(document["id"])
    except (ValueError, KeyError, TypeError):
        version, identity = "unreadable", ""
    if version != VERSION:
        raise RemitError(
            f"the state folder {path} is of version {version}, this Remit needs version {VERSION}",
            code="state.version",
            next_action="Move it away, or choose another folder with --home or REMIT_HOME.",
        )
    return identity
