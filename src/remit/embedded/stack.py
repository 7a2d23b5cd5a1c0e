"""The embedded stack: OpenBao, PostgreSQL and Temporal of one state folder, started and stopped together.

- The three start at the same time; then ``bootstrap`` is called, which must bear being called again.
- Whatever goes wrong on the way stops all that was started; what a first start made is kept only when it
  was finished.
- ``stack.json`` names addresses and processes while the stack runs. A killed owner's servers are found by
  it, and by the mark they carry, and stopped by the next start.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from pathlib import Path
from threading import Event, Lock
from typing import Protocol

from remit.embedded import ports as port_blocks
from remit.embedded import process
from remit.embedded.openbao import OpenBao
from remit.embedded.postgres import Postgres
from remit.embedded.process import Command, Running
from remit.embedded.record import Record
from remit.embedded.state import StateFolder
from remit.embedded.temporal import Temporal
from remit.errors import RemitError

Progress = Callable[[str], None]
START_SECONDS = 60.0
STOP_SECONDS = 15.0


class Server(Protocol):
    """What the stack needs to know of a server."""

    @property
    def name(self) -> str:
        """Name of record, folder and log."""

    def prepare(self) -> Command:
        """Make ready what it needs on disk; return what to run."""

    def ready(self) -> bool:
        """Tell whether it can be used."""

    def finish(self) -> None:
        """Do what is left once it is ready; harmless when done already."""


class Stack:
    """The stack of one state folder, owned by this process from ``start`` to ``stop``.

    Args:
        home: The state folder; made when missing.
        port_base: First of ten ports, 0 for any free ones.
        bootstrap: Called with the stack each time the servers are ready and before it says it is.

    Raises:
        RemitError: ``state.…`` when the folder cannot be used, ``port.in-use``.
        Usage: ``port.base``.
    """

    def __init__(
        self,
        home: Path,
        *,
        port_base: int = port_blocks.DEFAULT_BASE,
        bootstrap: Callable[[Stack], object] | None = None,
    ) -> None:
        self.ports = port_blocks.choose(port_base)
        home = home.expanduser()
        if not home.exists():
            self.ports.check()  # before anything is made; an existing folder's own leftovers end first
        self.state = StateFolder.open(home)
        self.openbao = OpenBao(self.state, self.ports)
        self.postgres = Postgres(self.state, self.ports)
        self.temporal = Temporal(self.state, self.ports)
        self._bootstrap = bootstrap
        self._servers: tuple[Server, ...] = (self.openbao, self.postgres, self.temporal)
        self._running: dict[str, Running] = {}
        self._owned = ExitStack()
        self._ready = False
        self._recording = Lock()

    @property
    def home(self) -> Path:
        """Return the state folder's absolute path."""
        return self.state.path

    def addresses(self) -> dict[str, str]:
        """Return where everything is, as ``remit status`` shows it."""
        return {
            "home": str(self.home),
            "temporal": self.temporal.address,
            "temporal_ui": self.temporal.ui,
            "openbao": self.openbao.address,
            "openbao_ca": str(self.openbao.ca),
            "postgres": self.postgres.dsn,
        }

    def start(self, progress: Progress = lambda line: None) -> None:
        """Start all servers and the bootstrap; return when the stack can be used.

        Args:
            progress: Told one line for each thing that is done; may be called from other threads.

        Raises:
            RemitError: ``state.busy``, ``port.in-use``, ``embedded.missing``, ``server.failed``,
                ``postgres.root``, or what the bootstrap raises. Nothing runs then.
        """
        self._owned.enter_context(self.state.lock())
        try:
            if end_leftovers(self.state):
                progress("Stopped what an earlier run had left")
            self.ports.check()
            self._start_servers(progress)
            if self._bootstrap:
                began = time.monotonic()
                self._bootstrap(self)
                progress(f"Bootstrap done ({time.monotonic() - began:.1f} s)")
            self._ready = True
            self._record()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop everything, later additions first; harmless when nothing runs."""
        servers = {server.name for server in self._servers}
        for name in [name for name in self._running if name not in servers]:
            self._running.pop(name).stop()
        with ThreadPoolExecutor() as threads:
            list(threads.map(Running.stop, self._running.values()))
        self._running.clear()
        self._ready = False
        Record.remove(self.state)
        self._owned.close()

    def run(self, command: Command) -> Running:
        """Run one more process with the stack, e.g. a worker: stopped first, revived like the servers."""
        running = self._running[command.name] = process.start(command, self.state)
        self._record()
        return running

    def pid(self, name: str) -> int:
        """Return the process id of ``openbao``, ``postgres``, ``temporal`` or an added process."""
        return self._running[name].identity.pid

    def dead(self) -> list[str]:
        """Return the names of processes that ended by themselves."""
        return [name for name, running in self._running.items() if not running.alive()]

    def revive(self, progress: Progress = lambda line: None) -> list[str]:
        """Start again what ended by itself; return the names.

        Raises:
            RemitError: ``server.failed`` when one does not come back, or ended as soon as it was started.
        """
        dead = self.dead()
        servers = {server.name: server for server in self._servers}
        for name in dead:
            self._running[name].check_age()
            if name in servers:
                self._start(servers[name], progress, Event())
            else:
                self.run(self._running[name].command)
        return dead

    def _start_servers(self, progress: Progress) -> None:
        abandoned = Event()
        with ThreadPoolExecutor(len(self._servers)) as threads:
            starts = [threads.submit(self._start, server, progress, abandoned) for server in self._servers]
            try:
                for done in as_completed(starts):
                    done.result()
            finally:
                # on failure, and on Ctrl-C, the others need not get ready any more
                abandoned.set()

    def _start(self, server: Server, progress: Progress, abandoned: Event) -> None:
        began = time.monotonic()
        command = server.prepare()
        running = self._running[server.name] = process.start(command, self.state)
        self._record()
        running.wait_until(server.ready, seconds=START_SECONDS, abandoned=abandoned)
        server.finish()
        progress(f"{command.title} ready ({time.monotonic() - began:.1f} s)")

    def _record(self) -> None:
        with self._recording:  # the servers' threads come here at the same time
            identities = {name: running.identity for name, running in list(self._running.items())}
            Record(
                ready=self._ready,
                port_base=self.ports.base,
                owner=process.Identity.of(os.getpid()),
                processes=identities,
                addresses=self.addresses(),
            ).write(self.state)


def end_leftovers(state: StateFolder) -> bool:
    """End the servers of a killed owner; to be called by the folder's new owner only.

    Returns:
        True when there were any.
    """
    record = Record.read(state)
    recorded: Mapping[str, process.Identity] = record.processes if record else {}
    found = {item.pid: item for item in process.marked(state)}
    for identity in recorded.values():
        item = identity.process()
        if item:
            found[item.pid] = item
    process.end(found.values(), grace=STOP_SECONDS)
    Record.remove(state)
    return bool(found)


def stop(home: Path) -> bool:
    """Stop the stack another process owns: its owner is asked, and its servers ended if it does not.

    Returns:
        False when nothing was running.

    Raises:
        RemitError: ``state.…`` when the folder cannot be used.
    """
    state = StateFolder.open(home)
    record = Record.read(state)
    owner = record.owner.process() if record else None
    if owner and owner.pid != os.getpid():
        process.end([owner], grace=2 * STOP_SECONDS)
    return _stop_rest(state) or owner is not None


def _stop_rest(state: StateFolder) -> bool:
    try:
        with state.lock():
            return end_leftovers(state)
    except RemitError as busy:
        if busy.code != "state.busy":
            raise
        return True  # somebody has started it anew already
