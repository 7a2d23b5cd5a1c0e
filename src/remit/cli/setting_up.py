"""What `remit bootstrap` gathers before it asks: the operator's session, keys, database, provider.

- Secrets come from files and the environment, never from arguments; generated ones go into the state folder, mode 0600.
- On the embedded stack the operator's key lies in the state folder and is used.
"""

from __future__ import annotations

import asyncio
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from remit.assembly import load_policy, open_vault
from remit.bootstrap import Bootstrapped, OidcProvider, PostgresConnection, WorkloadTrust, bootstrap
from remit.errors import Held, Usage
from remit.session import Secrets
from remit.vault import Token

if TYPE_CHECKING:
    from remit.settings import Settings

_TOKENS = ("BAO_TOKEN", "VAULT_TOKEN")


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command line asks for; see `remit bootstrap --help`."""

    token_file: Path | None
    workload_keys: tuple[Path, ...]
    workload_issuer: str
    workload_jwks: str
    manager: str
    manager_password_file: Path | None
    passwords: bool
    oidc: str
    oidc_client: str
    oidc_secret_file: Path | None


def run(settings: Settings, wishes: Wishes) -> Bootstrapped:
    """Set OpenBao up.

    Raises:
        Usage: A file is missing. Refused: The token may not do this. Held: OpenBao does not answer.
    """
    catalogue, _ = load_policy(settings)
    if wishes.token_file is None and not any(os.environ.get(name) for name in _TOKENS):
        embedded = _embedded(settings)
        if embedded is not None:
            return embedded
    token = _token(wishes)
    kept = Secrets(settings.home)
    passwords = {name: kept.made(f"passwords/{name}") for name in catalogue.people} if wishes.passwords else None

    async def ask() -> Bootstrapped:
        async with open_vault(settings, Token(token)) as vault:
            return await bootstrap(
                vault,
                catalogue,
                folder=settings.policies,
                workload=_workload(wishes, trust_domain=catalogue.trust_domain),
                databases=_databases(settings, wishes),
                passwords=passwords,
                oidc=_oidc(wishes),
            )

    done = asyncio.run(ask())
    if done.workload_key is not None:
        kept.keep("keys/identity.pem", done.workload_key)
    return done


def _embedded(settings: Settings) -> Bootstrapped | None:
    """Provision the embedded stack that runs here again; None where none runs."""
    if not (settings.home / "stack.json").exists():
        return None
    from remit.embedded import Stack, running
    from remit.embedded.provision import provision

    try:
        record = running(settings.home)
    except Held:
        return None
    return provision(Stack(settings.home, port_base=record.port_base), policies=settings.policies)


def _token(wishes: Wishes) -> str:
    if wishes.token_file is not None:
        return _read(wishes.token_file)
    found = next((os.environ[name] for name in _TOKENS if os.environ.get(name)), None)
    if found is None:
        raise Usage(
            "there is no operator's token",
            code="bootstrap.token",
            next_action="Set BAO_TOKEN, or give --token-file; for the embedded stack start it with `remit dev`.",
        )
    return found


def _workload(wishes: Wishes, *, trust_domain: str) -> WorkloadTrust | None:
    keys = tuple(_read(path) + "\n" for path in wishes.workload_keys)
    if not keys and not wishes.workload_jwks:
        return None
    issuer = wishes.workload_issuer or f"spiffe://{trust_domain}"
    return WorkloadTrust(issuer, keys, jwks_url=wishes.workload_jwks)


def _databases(settings: Settings, wishes: Wishes) -> list[PostgresConnection]:
    if wishes.manager_password_file is None:
        return []
    password = _read(wishes.manager_password_file)
    return [
        _database(mount, dsn, manager=wishes.manager, password=password) for mount, dsn in settings.postgres.items()
    ]


def _database(mount: str, dsn: str, *, manager: str, password: str) -> PostgresConnection:
    facts: Mapping[str, str] = dict(part.split("=", 1) for part in shlex.split(dsn) if "=" in part)
    try:
        return PostgresConnection(
            host=facts["host"],
            port=int(facts.get("port", "5432")),
            database=facts["dbname"],
            manager=manager,
            password=password,
            mount=mount,
            sslmode=facts.get("sslmode", "prefer"),
        )
    except (KeyError, ValueError) as error:
        raise Usage(
            f"the connection string of {mount} is not usable: {error}",
            code="settings.postgres",
            next_action='Write REMIT_POSTGRES as {"database": "host=… port=… dbname=…"}.',
        ) from None


def _oidc(wishes: Wishes) -> OidcProvider | None:
    if not wishes.oidc:
        return None
    if not wishes.oidc_client or wishes.oidc_secret_file is None:
        raise Usage(
            "a provider needs a client and its secret",
            code="bootstrap.oidc",
            next_action="Give --oidc-client and --oidc-secret-file.",
        )
    return OidcProvider(wishes.oidc, wishes.oidc_client, _read(wishes.oidc_secret_file))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise Usage(f"{path} cannot be read: {why}", code="bootstrap.file", next_action="Give a file.") from None
