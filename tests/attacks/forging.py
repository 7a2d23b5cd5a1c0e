"""Somebody who can write to the registry and use the keys of those they took over, and makes documents with them.

- `sign` signs any header and any bytes with a real key in OpenBao, as whoever holds that session could.
- `store` writes links as they are, create-only as everybody must, and returns the task they are made out for.
- `Asked` is what was asked of OpenBao meanwhile, from its own log.
"""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

from remit import jose
from remit.assembly import Parts
from remit.chain import chain_digest, parent_hash
from remit.client.connection import Connection
from remit.delegation import TYP, Reference
from remit.embedded import Stack
from remit.registry import Registry
from remit.settings import Settings
from remit.vault import Token, TransitSigner, Vault

from ..integration.acting import Task, principal

Claims = dict[str, Any]


class Forger:
    """See the module; made by `forging`."""

    def __init__(self, settings: Settings, parts: Parts, admin: Vault, closing: AsyncExitStack) -> None:
        self.admin = admin
        self.registry = Registry(admin)
        self._settings = settings
        self._parts = parts
        self._closing = closing
        self._signers: dict[str, TransitSigner | jose.Signer] = {}

    async def signer(self, who: str) -> jose.Signer:
        """Return the signer of ``user/…``, ``agent/…`` or a key of Transit by its name."""
        if who not in self._signers:
            kind, _, name = who.partition("/")
            if kind == "user":
                person = Connection(self._settings, name)
                self._closing.push_async_callback(person.close)
                self._signers[who] = await person.signer()
            elif kind == "agent":
                self._signers[who] = await self._parts.presenter.signer(principal(who))
            else:
                self._signers[who] = await TransitSigner.open(self.admin, who)
        return self._signers[who]

    async def sign(
        self, payload: Mapping[str, Any] | bytes, *, by: str, header: bytes | None = None, **names: Any
    ) -> str:
        """Sign anything; `names` replace or add members of the header."""
        signer = await self.signer(by)
        head = json.dumps({"alg": signer.key.alg, "kid": signer.key.kid, "typ": TYP, **names}).encode()
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        data = f"{b64(head if header is None else header)}.{b64(body)}"
        return f"{data}.{b64(await signer.sign(data.encode()))}"

    async def root(self, *, agent: str = "flight-analyst", **changes: Any) -> Claims:
        """Return the claims of a correct root of alice's."""
        now = int(time.time())
        return {
            "iss": principal("user/alice").spiffe_id,
            "sub": principal("user/alice").spiffe_id,
            "aud": "remit:remit.local",
            "may_act": {"sub": principal(f"agent/{agent}").spiffe_id},
            "cnf": {"jwk": dict((await self.signer(f"agent/{agent}")).key.jwk)},
            "jti": str(uuid.uuid4()),
            "iat": now - 10,
            "nbf": now - 10,
            "exp": now + 600,
            "del_depth": 0,
            "del_max_depth": 3,
            "purpose": "delay-review",
            "authorization_details": grant(),
            **changes,
        }

    async def below(self, parent: str, above: Claims, *, agent: str = "report-writer", **changes: Any) -> Claims:
        """Return the claims of a correct link below one."""
        link = {
            **await self.root(agent=agent),
            "iss": above["may_act"]["sub"],
            "iat": above["iat"],
            "nbf": above["nbf"],
            "exp": above["exp"],
            "del_depth": above["del_depth"] + 1,
            "par_hash": parent_hash(parent),
            "authorization_details": above["authorization_details"],
        }
        return {name: value for name, value in (link | changes).items() if value is not ...}

    async def pair(self, **changes: Any) -> list[str]:
        """Return alice's root for the analyst and a link of the analyst's for the writer, with these changes."""
        above = await self.root()
        root = await self.sign(above, by="user/alice")
        return [root, await self.sign(await self.below(root, above, **changes), by="agent/flight-analyst")]

    async def store(self, links: Sequence[Any], *, ids: Sequence[str] | None = None, task: str | None = None) -> Task:
        """Store links, each below the one before; return the task the last one is made out for."""
        names = list(ids) if ids else [claimed_id(link) for link in links]
        names = [one if names.index(one) == at else str(uuid.uuid4()) for at, one in enumerate(names)]
        made = Task(
            Reference(names[-1], chain_digest(links)), tuple(links), task or f"task-{names[-1]}", str(uuid.uuid4())
        )
        parent = None
        for link, name in zip(links, names, strict=True):
            await self.registry.put_delegation(link, jti=name, parent=parent, namespace="default", workflow_id=made.id)
            parent = name
        return made


@asynccontextmanager
async def forging(stack: Stack, settings: Settings, parts: Parts) -> AsyncIterator[Forger]:
    """Let somebody forge until the block is left."""
    async with AsyncExitStack() as closing:
        server = stack.openbao
        admin = Vault(server.address, server.ca, Token(server.admin_token()), namespace=settings.openbao_namespace)
        closing.push_async_callback(admin.close)
        yield Forger(settings, parts, admin, closing)


@contextmanager
def asked(stack: Stack) -> Iterator[list[str]]:
    """Collect the paths that OpenBao was asked for, complete once the block was left."""
    log = stack.home / "logs" / "openbao-audit.log"
    begin = log.stat().st_size
    paths: list[str] = []
    yield paths
    with log.open("rb") as tail:
        tail.seek(begin)
        paths += [json.loads(line).get("request", {}).get("path", "") for line in tail if b'"type":"request"' in line]


def grant(actions: Any = ("read", "report:publish"), **changes: Any) -> list[dict[str, Any]]:
    """Return what is delegated; a member changed to ``...`` is left out."""
    told = {"type": "urn:remit:grant", "actions": actions, "spaces": ["flights"], "budget": 100} | changes
    return [{name: value for name, value in told.items() if value is not ...}]


def claimed_id(link: Any) -> str:
    """Return the id a link claims, or a fresh one where it claims none."""
    try:
        body = link.split(".")[1]
        found = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))["jti"]
        return str(uuid.UUID(found))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RecursionError):
        return str(uuid.uuid4())


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
