"""Users: minted PostgreSQL users that outlived their lease are ended, with their sessions.

- OpenBao moves a user's ``VALID UNTIL`` with every renewal of its lease, so a user whose time has passed has no lease
  that anybody still holds, whatever OpenBao could not do at the time.
- It is done as a user that OpenBao makes for this run, which may call the functions of `remit.reaping.sweep` and
  nothing else; they end only expired users that the manager made.
- Shutting out is committed before sessions are ended, so none is opened in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

import psycopg
from psycopg import AsyncConnection

from remit.errors import Held, RemitError
from remit.reaping import report
from remit.reaping.leases import GRACE_SECONDS
from remit.reaping.sweep import ROLE

if TYPE_CHECKING:
    from remit.reaping.report import Findings
    from remit.vault import Vault

LONGEST_SECONDS = 20.0
"""Longest use of one sweeping user: its lease is never old enough for another run to take it for an orphan."""


class Users:
    """Ends users of the databases OpenBao mints in.

    Args:
        vault: OpenBao with the authority's session.
        databases: Connection strings without user, by the mount that makes their users.
        grace: Seconds since a user's time passed.
    """

    def __init__(self, vault: Vault, databases: Mapping[str, str], *, grace: float = GRACE_SECONDS) -> None:
        self._vault = vault
        self._databases = databases
        self._grace = timedelta(seconds=grace)

    async def reap(self, found: Findings) -> None:
        """End what has expired in every database; what does not answer is noted."""
        await asyncio.gather(*(self._database(mount, dsn, found) for mount, dsn in self._databases.items()))

    async def _database(self, mount: str, dsn: str, found: Findings) -> None:
        try:
            made = await self._vault.read(f"{mount}/creds/{ROLE}")
        except RemitError as error:
            # OpenBao answers for PostgreSQL here: a role or group that is not there was never set up.
            if isinstance(error, Held) and "does not exist" not in error.message:
                found.unreachable[mount] = error.code
            else:
                found.not_set_up[mount] = error.code
            return
        if made is None:
            found.not_set_up[mount] = "vault.absent"
            return
        data = made["data"]
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                await self._sweep(f"{dsn} user={data['username']} password={data['password']}", found)
        except TimeoutError:
            found.unreachable[mount] = "postgres.timeout"
        except psycopg.OperationalError as error:
            found.unreachable[mount] = _code(error)
        except psycopg.Error as error:
            found.not_set_up[mount] = _code(error)
        finally:
            await asyncio.shield(self._end(str(made["lease_id"]), found))

    async def _sweep(self, dsn: str, found: Findings) -> None:
        async with await AsyncConnection.connect(dsn, autocommit=True, connect_timeout=5) as connection:
            listed = await connection.execute("SELECT remit.expired_users(%s)", [self._grace])
            for (name,) in await listed.fetchall():
                try:
                    await connection.execute("SELECT remit.shut_out(%s)", [name])
                    ended = await (await connection.execute("SELECT remit.end_user(%s)", [name])).fetchone()
                except psycopg.OperationalError:
                    raise
                except psycopg.Error as error:
                    found.left(report.USERS, str(name), _code(error))
                else:
                    if ended and ended[0]:
                        found.did(report.USERS, str(name))

    async def _end(self, lease: str, found: Findings) -> None:
        try:
            await self._vault.write(f"sys/leases/revoke/{lease}", sync=True)
        except RemitError as error:
            found.left(report.REVOKED, report.digest(lease), error.code)


def _code(error: psycopg.Error) -> str:
    return f"postgres.{error.sqlstate or 'unreachable'}"
