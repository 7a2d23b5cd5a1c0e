"""Provisioning: makes a started stack Remit's own.

- What is secret is generated into the state folder first and handed to OpenBao after: dying in between loses nothing.
- Bootstrap is the same that production runs; here it is given the embedded servers.
- `remit.toml` and `temporal.toml` in the state folder tell every command and worker where things are.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from cryptography.hazmat.primitives import serialization

from remit.bootstrap import Bootstrapped, PostgresConnection, WorkloadTrust, bootstrap
from remit.catalogue import Catalogue
from remit.embedded.stack import Stack
from remit.jose import LocalSigner
from remit.policy.source import CATALOGUE
from remit.vault import Vault
from remit.vault.logins import Token

if TYPE_CHECKING:
    from remit.embedded.state import StateFolder

IDENTITY_KEY = "keys/identity.pem"
JWKS = "jwks.json"
"""Public keys of downstream access tokens."""
STORED = ("model-key", "weather-api")
"""Secrets of the catalogue's ``secret`` profiles, made up here; a real one is written over it."""


def provision(stack: Stack, *, policies: Path) -> Bootstrapped:
    """Bootstrap the stack's OpenBao and write the settings of everything that uses the stack.

    Args:
        policies: Folder of Cedar policies, catalogue and OpenBao policies.

    Raises:
        Usage: The catalogue or a policy is wrong. Held: OpenBao does not answer.
    """
    state = stack.state
    catalogue = Catalogue.load(policies / CATALOGUE)
    issuer = state.secret(IDENTITY_KEY, lambda: LocalSigner.generate().to_pem())
    passwords = {name: _password(state, name) for name in catalogue.people}
    stored = {name: {"key": state.secret(f"keys/{name}", _generated).decode()} for name in STORED}
    dsn = psycopg.conninfo.conninfo_to_dict(stack.postgres.dsn)
    done = asyncio.run(
        _bootstrap(
            stack,
            catalogue,
            policies=policies,
            workload=WorkloadTrust(f"spiffe://{catalogue.trust_domain}", (_public(issuer),)),
            database=PostgresConnection(
                host=str(dsn["host"]),
                port=int(str(dsn["port"])),
                database=str(dsn["dbname"]),
                manager="bao_min",
                password=stack.postgres.manager_password,
                sslmode="disable",  # loopback only
            ),
            passwords=passwords,
            stored=stored,
        )
    )
    state.write_json(JWKS, dict(done.jwks))
    host, _, port = stack.temporal.address.rpartition(":")
    state.write("temporal.toml", _toml({"profile.default": {"address": f"{host}:{port}", "namespace": "default"}}))
    state.write(
        "remit.toml",
        _toml(
            {
                "": {
                    "policies": str(policies.resolve()),
                    "openbao_address": stack.openbao.address,
                    "openbao_ca": str(stack.openbao.ca),
                    "identity_key": str(state.path / IDENTITY_KEY),
                    "temporal_config": str(state.path / "temporal.toml"),
                },
                "postgres": {"database": stack.postgres.dsn},
            }
        ),
    )
    return done


async def _bootstrap(
    stack: Stack,
    catalogue: Catalogue,
    *,
    policies: Path,
    workload: WorkloadTrust,
    database: PostgresConnection,
    passwords: dict[str, str],
    stored: dict[str, dict[str, str]],
) -> Bootstrapped:
    async with Vault(stack.openbao.address, stack.openbao.ca, Token(stack.openbao.admin_token())) as vault:
        return await bootstrap(
            vault,
            catalogue,
            folder=policies,
            workload=workload,
            databases=[database],
            passwords=passwords,
            stored=stored,
        )


def _password(state: StateFolder, name: str) -> str:
    return state.secret(f"passwords/{name}", _generated).decode()


def _generated() -> bytes:
    return secrets.token_urlsafe(18).encode()


def _public(private_pem: bytes) -> str:
    key = serialization.load_pem_private_key(private_pem, password=None).public_key()
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def _toml(tables: dict[str, dict[str, str]]) -> str:
    """Return tables of strings as TOML; a JSON string is a TOML basic string."""
    lines: list[str] = []
    for table, values in tables.items():
        lines += [f"[{table}]"] if table else []
        lines += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    return "\n".join(lines) + "\n"
