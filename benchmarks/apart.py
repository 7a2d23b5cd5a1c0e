"""What runs apart from the worker it is measured with, in processes of their own, as in life.

- The person who stops work is another process than the worker: neither takes the other's time.
- The witness watches database sessions as PostgreSQL's superuser; a session counts as dead when a look that began after
  its end has come back, so a death is never shown too early, and late by at most a look.
- All times are `time.monotonic`, which is one clock for all processes of a machine.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

import psycopg

from remit.client.connection import Connection
from remit.client.stopping import state
from remit.settings import Settings
from remit.statements import Event

LOOK = 0.001
END = None


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a person: when it was given, when it came back, and what it said."""

    began: float
    returned: float
    document: dict[str, Any]


class Apart:
    """A process of its own that answers messages.

    Args:
        pipe: To it.
    """

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe

    async def ask(self, message: object) -> Any:
        """Send a message and return the answer, or raise what the other process did."""
        answer = await asyncio.get_running_loop().run_in_executor(None, self._asked, message)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _asked(self, message: object) -> Any:
        self._pipe.send(message)
        return self._pipe.recv()


@asynccontextmanager
async def apart(serve: Callable[..., None], *arguments: Any) -> AsyncIterator[Apart]:
    """Run a function that serves a pipe in a process of its own."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, *arguments), daemon=True)
    process.start()
    theirs.close()
    try:
        yield Apart(ours)
    finally:
        ours.send(END)
        await asyncio.get_running_loop().run_in_executor(None, process.join, 10)
        ours.close()


def person(pipe: Pipe, home: Path, name: str) -> None:
    """Serve ``(target, event)``: state it as `remit revoke` does; answer with a `Command`."""
    asyncio.run(_person(pipe, home, name))


async def _person(pipe: Pipe, home: Path, name: str) -> None:
    connection, loop = Connection(Settings.load(home=home), name), asyncio.get_running_loop()
    try:
        while (message := await loop.run_in_executor(None, pipe.recv)) is not END:
            target, event = message
            began = time.monotonic()
            try:
                done = await state(connection, target, Event(event), "benchmark")
            except Exception as error:
                pipe.send(RuntimeError(f"{type(error).__name__}: {error}"))
            else:
                pipe.send(Command(began, time.monotonic(), done.document()))
    finally:
        await connection.close()


def witness(pipe: Pipe, conninfo: str) -> None:
    """Serve a delegation's id: watch its users from now on; True: answer with those alive, and when others died."""
    query = "SELECT DISTINCT usename::text FROM pg_stat_activity WHERE usename LIKE %s"
    pattern, alive, died = "", set[str](), dict[str, float]()
    with psycopg.connect(conninfo, autocommit=True) as admin:
        while True:
            if pipe.poll(LOOK):
                message = pipe.recv()
                if message is END:
                    return
                if isinstance(message, str):
                    pattern, alive, died = f"d-{message}-%", set(), {}
                pipe.send((alive, died))
            if pattern:
                now_alive = {row[0] for row in admin.execute(query, (pattern,))}
                now = time.monotonic()
                died |= dict.fromkeys(alive - now_alive, now)
                alive = now_alive
