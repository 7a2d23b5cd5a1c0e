"""The directory's keys, read from OpenBao: the authority's and every principal's, former ones too."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any

from remit.bootstrap.identities import STEP_KEY, TOKEN_KEY
from remit.evidence import keys
from remit.vault import transit

if TYPE_CHECKING:
    from remit.jose import PublicKey
    from remit.registry import Registry
    from remit.vault import Vault

_READS = 16


async def jwks(vault: Vault, registry: Registry, *, trust_domain: str) -> dict[str, Any]:
    """Return the JWK Set of everybody whose signature can stand in the evidence.

    Raises:
        Refused: ``vault.forbidden``, ``transit.key``. Held: OpenBao did not answer.
    """
    gate = asyncio.Semaphore(_READS)

    async def one(kid: str) -> tuple[str, PublicKey, bool] | None:
        async with gate:
            owner = await registry.key_owner(kid)
            present = None if owner is None else await registry.principal(owner[0])
        return owner and (owner[0].spiffe_id, owner[1], present is None or present.key.kid != kid)

    authority = f"spiffe://{trust_domain}/authority"
    found = [
        (authority, key, number > 0)
        for name in (STEP_KEY, TOKEN_KEY)
        for number, key in enumerate(await transit.public_keys(vault, name))
    ]
    names = await registry.documents.names("keys")
    found += [held for held in await asyncio.gather(*(one(_thumbprint(name)) for name in names)) if held is not None]
    return keys.document(found)


def _thumbprint(name: str) -> str:
    """Return the thumbprint a record of the directory is named by (`remit.registry.key_name`)."""
    try:
        raw = base64.b32decode(name.upper() + "=" * (-len(name) % 8))
    except ValueError:
        return ""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
