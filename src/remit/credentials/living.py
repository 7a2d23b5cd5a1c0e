"""The secrets of the attempts that live in this process now, for whatever leaves it past their own scrubbing.

- They are here while their tool runs, in memory only, and nowhere afterwards.
- What an attempt raises is converted after it has ended, in its own task: that task alone still knows its secrets.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar

_LIVING: dict[str, tuple[str, ...]] = {}
_OWN: ContextVar[tuple[str, ...]] = ContextVar("remit_own_secrets", default=())


def begin(grant: str, secrets: Sequence[str]) -> None:
    """Remember an attempt's secrets until `end`, and in this task for good."""
    if secrets:
        _LIVING[grant] = tuple(secrets)
        _OWN.set(tuple(secrets))


def end(grant: str) -> None:
    """Forget them."""
    _LIVING.pop(grant, None)


def known() -> tuple[str, ...]:
    """Return every secret that must not leave this process now, with those of the attempt that this task was."""
    # A copy first: threads that run workflows ask while the event loop adds and removes.
    return tuple({*_OWN.get(), *(secret for one in _LIVING.copy().values() for secret in one)})
