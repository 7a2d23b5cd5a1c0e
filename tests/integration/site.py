"""A bootstrapped namespace of its own on the real OpenBao, and everybody's session in it."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import jwt

from remit.bootstrap import Bootstrapped, PostgresConnection, bootstrap
from remit.catalogue import Catalogue
from remit.vault import JwtLogin, Login, Token, UserpassLogin, Vault

ROOT = Path(__file__).parents[2]
POLICIES = ROOT / "policies"


class Site:
    """One namespace. Every session is closed with it."""

    def __init__(self, server: Any, namespace: str, catalogue: Catalogue, closing: AsyncExitStack) -> None:
        self.server = server
        self.namespace = namespace
        self.catalogue = catalogue
        self.passwords: dict[str, str] = {}
        self.issuer = b""
        self.admin: Vault
        self._closing = closing
        self._open: dict[str, Vault] = {}

    def vault(self, login: Login, **options: Any) -> Vault:
        """Return a new client, closed at the end."""
        vault = Vault(self.server.address, self.server.ca, login, **{"namespace": self.namespace, **options})
        self._closing.push_async_callback(vault.close)
        return vault

    def person(self, name: str) -> Vault:
        return self._once(f"user/{name}", UserpassLogin(name, lambda: self.passwords[name]))

    def agent(self, name: str) -> Vault:
        return self._once(f"agent/{name}", JwtLogin("agent", lambda: self.workload(f"agent/{name}")))

    @property
    def authority(self) -> Vault:
        return self._once("authority", JwtLogin("authority", lambda: self.workload("authority")))

    def workload(self, path: str, **claims: Any) -> str:
        """Return an identity token for a workload."""
        now = int(time.time())
        domain = self.catalogue.trust_domain
        plain = {
            "iss": f"spiffe://{domain}",
            "sub": f"spiffe://{domain}/{path}",
            "aud": "openbao",
            "iat": now,
            "exp": now + 60,
        }
        return jwt.encode(plain | claims, self.issuer, algorithm="EdDSA")

    def _once(self, name: str, login: Login) -> Vault:
        if name not in self._open:
            self._open[name] = self.vault(login)
        return self._open[name]


def connection_to(postgres: Any) -> PostgresConnection:
    """Return where users are minted."""
    parts = dict(part.split("=", 1) for part in postgres.dsn.split())
    return PostgresConnection(
        host=parts["host"],
        port=int(parts["port"]),
        database=parts["dbname"],
        manager="bao_min",
        password=postgres.manager_password,
        sslmode="disable",
    )


@asynccontextmanager
async def site(
    server: Any, *, postgres: Any = None, profile: str = "openbao", set_up: bool = True
) -> AsyncIterator[Site]:
    """Make a namespace, set it up, and remove it at the end."""
    name = f"t-{uuid.uuid4().hex[:12]}"
    catalogue = Catalogue.load(POLICIES / "catalogue.yaml")
    async with AsyncExitStack() as closing:
        token = server.admin_token()
        outside = Vault(server.address, server.ca, Token(token))
        closing.push_async_callback(outside.close)
        await outside.write(f"sys/namespaces/{name}")
        closing.push_async_callback(_remove, outside, name)
        made = Site(server, name, catalogue, closing)
        made.admin = made.vault(Token(token), profile=profile)
        if set_up:
            result = await run_bootstrap(made, postgres=postgres)
            made.passwords.update(result.passwords)
            assert result.workload_key is not None
            made.issuer = result.workload_key
        yield made


async def run_bootstrap(made: Site, *, postgres: Any = None, **options: Any) -> Bootstrapped:
    """Run bootstrap as the embedded stack would."""
    return await bootstrap(
        made.admin,
        made.catalogue,
        folder=POLICIES,
        **{
            "databases": [connection_to(postgres)] if postgres is not None else [],
            "passwords": {},
            "stored": {"weather-api": {"api_key": "weather-secret"}, "model-key": {"key": "model-secret"}},
            **options,
        },
    )


async def _remove(outside: Vault, name: str) -> None:
    for _ in range(20):  # leases are ended first, which takes a moment
        status, _body = await outside.call("DELETE", f"sys/namespaces/{name}")
        if status in (200, 204):
            return
        await asyncio.sleep(0.1)
