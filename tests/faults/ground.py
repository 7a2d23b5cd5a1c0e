"""Ground: servers and workers of their own that may be killed, and what the tests do on them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError

from remit import audit
from remit.assembly import temporal_client
from remit.client import Remit
from remit.embedded import Record, Stack
from remit.embedded.process import Command, Running, start
from remit.errors import Held
from remit.job import Job
from remit.local import polling
from remit.settings import Settings
from tests.faults.points import PAUSE, Points

REPOSITORY = Path(__file__).parents[2]
SERVERS = ("openbao", "postgres", "temporal")
_REVIVABLE = 3.5
"""Seconds a server has to have lived before the stack starts it again: what dies sooner is taken for broken."""

COUNT: dict[str, Any] = {"tool": "flights.count", "input": {"dataset": "flights"}}


def noting(note: str) -> dict[str, Any]:
    """Return a step that leaves a mark of this name, once."""
    return {"tool": "flights.note", "input": {"dataset": "flights", "note": note}}


class Ground:
    """One stack, and the workers on it.

    Args:
        stack: Running and provisioned.
        points: Where its workers stop.
    """

    def __init__(self, stack: Stack, points: Points) -> None:
        self.stack = stack
        self.points = points
        self.settings = Settings.load(home=stack.home)
        self.killed: set[int] = set()
        self.revoked: dict[str, float] = {}
        self._workers: list[Running] = []
        self._client: Client | None = None

    def start_worker(self, name: str = "worker", **environment: str) -> Running:
        """Start one more worker; the environment is added to what it needs."""
        needed = {
            "REMIT_HOME": str(self.stack.home),
            "FAULT_POINTS": str(self.points.folder),
            "REMIT_REAP_SECONDS": "5",
        }
        command = Command(
            name,
            "A worker",
            (sys.executable, "-m", "tests.faults.worker"),
            REPOSITORY,
            environment={**needed, **environment},
            grace=30.0,
        )
        worker = start(command, self.stack.state)
        self._workers.append(worker)
        return worker

    async def ready_worker(self, name: str = "worker", **environment: str) -> Running:
        """Start a worker and return once it asks for work."""
        began = time.time()
        worker = self.start_worker(name, **environment)
        while not await polling(self.settings, since=began + 1):
            assert worker.alive(), worker.log.read_text()[-2000:]
            assert time.time() < began + 60
            await asyncio.sleep(0.1)
        return worker

    async def stop_worker(self, worker: Running) -> None:
        """Ask a worker to end and return when it has."""
        await asyncio.to_thread(worker.stop)
        self._workers.remove(worker)

    def kill_worker(self, worker: Running) -> None:
        """Kill a worker; it cannot write down anything any more."""
        os.kill(worker.identity.pid, signal.SIGKILL)
        self.killed.add(worker.identity.pid)
        worker.stop()
        self._workers.remove(worker)

    def kill(self, server: str) -> None:
        """Kill a server and return when it is gone."""
        os.kill(self.stack.pid(server), signal.SIGKILL)
        while server not in self.stack.dead():
            time.sleep(PAUSE)

    async def revive(self) -> None:
        """Start killed servers again and return when they can be used."""
        recorded = Record.read(self.stack.state)
        for name in self.stack.dead():
            assert recorded is not None
            await asyncio.sleep(max(0.0, recorded.processes[name].started + _REVIVABLE - time.time()))
        await asyncio.to_thread(self.stack.revive)

    def close(self) -> None:
        """End the workers."""
        ending = [threading.Thread(target=worker.stop) for worker in self._workers]
        for thread in ending:
            thread.start()
        for thread in ending:
            thread.join()

    async def client(self) -> Client:
        """Return a client of Temporal."""
        if self._client is None:
            self._client = await temporal_client(self.settings)
        return self._client

    async def submit(self, steps: list[dict[str, Any]], **changes: Any) -> str:
        """Start a job of alice's and return its task.

        Args:
            changes: Other members of the job.
        """
        job = {
            "agent": "flight-analyst",
            "purpose": "delay-review",
            "delegation": {
                "actions": ["read", "report:publish"],
                "spaces": ["flights"],
                "budget": 200,
                "expires_in": "1h",
                "max_depth": 2,
            },
            "steps": steps,
            **changes,
        }
        async with Remit.open(self.settings, person="alice") as alice:
            return (await alice.submit(Job.parse(_yaml(job)))).task

    async def ended(self, task: str, *, seconds: float = 120) -> WorkflowExecutionStatus:
        """Return how a task ended, once it has."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                described = await (await self.client()).get_workflow_handle(task).describe()
            except RPCError:
                described = None  # Temporal is not back yet
            if described is not None and described.status is not WorkflowExecutionStatus.RUNNING:
                assert described.status is not None
                return described.status
            assert time.monotonic() < deadline, (described, list(self.records(task))[-3:])
            await asyncio.sleep(0.05)

    async def completed(self, task: str) -> dict[str, Any]:
        """Return a task's result, once it has completed."""
        status = await self.ended(task)
        shown = await self.show(task)
        assert status is WorkflowExecutionStatus.COMPLETED, shown
        return dict(shown["result"])

    async def show(self, task: str) -> dict[str, Any]:
        """Return a task as its owner sees it."""
        async with Remit.open(self.settings, person="alice") as alice:
            return await alice.show(task)

    async def until(self, task: str, *states: str, seconds: float = 60) -> dict[str, Any]:
        """Return a task once it is in one of these states."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                shown = await self.show(task)
            except Held:
                shown = {"state": None}
            if shown["state"] in states:
                return shown
            assert time.monotonic() < deadline, shown
            await asyncio.sleep(0.1)

    async def recorded(self, task: str, outcome: str, *, step: int, seconds: float = 60) -> dict[str, Any]:
        """Return the first record of a step with this outcome, once there is one."""
        deadline = time.monotonic() + seconds
        while True:
            records = self.records(task)
            for record in records:
                if (record["outcome"], record["step"]) == (outcome, step):
                    return record
            assert time.monotonic() < deadline, records[-3:]
            await asyncio.sleep(0.05)

    def records(self, task: str) -> list[dict[str, Any]]:
        """Return the audit records of a task's attempts."""
        found = audit.read(self.settings.audit_folder, task=task)
        return [one for one in found if one["event"] == "attempt"]

    def asked(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Ask PostgreSQL as its superuser."""
        with self.stack.postgres.connect(autocommit=True) as admin:
            return admin.execute(statement, parameters).fetchall()

    def minted(self, delegation: str = "%") -> list[str]:
        """Return the database users that exist for a delegation, or for any."""
        return [
            str(name)
            for (name,) in self.asked("SELECT rolname FROM pg_roles WHERE rolname LIKE %s", f"d-{delegation}%")
        ]


def _yaml(job: Mapping[str, Any]) -> str:
    """Return a job as YAML: JSON is YAML."""
    return json.dumps(job)


async def eventually(holds: Callable[[], bool], *, seconds: float = 60) -> None:
    """Return once this is true."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(PAUSE * 10)
