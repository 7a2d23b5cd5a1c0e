"""The meddler: a TLS proxy before the real OpenBao, with a certificate of its own authority, that makes trouble.

- Without trouble it passes everything on as it came.
- Whatever it answers by itself never reached OpenBao; what it loses, OpenBao did.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path

from remit.embedded import tls
from remit.embedded.openbao import OpenBao
from remit.embedded.state import StateFolder
from remit.errors import Held
from remit.vault.wire import Wire


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody asked."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What they are told."""

    status: int
    body: bytes = b'{"errors":[]}'
    location: str | None = None


Trouble = Callable[[Request], Awaitable[Answer | None]]
"""What to answer instead of OpenBao; None ends the connection without an answer."""
FORBIDDEN = b'{"errors":["1 error occurred:\\n\\t* permission denied\\n\\n"]}'


class Meddler:
    """One proxy.

    Args:
        openbao: The real server.
        folder: For its certificates.
    """

    def __init__(self, openbao: OpenBao, folder: Path) -> None:
        self.trouble: Trouble | None = None
        self.lost: list[str] = []
        self.address = ""
        self._state = StateFolder.open(folder)
        self._losing = ""
        self._wire = Wire(openbao.address, ca=openbao.ca, timeout=60)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def ca(self) -> Path:
        """Return the roots whoever asks it must trust."""
        return self._state.path / tls.CA

    async def start(self) -> None:
        """Listen."""
        tls.ensure(self._state, now=datetime.now(UTC))
        serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        serving.load_cert_chain(self._state.path / tls.CERTIFICATE, self._state.path / tls.KEY)
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=serving)
        self.address = f"https://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._wire.close()

    def lose(self, path: str) -> None:
        """Lose the answer to the next request for a path, after OpenBao has given it."""
        self._losing = path

    async def passed(self, request: Request) -> Answer | None:
        """Return what OpenBao answers; none when it does not."""
        try:
            return Answer(*await self._wire.send(request.method, request.target, request.headers, request.body))
        except Held:
            return None

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        try:
            with contextlib.suppress(
                ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, asyncio.CancelledError
            ):
                while (answer := await self._answered(await _read(reader))) is not None:
                    writer.write(_written(answer))
                    await writer.drain()
        finally:
            writer.transport.abort()

    async def _answered(self, request: Request) -> Answer | None:
        if self.trouble is not None:
            return await self.trouble(request)
        answer = await self.passed(request)
        if request.target == self._losing:
            self._losing = ""
            self.lost.append(request.target)
            return None
        return answer


async def _read(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ")
    named = dict(line.split(": ", 1) for line in head[1:] if line)
    body = await reader.readexactly(int(named.get("Content-Length", "0")))
    return Request(method, target, {name: value for name, value in named.items() if name.startswith("X-Vault-")}, body)


def _written(answer: Answer) -> bytes:
    lines = [
        f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}",
        "Content-Type: application/json",
        *([f"Location: {answer.location}"] if answer.location else []),
    ]
    if answer.status != HTTPStatus.NO_CONTENT:
        lines.append(f"Content-Length: {len(answer.body)}")
    return "\r\n".join([*lines, "", ""]).encode() + (b"" if answer.status == HTTPStatus.NO_CONTENT else answer.body)


def answering(status: int, body: bytes = b'{"errors":[]}', *, location: str | None = None) -> Trouble:
    """Answer everything like this."""

    async def answer(_: Request) -> Answer:
        return Answer(status, body, location)

    return answer


async def reset(_: Request) -> None:
    """End the connection as soon as it is used."""


async def silent(_: Request) -> None:
    """Take a request and never answer it: the network is cut, and nobody says so."""
    await asyncio.sleep(3600)


def slow(meddler: Meddler, *, seconds: float) -> Trouble:
    """Answer, but so late that nobody waits for it."""

    async def answer(request: Request) -> Answer | None:
        await asyncio.sleep(seconds)
        return await meddler.passed(request)

    return answer


class Listener:
    """Counts who connects: where a redirect would lead."""

    def __init__(self) -> None:
        self.connections = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        """Listen; return the address."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return f"https://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.close()
