"""Wire: requests to one server, over connections that are kept.

- One host, no redirect, no proxy, no cookie; TLS with the given roots or the system's. Plain HTTP: loopback only.
- Every request has a deadline; none is sent once it was closed, by whatever was still under way.
- Reads and deletions are repeated once, when a kept connection turns out to have been closed by the server; writes
  never are, nor is a read that makes something.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakSet

import aiohttp

from remit.errors import Held, Usage

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_IDLE_MOST = 60.0
"""Seconds a connection is kept unused: well below the five minutes after which OpenBao closes it."""
_LOOKS = 1000
"""How often closing looks whether connections have ended, a millisecond apart."""
_REPEATABLE = ("GET", "LIST", "DELETE")


class Wire:
    """Connections to one server.

    Args:
        address: ``https://host:port`` (``http`` on loopback only).
        ca: TLS roots (PEM); None: the system's.
        connect_timeout: Seconds for one connection, TLS included.
        timeout: Seconds for one answer.
        most: Connections at once; many, so that requests to a frozen database do not keep status reads waiting.

    Raises:
        Usage: ``vault.address`` or ``vault.ca``.
    """

    def __init__(
        self,
        address: str,
        *,
        ca: Path | None = None,
        connect_timeout: float = 2.0,
        timeout: float = 10.0,
        most: int = 256,
    ) -> None:
        self.address = address.rstrip("/")
        secure = _secure(self.address)
        self._tls: ssl.SSLContext | bool = _tls(ca) if secure else False
        self._timeout = aiohttp.ClientTimeout(total=timeout, connect=connect_timeout)
        self._most = most
        self._sessions: dict[asyncio.AbstractEventLoop, aiohttp.ClientSession | None] = {}
        self._sockets: dict[asyncio.AbstractEventLoop, WeakSet[socket.socket]] = {}

    async def send(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | None = None, *, repeat: bool = True
    ) -> tuple[int, bytes]:
        """Send one request and return status and body of its answer.

        Args:
            target: Path as it goes on the wire, checked by the caller.
            repeat: Whether a read or deletion may be sent twice.

        Raises:
            Held: ``vault.unreachable``: no connection, no answer in time, or not HTTP. ``vault.closed``.
        """
        for last in (not repeat or method not in _REPEATABLE, True):
            try:
                async with self._session().request(
                    method, target, headers=headers, data=body, allow_redirects=False
                ) as answer:
                    return answer.status, await answer.read()
            except aiohttp.ClientConnectorCertificateError:
                raise self._held(method, target, "its certificate is not trusted") from None
            except aiohttp.ClientConnectorError as error:
                raise self._held(method, target, error.strerror or type(error.os_error).__name__) from None
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                if last:
                    raise self._held(method, target, "connection closed") from None
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise self._held(method, target, type(error).__name__) from None
        raise AssertionError("the last try returns or raises")

    async def close(self) -> None:
        """End every kept connection of this event loop, and make no more in it."""
        loop = asyncio.get_running_loop()
        session, self._sessions[loop] = self._sessions.get(loop), None
        if session is not None:
            await session.close()
            await self._ended(self._sockets.pop(loop))

    @staticmethod
    async def _ended(sockets: WeakSet[socket.socket]) -> None:
        """Return when no connection is left, also none whose request was cancelled: those say goodbye by themselves.

        A session that closes does not know them any more, and what outlives the event loop is never closed.
        """
        for one in list(sockets):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for _ in range(_LOOKS):
            if all(one.fileno() < 0 for one in list(sockets)):
                return
            await asyncio.sleep(0.001)

    def _socket(self, address: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, *_ = address
        made = socket.socket(family, kind, protocol)
        self._sockets[asyncio.get_running_loop()].add(made)
        return made

    def _session(self) -> aiohttp.ClientSession:
        """Return this loop's session: sockets belong to a loop, and a process may run several after one another."""
        loop = asyncio.get_running_loop()
        if loop not in self._sessions:
            self._sockets[loop] = WeakSet()
            self._sessions[loop] = session = aiohttp.ClientSession(
                self.address,
                connector=aiohttp.TCPConnector(
                    ssl=self._tls,
                    limit=self._most,
                    keepalive_timeout=_IDLE_MOST,
                    use_dns_cache=False,
                    socket_factory=self._socket,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=self._timeout,
                trust_env=False,
                auto_decompress=False,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
                max_line_size=64 * 1024,
            )
            session._retry_connection = False  # it would repeat by itself, whatever `repeat` says
        if (found := self._sessions[loop]) is None:
            raise Held("this session with OpenBao was closed", code="vault.closed", next_action="Open another one.")
        return found

    def _held(self, method: str, target: str, why: str) -> Held:
        return Held(
            f"{method} {target}: OpenBao at {self.address} does not answer: {why}",
            code="vault.unreachable",
            next_action="Check that it runs and that address and TLS roots are right.",
        )


def _secure(address: str) -> bool:
    host, secure, allowed = "", False, False
    try:
        parts = urlsplit(address)
        host, secure = parts.hostname or "", parts.scheme == "https"
        _ = parts.port  # refuses a malformed one
        bare = not (parts.username or parts.password or parts.query or parts.fragment or parts.path)
        allowed = bool(host) and bare and (secure or (parts.scheme == "http" and host in _LOOPBACK))
    except ValueError:
        pass
    if not allowed:
        raise Usage(
            f"not an address of OpenBao: {address[:120]!a}",
            code="vault.address",
            next_action="Write https://host:port; http is for loopback only.",
        )
    return secure


def _tls(ca: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(ca) if ca else None)
    except (OSError, ssl.SSLError) as error:
        raise Usage(
            f"cannot read TLS roots from {ca}: {error.strerror or type(error).__name__}",
            code="vault.ca",
            next_action="Set REMIT_OPENBAO_CA to a PEM file.",
        ) from None
    context.set_alpn_protocols(["http/1.1"])
    return context
