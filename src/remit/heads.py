"""Heads: what the authority signed about the writers of the audit log, as OpenBao keeps it.

- Written once, by the authority; whoever reads one verifies it (`remit.evidence.seals`).
- ``audit/<writer>/<seq>`` is ``{"head": compact JWS, "leaves": [leaf…]}``: the head made at that writer's record `seq`,
  and what its `tasks` digest is made of. The first head at or after a task's record is the one that vouches for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from remit.errors import Refused
from remit.vault import Documents
from remit.vault.paths import join

_FOLDER = "audit"


class Heads:
    """The heads in the registry.

    Args:
        documents: The registry's records.
    """

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def put(self, head: str, *, writer: str, seq: int, leaves: Sequence[str]) -> None:
        """Store a head, once; storing the same one again is no error.

        Raises:
            Refused: ``registry.exists``: another head of this writer stands there. Held: It may not be stored.
        """
        path, record = join(_FOLDER, writer, str(seq)), {"head": head, "leaves": list(leaves)}
        if not await self._documents.create(path, record) and await self._documents.get(path) != record:
            raise Refused(f"another head of the writer {writer} has the number {seq}", code="registry.exists")

    async def get(self, writer: str, seq: int) -> dict[str, Any] | None:
        """Return one head, unverified; None when there is none."""
        return await self._documents.get(join(_FOLDER, writer, str(seq)))

    async def writers(self) -> list[str]:
        """Return the writers that have heads."""
        return [name.removesuffix("/") for name in await self._documents.names(_FOLDER)]

    async def numbers(self, writer: str) -> list[int]:
        """Return the record numbers at which a writer has heads, ascending."""
        names = await self._documents.names(join(_FOLDER, writer))
        return sorted(int(name) for name in names if name.isascii() and name.isdecimal())
