"""Principals: the humans and agents that can hold authority.

- A principal is named by a SPIFFE ID, ``spiffe://<trust-domain>/user/<name>`` or ``/agent/<name>``.
- Names are ASCII, lower case, bounded: they reach OpenBao paths, SQL and logs, so nothing else is let in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, cast

from remit.errors import InvalidDocument

Kind = Literal["user", "agent"]

PRINCIPAL_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,40}", re.ASCII)
SAFE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)
TRUST_DOMAIN = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}", re.ASCII)
_SPIFFE = re.compile(
    rf"spiffe://(?P<domain>{TRUST_DOMAIN.pattern})/(?P<kind>user|agent)/(?P<name>{PRINCIPAL_NAME.pattern})",
    re.ASCII,
)


@dataclass(frozen=True, slots=True, order=True)
class Principal:
    """A human or an agent, e.g. ``Principal("remit.local", "user", "alice")``."""

    trust_domain: str
    kind: Kind
    name: str

    def __post_init__(self) -> None:
        if not _SPIFFE.fullmatch(self.spiffe_id):
            raise InvalidDocument(
                f"not a principal's name: {self.spiffe_id[:120]!r}",
                code="principal.name",
                next_action="Names are a-z, 0-9 and '-', at most 41 characters.",
            )

    @property
    def spiffe_id(self) -> str:
        """Return ``spiffe://<trust-domain>/<kind>/<name>``."""
        return f"spiffe://{self.trust_domain}/{self.kind}/{self.name}"

    @property
    def short(self) -> str:
        """Return ``user/alice`` or ``agent/flight-analyst``, as commands write it."""
        return f"{self.kind}/{self.name}"

    @property
    def audience(self) -> str:
        """Return the audience of documents in this principal's trust domain."""
        return f"remit:{self.trust_domain}"

    def __str__(self) -> str:
        return self.spiffe_id

    @classmethod
    def parse(cls, spiffe_id: object) -> Principal:
        """Read a SPIFFE ID.

        Raises:
            InvalidDocument: ``principal.name`` for anything but the two forms above.
        """
        match = _SPIFFE.fullmatch(spiffe_id) if isinstance(spiffe_id, str) and len(spiffe_id) <= 256 else None
        if match is None:
            raise InvalidDocument(
                f"not a principal's SPIFFE ID: {str(spiffe_id)[:120]!r}",
                code="principal.name",
                next_action="Write spiffe://<trust-domain>/user/<name> or /agent/<name>.",
            )
        return cls(match["domain"], cast(Kind, match["kind"]), match["name"])
