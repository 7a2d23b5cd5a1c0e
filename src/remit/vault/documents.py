"""Documents: JSON records in a KV v2 mount, written once or by compare-and-set.

- `create` never overwrites, `replace` only what was read: two writers cannot both win.
- A record that is gone stays gone: what was deleted reads as absent and cannot be created again by this class.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from remit.errors import Refused
from remit.vault import answers
from remit.vault.client import Vault


class Documents:
    """The records of one mount.

    Args:
        vault: OpenBao.
        mount: A KV v2 mount.
    """

    def __init__(self, vault: Vault, mount: str) -> None:
        self._vault = vault
        self._data = f"{mount}/data/"
        self._names = f"{mount}/metadata/"

    async def get(self, path: str) -> dict[str, Any] | None:
        """Return a record; None when there is none."""
        return (await self.versioned(path))[0]

    async def versioned(self, path: str) -> tuple[dict[str, Any] | None, int]:
        """Return a record and its version; None and 0 when there is none."""
        answer = await self._vault.read(self._data + path)
        if answer is None:
            return None, 0
        data = answer["data"]
        return data["data"], int(data["metadata"]["version"])

    async def create(self, path: str, record: Mapping[str, Any]) -> bool:
        """Write a record that must not be there yet; tell whether it was written.

        A policy with ``create`` alone answers a second write with 403, not with a conflict: then the record decides.
        """
        try:
            return await self.replace(path, record, version=0)
        except Refused as error:
            if error.code == "vault.forbidden" and await self.get(path) is not None:
                return False
            raise

    async def replace(self, path: str, record: Mapping[str, Any], *, version: int) -> bool:
        """Write a record whose present version is this; tell whether it was."""
        where = self._data + path
        status, body = await self._vault.call("POST", where, {"data": record, "options": {"cas": version}})
        if answers.is_conflict(status, body):
            return False
        if status == 404:
            raise Refused(f"write {where}: no such mount", code="vault.absent", next_action="Run `remit bootstrap`.")
        answers.read(status, body, asked=f"write {where}")
        return True

    async def put(self, path: str, record: Mapping[str, Any]) -> None:
        """Write a record, whatever was there."""
        await self._vault.write(self._data + path, data=record)

    async def names(self, path: str) -> list[str]:
        """Return the names under a path, folders with a trailing slash."""
        return await self._vault.list(self._names + path)
