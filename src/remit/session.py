"""Sessions of people: who is logged in here, kept in the state folder.

- ``<home>/sessions/<name>.json``, mode 0600 in a folder of mode 0700, replaced as a whole. It holds an OpenBao token
  and nothing that outlives it.
- A session belongs to one OpenBao address: a token is never sent to another one.
- Who logged in last is who a command acts as, unless it says ``--as``; so is who acted first, before anybody logged in.
- Generated passwords lie in ``<home>/passwords/``; whoever can read them is their owner.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from remit import private
from remit.confined import Confined
from remit.errors import Refused, Usage
from remit.principals import PRINCIPAL_NAME

MARGIN = 5.0
"""Seconds before its end at which a session counts as over."""
_LAST = "last"


@dataclass(frozen=True, slots=True)
class Session(Confined):
    """One login.

    Args:
        person: Name, e.g. ``alice``.
        address: The OpenBao it is for.
        token: The secret.
        accessor: Names the token without being it.
        entity_id: The identity it belongs to, and the name of its signing key.
        expires_at: Unix seconds.
    """

    person: str
    address: str
    token: str = field(repr=False)
    accessor: str
    entity_id: str
    expires_at: float

    def document(self) -> dict[str, Any]:
        """Return what is kept."""
        return {
            "person": self.person,
            "address": self.address,
            "token": self.token,
            "accessor": self.accessor,
            "entity_id": self.entity_id,
            "expires_at": self.expires_at,
        }


class Sessions:
    """The sessions of one state folder.

    Args:
        home: The state folder.
    """

    def __init__(self, home: Path) -> None:
        self._folder = home / "sessions"
        self._passwords = home / "passwords"

    def keep(self, session: Session, *, last: bool = True) -> None:
        """Keep a session.

        Args:
            last: Remember its person as the last who logged in.
        """
        name = checked(session.person)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        private.replace(self._folder / f"{name}.json", json.dumps(session.document()) + "\n")
        if last:
            private.replace(self._folder / _LAST, name + "\n")

    def find(self, person: str, *, address: str, now: float) -> Session | None:
        """Return this person's session for this OpenBao, if it still lasts."""
        try:
            document: object = json.loads((self._folder / f"{checked(person)}.json").read_bytes())
        except (OSError, ValueError):
            return None
        session = _session(document)
        if session is None or session.address != address or session.expires_at - MARGIN <= now:
            return None
        return session

    def last(self) -> str | None:
        """Return who logged in last, None when nobody has."""
        try:
            name = (self._folder / _LAST).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return None
        return name if PRINCIPAL_NAME.fullmatch(name) else None

    def forget(self, person: str) -> None:
        """Forget a session; harmless when there is none."""
        (self._folder / f"{checked(person)}.json").unlink(missing_ok=True)

    def password(self, person: str) -> str | None:
        """Return the password the embedded stack generated for this person, None where there is none to read."""
        try:
            return (self._passwords / checked(person)).read_text(encoding="utf-8").rstrip("\r\n") or None
        except (OSError, UnicodeDecodeError):
            return None

    def who(self, person: str | None) -> str:
        """Return the person a command acts as.

        Raises:
            Refused: ``login.needed`` when nobody was named and nobody has logged in.
        """
        name = person or self.last()
        if name is None:
            raise needed(None)
        return checked(name)


class Secrets:
    """Generated secrets of one state folder, one file of mode 0600 each.

    Args:
        home: The state folder.
    """

    def __init__(self, home: Path) -> None:
        self._home = home

    def made(self, name: str) -> str:
        """Return a secret, made the first time."""
        file = self._home / name
        if not file.exists():
            self.keep(name, secrets.token_urlsafe(18).encode())
        return file.read_text(encoding="utf-8").rstrip("\r\n")

    def keep(self, name: str, value: bytes) -> None:
        """Keep a secret somebody else made."""
        private.replace(self._home / name, value)


def checked(person: str) -> str:
    """Return a person's name that may stand in a path.

    Raises:
        Usage: ``login.name``.
    """
    if not PRINCIPAL_NAME.fullmatch(person):
        raise Usage(
            f"{person[:60]!r} is not a person's name",
            code="login.name",
            next_action="Names are a-z, 0-9 and '-', at most 41 characters.",
        )
    return person


def needed(person: str | None) -> Refused:
    """Return the refusal for want of a session."""
    return Refused(
        f"{person} is not logged in" if person else "nobody is logged in here",
        code="login.needed",
        next_action=f"Log in with: remit login --as {person or 'NAME'}",
    )


def _session(document: object) -> Session | None:
    if not isinstance(document, Mapping):
        return None
    match dict(document):
        case {
            "person": str(person),
            "address": str(address),
            "token": str(token),
            "accessor": str(accessor),
            "entity_id": str(entity),
            "expires_at": float() | int() as expires_at,
        }:
            return Session(person, address, token, accessor, entity, float(expires_at))
    return None
