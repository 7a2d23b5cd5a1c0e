"""What bootstrap is told and what it returns.

- Whatever is secret here is in no ``repr``; bootstrap prints and keeps nothing, its caller does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from remit.confined import Confined


@dataclass(frozen=True, slots=True)
class WorkloadTrust:
    """Who vouches for workloads: the issuer of the tokens that agents and the authority log in with.

    Args:
        issuer: ``iss`` of the tokens; empty: not checked.
        public_keys: Its keys (PEM); or
        jwks_url: where they are published, with
        jwks_ca: the TLS roots of that address (PEM text).
        audience: ``aud`` of the tokens.
    """

    issuer: str = ""
    public_keys: tuple[str, ...] = ()
    jwks_url: str = ""
    jwks_ca: str = ""
    audience: str = "openbao"


@dataclass(frozen=True, slots=True)
class PostgresConnection(Confined):
    """A database in which users are minted.

    Args:
        manager: A role with CREATEROLE that may grant the group roles; no superuser.
        mount: The ``database`` mount its profiles name.
        sslmode: As libpq has it.
        groups: Group role of a minted role, where it is not ``app_rw`` for names in ``-rw`` and ``app_ro`` otherwise.
    """

    host: str
    port: int
    database: str
    manager: str
    password: str = field(repr=False)
    mount: str = "database"
    sslmode: str = "prefer"
    groups: Mapping[str, str] = field(default_factory=dict)

    def group(self, role: str) -> str:
        """Return the group role a minted user gets its rights from."""
        return self.groups.get(role) or ("app_rw" if role.endswith("-rw") else "app_ro")


@dataclass(frozen=True, slots=True)
class OidcProvider(Confined):
    """The OpenID provider people log in with.

    Args:
        user_claim: Claim whose value is the person's name in the catalogue.
        redirect_uris: Where `remit login` listens.
        ca: TLS roots of the provider (PEM text); empty: the system's.
    """

    discovery_url: str
    client_id: str
    client_secret: str = field(repr=False)
    user_claim: str = "preferred_username"
    redirect_uris: tuple[str, ...] = ("http://localhost:8250/oidc/callback",)
    scopes: tuple[str, ...] = ("profile",)
    ca: str = ""


@dataclass(frozen=True, slots=True)
class Bootstrapped(Confined):
    """What was done.

    Args:
        changed: What was made or changed, e.g. ``policy remit-agent``; empty when all was as wanted.
        passwords: Passwords of the people made in this run, by name. Secret.
        workload_key: Private key (PEM) of the issuer made in this run, when none was given. Secret.
        jwks: Public keys of downstream access tokens (RFC 7517), to publish.
        warnings: What the operator should look at.
    """

    changed: tuple[str, ...]
    passwords: Mapping[str, str] = field(repr=False)
    workload_key: bytes | None = field(repr=False)
    jwks: Mapping[str, Any]
    warnings: tuple[str, ...]
