"""Keys: callables for clients that ask for their API key before each request, such as OpenAI's.

- Such a client may keep the last key it was given; `remit.delivery.httpx2` gives it none to keep.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from remit.credentials import current_credential


def api_key(field: str = "token") -> Callable[[], Awaitable[str]]:
    """Return what an asynchronous client can ask for its key.

    Args:
        field: Field of the credential.

    Returns:
        A callable that raises `Refused`, ``credential.none`` outside an attempt.
    """

    async def ask() -> str:
        return current_credential()[field]

    return ask


def sync_api_key(field: str = "token") -> Callable[[], str]:
    """Return what a synchronous client can ask for its key; see `api_key`."""
    return lambda: current_credential()[field]
