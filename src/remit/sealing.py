"""Sealing: heads, the authority's signed word for how far a writer of the audit log is.

- A head names a writer, the number and hash of its last record, and a digest over the ends of the task chains that grew
  since the head before. Whoever has it can tell whether anything up to there was edited, dropped or cut off.
- It is signed with the authority's key in OpenBao and kept in the registry, where nobody can change it; the workflow
  that ends keeps it in its history too.
- Heads are made regularly, when a run ends and at the end. Whoever asks while one is being made shares the next.
- An outage delays a head and stops no step: the records are on the disk, and it is tried again.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from remit import jose
from remit.audit import AuditLog, Mark, leaves_digest
from remit.claims import Claims
from remit.errors import RemitError
from remit.vault import Shared

if TYPE_CHECKING:
    from remit.heads import Heads

TYP = "audit-head+jwt"
SECONDS = 10.0
"""Between heads of a writer that goes on writing."""
AT_THE_END = 5.0
"""Seconds that closing waits for the last head."""

WRITER = re.compile(r"[0-9a-f]{32}", re.ASCII)
_HASH = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_CLAIMS = frozenset({"iss", "aud", "iat", "writer", "seq", "hash", "closed", "tasks"})
_LOG = logging.getLogger("remit")


@dataclass(frozen=True, slots=True)
class Head:
    """How far a writer was; the claims of ``audit-head+jwt``.

    Args:
        iss: The authority, ``spiffe://<trust-domain>/authority``. aud: ``remit:<trust-domain>``.
        iat: When it was signed, seconds.
        writer: Id of the writer. seq, hash: Number and hash of its last record.
        closed: Whether that is the last it ever writes.
        tasks: `remit.audit.leaves_digest` of the tasks with records since the head before.
    """

    iss: str
    aud: str
    iat: int
    writer: str
    seq: int
    hash: str
    closed: bool
    tasks: str

    def to_claims(self) -> dict[str, Any]:
        """Return the claims to sign."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_claims(cls, claims: object) -> Head:
        """Read verified claims.

        Raises:
            InvalidDocument: ``head.claims`` or ``head.time``.
        """
        read = Claims(claims, document="head", required=_CLAIMS)
        closed = read.value("closed")
        if type(closed) is not bool:
            raise read.invalid("closed", "is neither true nor false")
        return cls(
            iss=read.text("iss"),
            aud=read.text("aud"),
            iat=read.time("iat"),
            writer=read.matching("writer", WRITER),
            seq=read.number("seq"),
            hash=read.matching("hash", _HASH),
            closed=closed,
            tasks=read.digest("tasks"),
        )


class Sealing:
    """Signs and stores the heads of one log.

    Args:
        audit: The log. heads: Where they are kept. signer: The authority's key.
        trust_domain: Whose authority signs.
        clock: Unix seconds.
    """

    def __init__(
        self,
        *,
        audit: AuditLog,
        heads: Heads,
        signer: jose.Signer,
        trust_domain: str,
        clock: Callable[[], float],
    ) -> None:
        self._audit = audit
        self._heads = heads
        self._signer = signer
        self._iss, self._aud = f"spiffe://{trust_domain}/authority", f"remit:{trust_domain}"
        self._clock = clock
        self._shared: Shared[dict[str, Any] | None] = Shared(self._seal)
        self._signed: dict[str, tuple[Mark, str]] = {}
        self._last: dict[str, Any] | None = None

    async def seal(self) -> dict[str, Any] | None:
        """Sign what was written before this call; return the last head, ``{"writer", "seq", "head"}``.

        Returns:
            None when nothing was ever written.

        Raises:
            Held: OpenBao did not answer. Refused: It did not sign or keep the head.
        """
        return await self._shared()

    async def run(self) -> None:
        """Seal regularly, for ever; what fails is said and tried again."""
        while True:
            await asyncio.sleep(SECONDS)
            try:
                await self.seal()
            except (RemitError, OSError) as error:
                _LOG.warning("the audit log is not sealed; it is tried again: %s", error)

    async def close(self) -> None:
        """Seal what is left, if OpenBao answers in time; the log is closed already."""
        try:
            await asyncio.wait_for(self.seal(), AT_THE_END)
        except (RemitError, OSError, TimeoutError) as error:
            _LOG.warning("the end of the audit log is not sealed: %s", error or "no answer in time")

    async def _seal(self) -> dict[str, Any] | None:
        for mark in await asyncio.to_thread(self._audit.marks):
            head = await self._head(mark)
            await self._heads.put(head, writer=mark.writer, seq=mark.seq, leaves=mark.leaves)
            self._audit.sealed(mark)
            self._signed.pop(mark.writer, None)
            self._last = {"writer": mark.writer, "seq": mark.seq, "head": head}
        return self._last

    async def _head(self, mark: Mark) -> str:
        """Sign a mark; the same one again gives the same head, so an outage may have it stored twice."""
        before = self._signed.get(mark.writer)
        if before is not None and before[0] == mark:
            return before[1]
        head = Head(
            iss=self._iss,
            aud=self._aud,
            iat=int(self._clock()),
            writer=mark.writer,
            seq=mark.seq,
            hash=mark.hash,
            closed=mark.closed,
            tasks=leaves_digest(mark.leaves),
        )
        signed = await jose.sign(head.to_claims(), typ=TYP, signer=self._signer)
        self._signed[mark.writer] = mark, signed
        return signed
