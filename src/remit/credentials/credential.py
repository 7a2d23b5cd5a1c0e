"""A credential: the secret one attempt holds while its tool runs.

- A tool finds it in a context variable, never among its arguments, so that no history can hold it.
- It forgets its secret when its attempt ends: a thread or task that goes on with a copy of the context reads nothing.
- Its secret parts appear in no repr, no record and no exception; `secrets` exists so that others can scrub them.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field

from remit.confined import Confined
from remit.errors import Refused


@dataclass(frozen=True, slots=True)
class Credential(Confined):
    """What was minted for one attempt.

    Args:
        profile: Name of the catalogue's credential profile.
        kind: ``postgres``, ``secret``, ``engine`` or ``token``.
        user: The name the resource knows it by (not secret), e.g. the minted database user.
        expires_at: Unix seconds after which it is dead by itself.
        values: The secret fields, e.g. ``{"username", "password", "dsn"}`` or ``{"token"}``; none once it is forgotten.
    """

    profile: str
    kind: str
    user: str | None
    expires_at: int
    values: dict[str, str] = field(repr=False)

    def __getitem__(self, name: str) -> str:
        """Return one secret field.

        Raises:
            Refused: ``credential.field`` when this kind has no such field, ``credential.none`` once its attempt ended.
        """
        held = self.values.copy()  # a thread may ask while it is being forgotten
        if not held:
            raise _none()
        try:
            return held[name]
        except KeyError:
            raise Refused(
                f"the credential {self.profile!r} has no field {name!r}",
                code="credential.field",
                next_action=f"Its fields are: {', '.join(sorted(held))}.",
            ) from None

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return every value that must appear nowhere, longest first."""
        return tuple(sorted({v for k, v in self.values.items() if k != "username" and v}, key=len, reverse=True))

    def forget(self) -> None:
        """Forget the secret; every copy of this credential that shares it forgets it too."""
        self.values.clear()


CREDENTIAL: ContextVar[Credential | None] = ContextVar("remit_credential", default=None)


def current_credential() -> Credential:
    """Return the credential of the attempt that is running.

    Raises:
        Refused: ``credential.none`` outside a governed attempt, after it, or when its tool declares no credential.
    """
    credential = CREDENTIAL.get()
    if credential is None or not credential.values:
        raise _none()
    return credential


def _none() -> Refused:
    return Refused(
        "no credential here",
        code="credential.none",
        next_action="Name a credential profile in the tool's declaration; it exists only while its step runs.",
    )
