"""Data keys: what payloads are encrypted with, wrapped by a Transit key that never leaves OpenBao.

- A data key encrypts for at most an hour and at most 2^20 times; then OpenBao makes another. From half of either on,
  the next is asked for, so that a short outage at the end of a key's life goes unnoticed.
- Unwrapped keys are remembered, a bounded number for a bounded time, in this process only; they are in no ``repr``.
- An outage is waited out for a while, then `Held`: there is no other way to encrypt, and none to read.
"""

from __future__ import annotations

import asyncio
import base64
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from remit.confined import Confined
from remit.errors import Held, Refused
from remit.vault.client import Vault
from remit.vault.shared import Shared
from remit.vault.transit import MOUNT

NAME = "remit-payloads"
"""The Transit key that wraps them."""
LIFE_SECONDS = 3600.0
MOST_USES = 1 << 20
PATIENCE = 8.0
"""Seconds an outage is waited out: less than the heartbeat timeout of a step, which does not beat meanwhile."""
_REMEMBERED = 256
_ASK_AGAIN = 30.0
"""Seconds between tries to replace a key that may still be used."""
_WRAPPED = re.compile(rb"vault:v[0-9]{1,9}:[A-Za-z0-9+/]{16,512}={0,2}")

_T = TypeVar("_T")


@dataclass(slots=True)
class DataKey(Confined):
    """A key that encrypts now.

    Args:
        wrapped: The key as OpenBao wrapped it, with the version that did: what travels beside the ciphertext.
        cipher: The key itself. Secret.
        made: Seconds, on the clock of its `DataKeys`.
        used: How often it has encrypted.
    """

    wrapped: bytes
    cipher: AESGCM = field(repr=False)
    made: float
    used: int = 0


class DataKeys:
    """Data keys seen with one session.

    Args:
        vault: Returns OpenBao as whoever encrypts and reads; asked for only when it is needed.
        keep: Seconds an unwrapped key is remembered: how long a right to read that was withdrawn still works here.
        patience: Seconds an outage is waited out.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        vault: Callable[[], Vault],
        *,
        keep: float = LIFE_SECONDS,
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._vault = vault
        self._keep = keep
        self._patience = patience
        self._clock = clock
        self._current: DataKey | None = None
        self._asked = 0.0
        self._known: OrderedDict[bytes, tuple[AESGCM, float]] = OrderedDict()
        self._made = Shared(self._make)

    async def to_encrypt(self, uses: int) -> DataKey:
        """Return a key that may encrypt this many more times; they are counted as used.

        Raises:
            Refused: This session may not. Held: OpenBao did not answer.
        """
        key, now = self._current, self._clock()
        if key is not None and not _serves(key, uses, now, share=0.5) and now - self._asked >= _ASK_AGAIN:
            self._asked = now
            with suppress(Held, Refused):  # the old one may serve on; when it may not, the reason is told
                key = await self._made()
        while key is None or not _serves(key, uses, self._clock()):
            key = await self._patiently(self._made)
        key.used += uses
        return key

    async def to_read(self, wrapped: Iterable[bytes]) -> Mapping[bytes, AESGCM]:
        """Return the keys behind wrapped ones, asking OpenBao once for all it must be asked for.

        Raises:
            Refused: ``codec.payload``: one is none. ``codec.forbidden``: this session may not read. Held: No answer.
        """
        now = self._clock()
        found: dict[bytes, AESGCM] = {}
        missing: list[bytes] = []
        for one in dict.fromkeys(wrapped):
            if not _WRAPPED.fullmatch(one):
                raise Refused("an encrypted payload names no key", code="codec.payload")
            known = self._known.get(one)
            if known is not None and now - known[1] < self._keep:
                self._known.move_to_end(one)
                found[one] = known[0]
            else:
                missing.append(one)
        if missing:
            found |= await self._patiently(lambda: self._unwrapped(missing))
        return found

    async def _make(self) -> DataKey:
        answer = await self._vault().write(f"{MOUNT}/datakey/plaintext/{NAME}")
        data = (answer or {}).get("data") or {}
        wrapped = str(data.get("ciphertext", "")).encode()
        cipher = _cipher(data.get("plaintext"))
        if not _WRAPPED.fullmatch(wrapped):
            raise Held("OpenBao gave no data key", code="vault.failed")
        now = self._clock()
        self._current = made = DataKey(wrapped, cipher, now)
        self._remember(wrapped, cipher, now)
        return made

    async def _unwrapped(self, wrapped: list[bytes]) -> dict[bytes, AESGCM]:
        items = [{"ciphertext": one.decode()} for one in wrapped]
        try:
            answer = await self._vault().write(f"{MOUNT}/decrypt/{NAME}", batch_input=items)
        except Refused as error:
            raise _unreadable(error) from None
        results = (answer or {}).get("data", {}).get("batch_results") or ()
        if len(results) != len(wrapped):
            raise Held("OpenBao unwrapped other keys than it was asked for", code="vault.failed")
        now = self._clock()
        found = {}
        for one, result in zip(wrapped, results, strict=True):
            found[one] = _cipher(result.get("plaintext"))
            self._remember(one, found[one], now)
        return found

    def _remember(self, wrapped: bytes, cipher: AESGCM, now: float) -> None:
        self._known[wrapped] = (cipher, now)
        self._known.move_to_end(wrapped)
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    async def _patiently(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        until, pause = time.monotonic() + self._patience, 0.1
        while True:
            try:
                return await ask()
            except Held:
                if time.monotonic() + pause > until:
                    raise
            await asyncio.sleep(pause)
            pause = min(2.0, pause * 2)


def _serves(key: DataKey, uses: int, now: float, *, share: float = 1.0) -> bool:
    return now - key.made < LIFE_SECONDS * share and key.used + uses <= MOST_USES * share


def _cipher(encoded: Any) -> AESGCM:
    try:
        raw = base64.b64decode(str(encoded), validate=True)
    except ValueError:
        raw = b""
    if len(raw) != 32:
        raise Held("OpenBao gave no data key", code="vault.failed")
    return AESGCM(raw)


def _unreadable(error: Refused) -> Refused:
    if error.code == "vault.forbidden":
        return Refused(
            "this session may not read encrypted payloads",
            code="codec.forbidden",
            next_action="Who may is listed under `readers` in the catalogue; then run `remit bootstrap`.",
        )
    if error.code == "vault.rejected":
        return Refused("a payload was encrypted with a key that OpenBao does not know", code="codec.payload")
    return error
