"""Logins: how a process gets a session with OpenBao.

- A login is tried again by itself before its session ends, and once when OpenBao no longer knows the session.
- Whatever it presents (a workload's token, a password) is asked for at that moment and not kept.
- Tokens are in no ``repr`` and in no message.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from remit import private
from remit.confined import Confined
from remit.errors import Refused
from remit.vault.paths import join

Call = Callable[[str, str, Mapping[str, Any]], Awaitable[dict[str, Any]]]
"""``await call(method, path, body)``: one request without a token; with GET the body is the query."""


@dataclass(frozen=True, slots=True)
class Session(Confined):
    """A token of OpenBao.

    Args:
        token: Secret.
        accessor: Names the token without being it; enough to revoke it.
        entity_id: The identity it belongs to, and the name of its signing key; empty for none.
        expires_at: Unix seconds; None: not known, or never.
        ttl: Seconds it had when it was issued; 0: not known, or for ever.
    """

    token: str = field(repr=False)
    accessor: str = field(default="", repr=False)
    entity_id: str = ""
    expires_at: float | None = None
    ttl: int = 0

    @classmethod
    def from_answer(cls, answer: Mapping[str, Any], *, now: float) -> Session:
        """Read the answer of a login.

        Raises:
            Refused: ``vault.login``: it holds no token.
        """
        auth = answer.get("auth")
        if not isinstance(auth, Mapping) or not auth.get("client_token"):
            raise Refused("the login gave no token", code="vault.login", next_action="Check the auth mount.")
        ttl = int(auth.get("lease_duration") or 0)
        return cls(
            token=str(auth["client_token"]),
            accessor=str(auth.get("accessor") or ""),
            entity_id=str(auth.get("entity_id") or ""),
            expires_at=now + ttl if ttl else None,
            ttl=ttl,
        )

    def fresh(self, now: float) -> bool:
        """Tell whether there is enough left of it: a fifth of its life, at most a minute."""
        return self.expires_at is None or self.expires_at - now > min(60.0, self.ttl / 5)


class Login(Protocol):
    """A way to get a session."""

    async def log_in(self, call: Call) -> Session:
        """Return a new session.

        Raises:
            Refused: ``vault.login``. Held: OpenBao did not answer.
        """


@dataclass(frozen=True, slots=True)
class Token(Confined):
    """A token that somebody else got, e.g. the operator's."""

    token: str = field(repr=False)

    async def log_in(self, call: Call) -> Session:
        """Return it as it is."""
        return Session(self.token)


@dataclass(frozen=True, slots=True)
class TokenFile:
    """A session kept in a file of mode 0600: a JSON object with the members of `Session`."""

    path: Path

    async def log_in(self, call: Call) -> Session:
        """Read the file, anew each time: another process may have logged in since.

        Raises:
            Refused: ``vault.session``: there is none, it has ended, or others can read it.
        """
        try:
            if self.path.stat().st_mode & 0o077:
                raise self._refused("others may read it; remove it")
            held = json.loads(self.path.read_text())
            session = Session(
                token=str(held["token"]),
                accessor=str(held.get("accessor") or ""),
                entity_id=str(held.get("entity_id") or ""),
                expires_at=None if held.get("expires_at") is None else float(held["expires_at"]),
            )
        except FileNotFoundError:
            raise self._refused("there is none") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise self._refused("it cannot be read") from None
        if session.expires_at is not None and session.expires_at <= time.time():
            raise self._refused("it has ended")
        return session

    @staticmethod
    def write(path: Path, session: Session) -> None:
        """Keep a session, readable by this user only."""
        held = {
            "token": session.token,
            "accessor": session.accessor,
            "entity_id": session.entity_id,
            "expires_at": session.expires_at,
        }
        private.replace(path, json.dumps(held))

    def _refused(self, why: str) -> Refused:
        return Refused(
            f"no session for {self.path.stem}: {why}",
            code="vault.session",
            next_action=f"Run `remit login --as {self.path.stem}`.",
        )


@dataclass(frozen=True, slots=True)
class JwtLogin(Confined):
    """A workload's login with a signed token (JWT-SVID, Kubernetes or the embedded identity issuer).

    Args:
        role: Role on the mount.
        token: Returns the token to present now.
        mount: The ``jwt`` auth mount.
    """

    role: str
    token: Callable[[], str] = field(repr=False)
    mount: str = "remit-workload"

    async def log_in(self, call: Call) -> Session:
        """Log in."""
        now = time.time()
        answer = await call("POST", join("auth", self.mount, "login"), {"role": self.role, "jwt": self.token()})
        return Session.from_answer(answer, now=now)


@dataclass(frozen=True, slots=True)
class UserpassLogin(Confined):
    """A person's login with a password."""

    name: str
    password: Callable[[], str] = field(repr=False)
    mount: str = "userpass"

    async def log_in(self, call: Call) -> Session:
        """Log in."""
        now = time.time()
        path = join("auth", self.mount, "login", self.name)
        return Session.from_answer(await call("POST", path, {"password": self.password()}), now=now)
