"""PostgreSQL: connections as the user that was minted for the running attempt.

- For whatever opens its own connections: a driver, or a library that takes a creator. No pool may stand between, for
  it would hand one attempt's session to the next: SQLAlchemy needs ``poolclass=NullPool``.
- Needs psycopg 3.
"""

from __future__ import annotations

from typing import Any

import psycopg

from remit.credentials import current_credential


def dsn() -> str:
    """Return the connection string, now.

    Raises:
        Refused: ``credential.none`` outside an attempt.
    """
    return current_credential()["dsn"]


def connect(**options: Any) -> psycopg.Connection[Any]:
    """Open a connection; as a creator it needs no argument.

    Args:
        options: As of `psycopg.connect`.

    Raises:
        Refused: ``credential.none`` outside an attempt.
    """
    return psycopg.connect(dsn(), **options)


async def connect_async(**options: Any) -> psycopg.AsyncConnection[Any]:
    """Open an asynchronous connection; see `connect`."""
    return await psycopg.AsyncConnection.connect(dsn(), **options)
