"""Kept: the heads the registry holds, and the same as a file for whoever verifies offline.

    {"heads": [{"writer", "seq", "head": jws, "leaves": [leaf…]}…]}

- The newest head of a writer vouches for everything before it, by the chain; the older ones tell where a chain that
  does not fit it was made anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

from remit import strictjson
from remit.errors import InvalidDocument, Usage
from remit.evidence.document import Sealed
from remit.evidence.folder import Kept
from remit.sealing import WRITER

if TYPE_CHECKING:
    from remit.heads import Heads

_READS = 16
_MEMBERS = {"writer", "seq", "head", "leaves"}


async def collect(heads: Heads, *, every: Collection[str] | None = ()) -> list[Kept]:
    """Return the newest head of every writer.

    Args:
        every: Writers of whom all heads are wanted; None: all of everybody.

    Raises:
        Held: OpenBao did not answer. Refused: It does not show them.
    """
    gate = asyncio.Semaphore(_READS)

    async def one(writer: str, seq: int) -> Kept:
        async with gate:
            record = await heads.get(writer, seq) or {}
        return _kept({"head": "", "leaves": [], **record, "writer": writer, "seq": seq})

    async def of(writer: str) -> list[Kept]:
        async with gate:
            numbers = await heads.numbers(writer)
        wanted = numbers if every is None or writer in every else numbers[-1:]
        return list(await asyncio.gather(*(one(writer, seq) for seq in wanted)))

    writers = [name for name in sorted(await heads.writers()) if WRITER.fullmatch(name)]
    return [head for found in await asyncio.gather(*map(of, writers)) for head in found]


def document(heads: Iterable[Kept]) -> dict[str, Any]:
    """Return heads as JSON values."""
    return {
        "heads": [
            {"writer": one.writer, "seq": one.seq, "head": one.sealed.head, "leaves": list(one.sealed.leaves)}
            for one in heads
        ]
    }


def read(data: bytes) -> list[Kept]:
    """Read what `document` made.

    Raises:
        Usage: ``heads.invalid``.
    """
    try:
        found = strictjson.loads(data).get("heads")
    except InvalidDocument as error:
        raise _wrong(error.message) from None
    if type(found) is not list or not all(type(one) is dict and one.keys() == _MEMBERS for one in found):
        raise _wrong("it is no list of heads")
    return [_kept(one) for one in found]


def _kept(value: dict[str, Any]) -> Kept:
    """Return one head; one that is no head at all was signed by nobody."""
    writer, seq, head, leaves = value["writer"], value["seq"], value["head"], value["leaves"]
    if type(writer) is not str or not WRITER.fullmatch(writer) or type(seq) is not int:
        raise _wrong("a head does not say whose it is")
    whole = type(head) is str and type(leaves) is list and all(type(one) is str for one in leaves)
    return Kept(writer, seq, Sealed(head, tuple(leaves)) if whole else Sealed("", ()))


def _wrong(why: str) -> Usage:
    return Usage(
        f"these heads cannot be used: {why}", code="heads.invalid", next_action="Give what `remit audit heads` prints."
    )
