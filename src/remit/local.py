"""The service on the embedded stack: servers, bootstrap, worker.

- The worker is a process of its own, the very `worker.py` that production runs, with a log file of its own.
- The service is up when a worker asks Temporal for work, not before.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from remit.assembly import load_policy, temporal_client
from remit.embedded import Record, Stack, detach
from remit.embedded.ports import DEFAULT_BASE, choose
from remit.embedded.process import Command, Running
from remit.embedded.provision import provision
from remit.embedded.state import StateFolder
from remit.errors import RemitError, Usage
from remit.policy.source import CATALOGUE
from remit.settings import Settings

Progress = Callable[[str], None]
WORKER_SECONDS = 60.0
_PASSED_ON = ("OTEL_", "REMIT_DEBUG", "REMIT_ENCRYPT", "REMIT_PLANNERS")


@dataclass(frozen=True, slots=True)
class Application:
    """What runs on the stack.

    Args:
        policies: Folder of schema, policies and catalogue.
        worker: The worker's program, None: there is none here.
    """

    policies: Path
    worker: Path | None

    @classmethod
    def find(cls, policies: Path) -> Application:
        """Find policies and worker in the working folder, else where Remit's own source is.

        Raises:
            Usage: ``policy.folder`` when there are no policies.
        """
        source = Path(__file__).parents[2]
        folders = [policies, source / "policies"]
        found = next((folder.absolute() for folder in folders if (folder / CATALOGUE).is_file()), None)
        if found is None:
            raise Usage(
                f"there are no policies in {policies.absolute()}",
                code="policy.folder",
                next_action="Run in the folder that holds policies/, or set REMIT_POLICIES.",
            )
        workers = [Path("worker.py"), found.parent / "worker.py", source / "worker.py"]
        return cls(found, next((worker.absolute() for worker in workers if worker.is_file()), None))


class LocalService:
    """Servers and worker of one state folder.

    Args:
        home: The state folder.
        application: What runs on it.
        port_base: First of ten ports; 0: any free ones.
    """

    def __init__(self, home: Path, application: Application, *, port_base: int = DEFAULT_BASE) -> None:
        load_policy(Settings(policies=application.policies))  # what is wrong there is said before anything starts
        self.application = application
        self.stack = Stack(
            home,
            port_base=port_base,
            bootstrap=lambda stack: provision(stack, policies=application.policies),
        )
        self._worker: Running | None = None

    def start(self, progress: Progress = lambda line: None) -> None:
        """Start everything; return when a worker asks for work.

        Raises:
            RemitError: Nothing runs then.
        """
        self.stack.start(progress)
        try:
            if self.application.worker is None:
                progress("There is no worker.py here: start your own worker")
                return
            began = time.monotonic()
            self._start_worker()
            progress(f"Worker ready ({time.monotonic() - began:.1f} s)")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the worker, then the servers."""
        self.stack.stop()

    def tend(self, progress: Progress = lambda line: None) -> None:
        """Start again what ended by itself.

        Raises:
            RemitError: ``server.failed`` when it does not come back.
        """
        for name in self.stack.revive(progress):
            progress(f"{name} had ended by itself and runs again")
        if self._worker is not None and not self._worker.alive():
            self._worker.check_age()
            self._start_worker()
            progress("The worker had ended by itself and runs again")

    def _start_worker(self) -> None:
        worker = self.application.worker
        if worker is None:
            return
        passed = {name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)}
        command = Command(
            "worker",
            "The worker",
            (sys.executable, str(worker)),
            worker.parent,
            environment={**passed, "REMIT_HOME": str(self.stack.home)},
            grace=20.0,  # running attempts end and their credentials die
        )
        started = time.time()
        self._worker = self.stack.run(command)
        watch = _Pollers(Settings.load(home=self.stack.home))
        try:
            self._worker.wait_until(lambda: watch.seen(since=started), seconds=WORKER_SECONDS, abandoned=Event())
        finally:
            watch.close()


class _Pollers:
    """Looks whether a worker polls, at most every fifth of a second."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loop = asyncio.new_event_loop()
        self._next = 0.0

    def seen(self, *, since: float) -> bool:
        """Tell whether a worker has asked for work since then (Unix seconds)."""
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + 0.2
        return self._loop.run_until_complete(polling(self._settings, since=since))

    def close(self) -> None:
        """End it."""
        self._loop.close()


async def polling(settings: Settings, *, since: float) -> bool:
    """Tell whether a worker has asked for work since a moment (Unix seconds)."""
    from temporalio.service import RPCError

    from remit.client.pollers import polled

    try:
        return await polled(await temporal_client(settings), settings.task_queue, since=since)
    except (RPCError, RemitError):
        return False


def in_background(home: Path, port_base: int) -> None:
    """Start `remit dev` as a process of its own and return once it is up.

    Raises:
        RemitError: What it said, with its exit status.
    """
    application = Application.find(Settings.load(home=home).policies)
    if port_base and not home.exists():
        choose(port_base).check()  # before anything is made
    began = time.time()
    argv = [sys.executable, "-m", "remit.cli", "dev", "--home", str(home.absolute()), "--port-base", str(port_base)]
    detach(home, argv)
    if application.worker is None:
        return
    watch = _Pollers(Settings.load(home=home))
    try:
        while not watch.seen(since=began):
            if Record.read(StateFolder.open(home)) is None or time.time() > began + 3 * WORKER_SECONDS:
                raise RemitError(
                    "the servers started, the worker did not",
                    code="worker.failed",
                    next_action=f"See {home}/logs/dev.log and {home}/logs/worker.log",
                )
            time.sleep(0.05)
    finally:
        watch.close()
