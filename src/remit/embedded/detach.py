"""An owner in the background: ``remit dev --detach``.

- The caller waits until the owner's stack can be used; when the owner gives up instead, its own last lines
  and exit status become the caller's error.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from remit.embedded.process import last_line, open_log
from remit.embedded.record import Record
from remit.embedded.state import StateFolder
from remit.errors import Held, RemitError, Usage

_POLL_SECONDS = 0.05
_ERROR = re.compile(r"(?P<message>.+) \[(?P<code>[a-z][a-z0-9.-]*)\]")
_KINDS = {2: Usage, 3: Held}


def detach(home: Path, argv: Sequence[str], *, seconds: float = 120.0) -> Record:
    """Start an owner that outlives this process and wait for its stack.

    Args:
        home: The state folder.
        argv: The owner's program and arguments: something that calls ``Stack(home).start()`` and stays. It
            keeps this process's environment and working directory.
        seconds: Bound of the wait.

    Raises:
        RemitError: What the owner said, with its exit status; ``server.failed`` when it is too slow, in
            which case it is stopped.
    """
    state = StateFolder.open(home)
    log = open_log(state, "dev")
    began = log.stat().st_size
    with log.open("ab") as out:
        owner = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, umask=0o077
        )
    deadline = time.monotonic() + seconds
    while owner.poll() is None:
        record = Record.read(state)
        if record and record.ready and record.owner.pid == owner.pid:
            owner.returncode = 0  # it is not ours to wait for any more
            return record
        if time.monotonic() > deadline:
            owner.terminate()
            owner.wait()
            raise RemitError(
                f"the stack was not ready within {seconds:.0f} s: {last_line(log)}",
                code="server.failed",
                next_action=f"Its log is {log}",
            )
        time.sleep(_POLL_SECONDS)
    raise _said(log, began, owner.returncode)


def _said(log: Path, began: int, status: int) -> RemitError:
    with log.open("rb") as file:
        file.seek(began, os.SEEK_SET)
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    kind = _KINDS.get(status, RemitError)
    for index in range(len(lines) - 1, -1, -1):
        match = _ERROR.fullmatch(lines[index])
        if match:
            return kind(match["message"], code=match["code"], next_action=" ".join(lines[index + 1 :]))
    return kind(
        f"the stack ended while starting: {lines[-1] if lines else 'it said nothing'}",
        code="server.failed",
        next_action=f"Its log is {log}",
    )
