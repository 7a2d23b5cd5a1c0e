"""Vault: OpenBao or HashiCorp Vault, asked asynchronously.

- One session, logged in when first needed, again before it ends, and once more when OpenBao no longer knows it.
- Every path is checked before I/O (`paths`); what an answer means is settled in one place (`answers`).
- `read` gives None for what is not there; nothing here decides what that means.
"""

from __future__ import annotations

import asyncio
import copy
import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from remit.errors import Held, Refused, Usage
from remit.vault import answers, steps
from remit.vault.logins import Login, Session, Token
from remit.vault.paths import checked
from remit.vault.wire import Wire

if TYPE_CHECKING:
    import hvac

_TOKEN = re.compile(r"[\x21-\x7e]{1,4096}", re.ASCII)
_NAMESPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}(?:/[A-Za-z0-9][A-Za-z0-9_-]{0,62})*/?", re.ASCII)


class Vault:
    """A client with one identity.

    Args:
        address: ``https://host:port``.
        ca: TLS roots (PEM); None: the system's.
        login: How it gets its session.
        namespace: OpenBao namespace; None: the root one.
        profile: ``vault`` keeps to the API both products share.
        timeout: Seconds for one answer.

    Raises:
        Usage: ``vault.address``, ``vault.ca`` or ``vault.namespace``.
    """

    def __init__(
        self,
        address: str,
        ca: Path | None,
        login: Login,
        *,
        namespace: str | None = None,
        profile: steps.Profile = "openbao",
        timeout: float = 10.0,
    ) -> None:
        if namespace and not _NAMESPACE.fullmatch(namespace):
            raise Usage(f"not a namespace: {namespace[:80]!a}", code="vault.namespace")
        self.address = address
        self.ca = ca
        self.namespace = namespace
        self.profile = profile
        self._login = login
        self._wire = Wire(address, ca=ca, timeout=timeout)
        self._plain = {"X-Vault-Request": "true"}
        if namespace:
            self._plain["X-Vault-Namespace"] = namespace
        self._session: Session | None = None
        self._headers: Mapping[str, str] = self._plain
        self._logging_in: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None

    async def __aenter__(self) -> Vault:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connections; the session lives on until it expires or is revoked."""
        await self._wire.close()

    async def session(self) -> Session:
        """Return the session in use, logged in if need be.

        Raises:
            Refused: ``vault.login`` or what the login itself says. Held: OpenBao did not answer.
        """
        session = self._session
        if session is None or not session.fresh(time.time()):
            session = await self._renewed(session)
        return session

    async def entity_id(self) -> str:
        """Return the id of the identity the session belongs to: the name of its signing key.

        Raises:
            Refused: ``vault.entity``: it belongs to none.
        """
        session = await self.session()
        found = session.entity_id
        if not found:
            answer = await self.read("auth/token/lookup-self") or {}
            found = str(answer.get("data", {}).get("entity_id") or "")
        if not found:
            raise Refused(
                "this session belongs to no principal",
                code="vault.entity",
                next_action="Log in as a person or agent of the catalogue.",
            )
        return found

    async def read(self, path: str, /, **query: str) -> dict[str, Any] | None:
        """Return the whole JSON answer to a read; None when nothing is there.

        Raises:
            Refused: ``vault.name``, ``vault.forbidden``, ``vault.redirect``, ``vault.rejected``.
            Held: ``vault.unreachable``, ``vault.sealed``, ``vault.busy``, ``vault.standby``, ``vault.failed``.
        """
        status, body = await self.call("GET", path, query=query)
        return answers.read(status, body, asked=f"read {path}")

    async def make(self, path: str, /) -> dict[str, Any] | None:
        """Return the whole JSON answer to a read that makes something: one whose answer was lost is not repeated.

        Raises:
            Refused, Held: As `read`.
        """
        status, body = await self.call("GET", path, repeat=False)
        return answers.read(status, body, asked=f"read {path}")

    async def write(self, path: str, /, **data: Any) -> dict[str, Any] | None:
        """Write and return the JSON answer; None when it has none (204).

        Raises:
            Refused, Held: As `read`, and ``vault.absent`` when there is nothing to write to.
        """
        status, body = await self.call("POST", path, data)
        return _written(status, body, asked=f"write {path}")

    async def list(self, path: str, /) -> list[str]:
        """Return the names under a path, folders with a trailing slash; none when it is not there."""
        status, body = await self.call("LIST", path)
        answer = answers.read(status, body, asked=f"list {path}")
        return [] if answer is None else [str(name) for name in answer["data"]["keys"]]

    async def delete(self, path: str, /) -> None:
        """Delete what is at a path, if anything is."""
        status, body = await self.call("DELETE", path)
        answers.read(status, body, asked=f"delete {path}")

    async def step_login(self, jwt: str, *, role: str) -> steps.StepLogin:
        """Log one step in with a signed step token.

        Args:
            role: The credential role it names.

        Raises:
            Refused: ``vault.login``: OpenBao does not accept the token. Held: It did not answer.
        """
        path, body = steps.request(jwt, role=role, profile=self.profile)
        return steps.answered(await self._unauthenticated("POST", path, body))

    def as_token(self, token: str) -> Vault:
        """Return the same server seen with another token, over the same connections."""
        other = copy.copy(self)
        other._login = Token(token)
        other._session = None
        other._logging_in = None
        return other

    @property
    def hvac(self) -> hvac.Client:
        """Return an hvac client (blocking) with the same rules: no redirect, checked paths, the same errors.

        It takes the token of the present session; call `session` first.
        """
        from remit.vault.transport import hvac_client  # hvac takes 0.2 s to import and nothing here needs it

        token = self._session.token if self._session else ""
        return hvac_client(self.address, ca=self.ca, token=token, namespace=self.namespace)

    async def call(
        self,
        method: str,
        path: str,
        data: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, str] | None = None,
        repeat: bool = True,
    ) -> tuple[int, bytes]:
        """Send one request below ``/v1/`` with the session's token and return status and body.

        Args:
            repeat: Whether a read may be sent twice, when the server ended the connection instead of answering.

        Raises:
            Refused: ``vault.name``; nothing was sent. Held: ``vault.unreachable``.
        """
        target = "/v1/" + checked(path) + ("?" + urlencode(query) if query else "")
        body = None if data is None else json.dumps(data, separators=(",", ":")).encode()
        session = await self.session()
        status, answer = await self._wire.send(method, target, self._headers, body, repeat=repeat)
        if status == 403 and answers.is_stale_token(status, answer) and not isinstance(self._login, Token):
            await self._renewed(session)
            status, answer = await self._wire.send(method, target, self._headers, body, repeat=repeat)
        return status, answer

    async def _renewed(self, old: Session | None) -> Session:
        """Log in, once for all who need it at this moment."""
        loop = asyncio.get_running_loop()
        if self._logging_in is None or self._logging_in[0] is not loop:
            self._logging_in = (loop, asyncio.Lock())
        async with self._logging_in[1]:
            if self._session is None or self._session is old:
                session = await self._login.log_in(self._unauthenticated)
                if not _TOKEN.fullmatch(session.token):
                    raise Refused("the session's token is malformed", code="vault.login")
                self._headers = {**self._plain, "X-Vault-Token": session.token}
                self._session = session
            return self._session

    async def _unauthenticated(self, method: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Send one request without a token; a 4xx is a failed login."""
        target = "/v1/" + checked(path)
        payload: bytes | None = None
        if method == "GET":
            target += "?" + urlencode(body)
        else:
            payload = json.dumps(body, separators=(",", ":")).encode()
        status, answer = await self._wire.send(method, target, self._plain, payload)
        if status in (400, 401, 403, 404):
            raise Refused(
                f"OpenBao does not accept this login at {path}: {answers.said(answer) or status}",
                code="vault.login",
                next_action="Check name and password, or the workload's token and its clock.",
            )
        return _written(status, answer, asked=f"write {path}") or {}


def _written(status: int, body: bytes, *, asked: str) -> dict[str, Any] | None:
    if status == 404:
        # Some answers of this kind carry a body that is not an error; either way nothing was written.
        raise Refused(
            f"{asked}: there is nothing to write to", code="vault.absent", next_action="Run `remit bootstrap`."
        )
    return answers.read(status, body, asked=asked)


def required(answer: dict[str, Any] | None, *, what: str) -> dict[str, Any]:
    """Return an answer that must be there.

    Raises:
        Held: ``vault.incomplete``: OpenBao is not (or no longer) set up.
    """
    if answer is None:
        raise Held(f"OpenBao has no {what}", code="vault.incomplete", next_action="Run `remit bootstrap`.")
    return answer
