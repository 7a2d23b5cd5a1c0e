"""Logging a person in to OpenBao, and going on with the session that is kept.

- A kept session is used as long as it lasts; one that OpenBao no longer knows is used once and not again.
- Where the embedded stack's generated password can be read, a new session is made without asking anybody.
- A login counts only if it is that person's own: the session's identity must own the key the directory has for them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from remit.assembly import open_vault
from remit.catalogue import Catalogue
from remit.confined import Confined
from remit.errors import Refused
from remit.policy.source import CATALOGUE
from remit.principals import Principal
from remit.registry import Registry
from remit.session import Session, Sessions, checked, needed
from remit.vault import OidcLogin, UserpassLogin
from remit.vault import Session as VaultSession

if TYPE_CHECKING:
    from remit.settings import Settings
    from remit.vault.logins import Call, Login

NO_EXPIRY = 3600.0
"""Seconds a session without a known end is kept."""


class PersonLogin:
    """The login of one person's commands.

    Args:
        sessions: Where sessions are kept.
        person: Name.
        address: The OpenBao the session is for.
        clock: Unix seconds.
    """

    def __init__(self, sessions: Sessions, person: str, *, address: str, clock: Callable[[], float]) -> None:
        self._sessions = sessions
        self._person = person
        self._address = address
        self._clock = clock
        self._used = ""

    async def log_in(self, call: Call) -> VaultSession:
        """Return the kept session, or a new one where the generated password can be read.

        Raises:
            Refused: ``login.needed``. Held: OpenBao did not answer.
        """
        kept = self._sessions.find(self._person, address=self._address, now=self._clock())
        if kept is not None and kept.token != self._used:
            self._used = kept.token
            return VaultSession(kept.token, kept.accessor, kept.entity_id, kept.expires_at)
        password = self._sessions.password(self._person)
        if password is None:
            raise needed(self._person)
        session = await _WithPassword(self._person, password).log_in(call)
        self._used = session.token
        kept_now = _kept(session, person=self._person, address=self._address, now=self._clock())
        self._sessions.keep(kept_now, last=self._sessions.last() is None)
        return session


def known(settings: Settings, person: str) -> Principal | None:
    """Return a person of the catalogue; None where there is no catalogue to look in.

    Raises:
        Usage: ``login.name``, ``catalogue.unknown``.
    """
    catalogue = settings.policies / CATALOGUE
    name = checked(person)
    return Catalogue.load(catalogue).principal(f"user/{name}") if catalogue.exists() else None


async def log_in(settings: Settings, person: str, *, password: str | None) -> Session:
    """Log a person in and keep the session.

    Args:
        settings: Where OpenBao is.
        person: Name.
        password: None: with the organisation's identity provider, in a browser (OIDC).

    Raises:
        Refused: ``login.refused``. Usage: ``catalogue.unknown``. Held: OpenBao did not answer.
    """
    principal = known(settings, person)
    login: Login = OidcLogin() if password is None else _WithPassword(person, password)
    async with open_vault(settings, login) as vault:
        session = await vault.session()
        if principal is not None:
            record = await Registry(vault).principal(principal)
            if record is None or record.signing_key != await vault.entity_id():
                raise Refused(
                    f"this login does not belong to {person}",
                    code="login.refused",
                    next_action="Log in as yourself, or have `remit bootstrap` make the person known.",
                )
    kept = _kept(session, person=person, address=settings.openbao_address, now=time.time())
    Sessions(settings.home).keep(kept)
    return kept


def _kept(session: VaultSession, *, person: str, address: str, now: float) -> Session:
    expires = session.expires_at if session.expires_at is not None else now + NO_EXPIRY
    return Session(person, address, session.token, session.accessor, session.entity_id, expires)


@dataclass(frozen=True, slots=True)
class _WithPassword(Confined):
    """A login with a password, whose refusal says so plainly."""

    person: str
    password: str = field(repr=False)

    async def log_in(self, call: Call) -> VaultSession:
        try:
            return await UserpassLogin(self.person, lambda: self.password).log_in(call)
        except Refused as error:
            if error.code != "vault.login":
                raise
            raise Refused(
                f"OpenBao does not let {self.person} in with this password",
                code="login.refused",
                next_action="Check the name and the password, then log in again.",
            ) from None
