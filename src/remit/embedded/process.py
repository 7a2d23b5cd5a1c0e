"""Server processes: started, watched, stopped.

- A process is known by its id **and** its start time; nothing else is ever signalled.
- Each carries the state folder's id in its environment (``REMIT_STACK``), so that one whose record was
  lost with a killed owner is found all the same. The rest of the environment is small and fixed: the
  caller's own secrets do not reach the servers.
- Each has a session of its own: Ctrl-C goes to the owner, which stops them in order.
- Output goes to ``logs/<name>.log``, mode 0600, moved to ``.1`` when it has grown over 16 MiB.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import psutil

from remit.embedded.state import StateFolder
from remit.errors import RemitError

MARK = "REMIT_STACK"
_LOG_LIMIT = 16 * 2**20
_POLL_SECONDS = 0.02
_AGE_SECONDS = 3.0
# Start times are kept as wall-clock seconds, which a clock adjustment may shift a little.
_START_TOLERANCE = 2.0


@dataclass(frozen=True, slots=True)
class Identity:
    """One process for all time: its id and when it started (Unix seconds)."""

    pid: int
    started: float

    @classmethod
    def of(cls, pid: int) -> Identity:
        """Identify a process that runs now.

        Raises:
            psutil.NoSuchProcess: When it does not.
        """
        return cls(pid, psutil.Process(pid).create_time())

    @classmethod
    def parse(cls, document: object) -> Identity | None:
        """Read ``{"pid": …, "started": …}``; None for anything else."""
        match document:
            case {"pid": int(pid), "started": float(started)} if pid > 0:
                return cls(pid, started)
        return None

    def document(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"pid": self.pid, "started": self.started}

    def process(self) -> psutil.Process | None:
        """Return the process while it runs; None once it ended or its id is another's."""
        try:
            process = psutil.Process(self.pid)
            if abs(process.create_time() - self.started) > _START_TOLERANCE:
                return None
            return None if process.status() == psutil.STATUS_ZOMBIE else process
        except psutil.NoSuchProcess:
            return None


@dataclass(frozen=True, slots=True)
class Account:
    """Another system user to run as, by ids, and the group it then has."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Command:
    """What to run.

    Args:
        name: Short name: of the record, the folder and the log file.
        title: What people call it.
        argv: Program and arguments.
        folder: Working directory.
        account: Another user to run as (needs root).
        environment: Added to the small fixed one.
        stop_signal: Asks it to end.
        grace: Seconds it may take to end before it is killed.
    """

    name: str
    title: str
    argv: tuple[str, ...]
    folder: Path
    account: Account | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_signal: signal.Signals = signal.SIGTERM
    grace: float = 10.0


class Running:
    """A process this one started."""

    def __init__(self, command: Command, popen: subprocess.Popen[bytes], log: Path) -> None:
        self.command = command
        self.log = log
        self.identity = Identity.of(popen.pid)
        self._popen = popen

    def alive(self) -> bool:
        """Tell whether it still runs."""
        return self._popen.poll() is None

    def wait_until(self, ready: Callable[[], bool], *, seconds: float, abandoned: Event) -> None:
        """Wait until ``ready`` says so.

        Args:
            ready: Asked every 20 ms; must not raise and not block for long.
            seconds: Bound of the wait.
            abandoned: Set by others when the wait has become pointless.

        Raises:
            RemitError: ``server.failed`` when the process ends, is too slow, or the wait is abandoned.
        """
        deadline = time.monotonic() + seconds
        while not ready():
            if not self.alive():
                raise self._failed(f"ended with status {self._popen.returncode} while starting")
            if time.monotonic() > deadline:
                raise self._failed(f"was not ready within {seconds:.0f} s")
            if abandoned.wait(_POLL_SECONDS):
                raise self._failed("was given up because another server failed")

    def check_age(self) -> None:
        """See that it did not end as soon as it was started: starting it again would not help.

        Raises:
            RemitError: ``server.failed`` when it ended within 3 s.
        """
        if time.time() - self.identity.started < _AGE_SECONDS:
            raise self._failed(f"ended with status {self._popen.returncode} soon after its start")

    def stop(self) -> None:
        """Ask it to end, kill it when it does not within its grace; return when it has ended."""
        if self.alive():
            self._popen.send_signal(self.command.stop_signal)
            try:
                self._popen.wait(self.command.grace)
            except subprocess.TimeoutExpired:
                self._popen.kill()
        self._popen.wait()

    def _failed(self, what: str) -> RemitError:
        last = last_line(self.log)
        return RemitError(
            f"{self.command.title} {what}" + (f": {last}" if last else ""),
            code="server.failed",
            next_action=f"Its log is {self.log}",
        )


def start(command: Command, state: StateFolder) -> Running:
    """Start a server in the background.

    Raises:
        RemitError: ``server.failed`` when it cannot be run at all.
    """
    log = open_log(state, command.name)
    account: dict[str, Any] = {}
    if command.account:
        account = {"user": command.account.uid, "group": command.account.gid, "extra_groups": []}
    try:
        with log.open("ab") as out:
            popen = subprocess.Popen(
                command.argv,
                cwd=command.folder,
                env=environment(state) | dict(command.environment),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                umask=0o077,
                **account,
            )
    except OSError as error:
        raise RemitError(
            f"{command.title} cannot be run: {error.strerror}: {command.argv[0]}", code="server.failed"
        ) from error
    return Running(command, popen, log)


def environment(state: StateFolder) -> dict[str, str]:
    """Return the environment of every server: nothing of the caller's, everything inside the folder."""
    scratch = str(state.folder("tmp"))
    return {
        "PATH": os.defpath,
        "HOME": scratch,
        "TMPDIR": scratch,
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        MARK: state.id,
    }


def open_log(state: StateFolder, name: str) -> Path:
    """Return ``logs/<name>.log``, there and mode 0600, moved aside first when it is long."""
    log = state.folder("logs") / f"{name}.log"
    if log.exists() and log.stat().st_size > _LOG_LIMIT:
        log.replace(log.with_suffix(".log.1"))
    os.close(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600))
    log.chmod(0o600)
    return log


def last_line(log: Path) -> str:
    """Return the last line of a log that is not empty, at most 200 printable characters."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 8192))
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
    except OSError:
        return ""
    last = next((line for line in reversed(lines) if line), "")
    return "".join(c if c.isprintable() else " " for c in last)[:200]


def marked(state: StateFolder) -> list[psutil.Process]:
    """Return the running processes that carry the folder's id, this one excepted."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARK) == state.id:
                found.append(process)
        except (psutil.Error, OSError):
            continue  # another user's, or gone: not ours
    return found


def end(processes: Iterable[psutil.Process], *, grace: float) -> None:
    """End processes: ask, wait ``grace`` seconds, kill. All at once; returns when all have ended."""
    remaining = list(processes)
    for process in remaining:
        _signal(process, _gentle(process))
    _, remaining = psutil.wait_procs(remaining, timeout=grace)
    for process in remaining:
        _signal(process, signal.SIGKILL)
    psutil.wait_procs(remaining, timeout=10)


def _gentle(process: psutil.Process) -> signal.Signals:
    # SIGTERM lets PostgreSQL wait for its clients to leave, SIGINT does not.
    with suppress(psutil.Error):
        if process.name() == "postgres":
            return signal.SIGINT
    return signal.SIGTERM


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(number)  # psutil compares the start time again before it signals
