"""Decisions: what people decided about steps, as OpenBao keeps it.

- ``approvals/<jti>`` is an approval that was used: the document, and the one step of one run it was used for.
- ``approvals/<digest of request and binding>`` is a rejection; it stays one, whatever the workflow remembers.
- Each is written once, by the authority; both outlive Temporal's history, so that they can be shown later.
"""

from __future__ import annotations

import base64
import hashlib

from remit.vault import Documents
from remit.vault.paths import join

_FOLDER = "approvals"


class Decisions:
    """The decisions in the registry.

    Args:
        documents: The registry's records.
    """

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def use(self, jws: str, *, jti: str, binding: str, run: str, step: int) -> bool:
        """Use an approval up for one step of one run; True also when it was used for the very same one."""
        path, record = join(_FOLDER, jti), {"binding": binding, "run": run, "step": step, "jws": jws}
        return await self._documents.create(path, record) or await self._documents.get(path) == record

    async def reject(self, jws: str, *, request: str, binding: str, by: str) -> None:
        """Record that a request was rejected, and by whom (SPIFFE ID)."""
        await self._documents.create(_rejection(request, binding), {"by": by, "jws": jws})

    async def rejected_by(self, request: str, *, binding: str) -> str | None:
        """Return who rejected a request (SPIFFE ID), None when nobody did."""
        record = await self._documents.get(_rejection(request, binding))
        return None if record is None else str(record["by"])

    async def used(self, jti: str) -> str | None:
        """Return an approval that was used, as compact JWS; unverified."""
        return _jws(await self._documents.get(join(_FOLDER, jti)))

    async def rejection(self, request: str, *, binding: str) -> str | None:
        """Return the rejection of a request, as compact JWS; unverified."""
        return _jws(await self._documents.get(_rejection(request, binding)))


def _rejection(request: str, binding: str) -> str:
    digest = hashlib.sha256(f"{request}.{binding}".encode()).digest()
    return join(_FOLDER, base64.b32encode(digest).decode().rstrip("=").lower())


def _jws(record: dict[str, object] | None) -> str | None:
    """Return the document of a record; records made before it was kept there have none."""
    found = (record or {}).get("jws")
    return found if isinstance(found, str) else None
