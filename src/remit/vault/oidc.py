"""OIDC login: a person logs in with the browser.

- OpenBao makes the address to open; the provider sends the browser back to a listener on loopback, open for this one
  login only.
- Only a call with this login's ``state`` counts; anything else that reaches the listener is told no and ignored.
- The code is worth nothing without the nonce only this process knows.
"""

from __future__ import annotations

import asyncio
import secrets
import time
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from remit.errors import Refused, Usage
from remit.vault.logins import Call, Session
from remit.vault.paths import join

_PATH = "/oidc/callback"
_DONE = "You are logged in. You can close this page."
_NOT_THIS = "This is not the login that is waited for."


def open_browser(address: str) -> None:
    """Open the person's browser."""
    webbrowser.open(address)


@dataclass(frozen=True, slots=True)
class OidcLogin:
    """A person's login with an OpenID provider.

    Args:
        role: Role on the mount.
        mount: The ``oidc`` auth mount.
        port: Port of the listener; the role must allow ``http://localhost:<port>/oidc/callback``.
        show: Shows the person the address to open.
        timeout: Seconds the person has.
    """

    role: str = "person"
    mount: str = "oidc"
    port: int = 8250
    show: Callable[[str], None] = open_browser
    timeout: float = 300.0

    async def log_in(self, call: Call) -> Session:
        """Log in.

        Raises:
            Refused: ``vault.login``: refused, or not done in time. Usage: ``vault.oidc-port``: the port is in use.
        """
        nonce = secrets.token_urlsafe(24)
        asked = {
            "role": self.role,
            "redirect_uri": f"http://localhost:{self.port}{_PATH}",
            "client_nonce": nonce,
        }
        answer = await call("POST", join("auth", self.mount) + "/oidc/auth_url", asked)
        address = str((answer.get("data") or {}).get("auth_url") or "")
        state = parse_qs(urlsplit(address).query).get("state", [""])[0]
        if not state:
            raise self._refused("OpenBao has no such role, or it does not allow this address")
        code = await self._code(address, state)
        now = time.time()
        wanted = {"state": state, "code": code, "client_nonce": nonce}
        return Session.from_answer(await call("GET", join("auth", self.mount) + "/oidc/callback", wanted), now=now)

    async def _code(self, address: str, state: str) -> str:
        """Listen until the browser comes back with a code."""
        came: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                async with asyncio.timeout(10):
                    head = await reader.readuntil(b"\r\n\r\n")
                    code, error = _came_back(head, state)
                    found = code is not None or error is not None
                    text = (error or _DONE) if found else _NOT_THIS
                    writer.write(_page(200 if code is not None else 400, text))
                    await writer.drain()
                if found and not came.done():
                    if error is not None:
                        came.set_exception(self._refused(error))
                    elif code is not None:
                        came.set_result(code)
            except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                pass  # a browser that went away, or something that is none
            finally:
                writer.close()

        try:
            server = await asyncio.start_server(serve, "127.0.0.1", self.port, limit=16 * 1024)
        except OSError:
            raise Usage(
                f"port {self.port} is in use; the login needs it",
                code="vault.oidc-port",
                next_action="End the other login, or wait for it.",
            ) from None
        try:
            self.show(address)
            async with asyncio.timeout(self.timeout):
                return await came
        except TimeoutError:
            raise self._refused("the browser did not come back in time") from None
        finally:
            server.close()

    def _refused(self, why: str) -> Refused:
        return Refused(f"the login did not happen: {why}", code="vault.login", next_action="Run `remit login` again.")


def _came_back(head: bytes, state: str) -> tuple[str | None, str | None]:
    """Return the code, or what the provider says went wrong; neither when it is not this login's."""
    try:
        method, target, _ = head.split(b"\r\n", 1)[0].decode("ascii").split(" ")
    except (UnicodeDecodeError, ValueError):
        return None, None
    parts = urlsplit(target)
    query = parse_qs(parts.query)
    if method != "GET" or parts.path != _PATH or query.get("state") != [state]:
        return None, None
    if len(codes := query.get("code", [])) == 1:
        return codes[0], None
    said = "".join(char for char in query.get("error", ["refused"])[0] if char.isalnum() or char in "_- ")
    return None, f"the provider says {said[:80]!r}"


def _page(status: int, text: str) -> bytes:
    body = f"<!doctype html><title>Remit</title><p>{text}</p>".encode()
    reason = "OK" if status == 200 else "Bad Request"
    head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + body
