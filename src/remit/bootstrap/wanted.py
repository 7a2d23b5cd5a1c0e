"""Wanted: makes OpenBao be as wanted, and notes what had to change.

- Everything is read first and written only when it differs, so a second run writes nothing.
- What cannot be read back (passwords, keys) is written only together with something that differs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from remit.errors import Refused
from remit.vault import Vault

_UPGRADING_TRIES = 50


class Wanted:
    """One run over one server.

    Args:
        vault: A session with the operator's rights.
    """

    def __init__(self, vault: Vault) -> None:
        self.vault = vault
        self.changed: list[str] = []
        self.warnings: list[str] = []

    async def mounts(self, wanted: Mapping[str, tuple[str, Mapping[str, str]]]) -> None:
        """Mount secret engines: path to type and options.

        Raises:
            Refused: ``bootstrap.mount``: something else is mounted there.
        """
        present = await self._data("sys/mounts")
        for path, (kind, options) in wanted.items():
            held = present.get(f"{path}/")
            if held is None:
                await self.vault.write(f"sys/mounts/{path}", type=kind, options=dict(options))
                self.changed.append(f"mount {path}")
                if options.get("version") == "2":
                    await self._upgraded(path)
            elif (held["type"], (held.get("options") or {}).get("version", "1")) != (kind, options.get("version", "1")):
                raise _other(path, kind)

    async def auth(self, wanted: Mapping[str, str]) -> dict[str, str]:
        """Mount login methods, path to type; return the accessor of each.

        Raises:
            Refused: ``bootstrap.mount``: something else is mounted there.
        """
        present = await self._data("sys/auth")
        for path, kind in wanted.items():
            held = present.get(f"{path}/")
            if held is None:
                await self.vault.write(f"sys/auth/{path}", type=kind)
                self.changed.append(f"login {path}")
            elif held["type"] != kind:
                raise _other(path, kind)
        if any(f"{path}/" not in present for path in wanted):
            present = await self._data("sys/auth")
        return {path: str(present[f"{path}/"]["accessor"]) for path in wanted}

    async def policy(self, name: str, text: str) -> None:
        """Write a policy."""
        answer = await self.vault.read(f"sys/policies/acl/{name}")
        if answer is None or answer["data"]["policy"] != text:
            await self.vault.write(f"sys/policies/acl/{name}", policy=text)
            self.changed.append(f"policy {name}")

    async def settings(
        self,
        path: str,
        wanted: Mapping[str, Any],
        *,
        secret: Mapping[str, Any] | None = None,
        within: str = "",
        label: str = "",
    ) -> bool:
        """Write settings when one of them differs; tell whether they were written.

        Args:
            wanted: What can be read back.
            secret: What is written along with it and cannot be.
            within: Member of the answer some of them are in.
            label: How the change is noted; default: the path.
        """
        answer = await self.vault.read(path)
        data = {} if answer is None else answer["data"]
        held = {**data, **(data.get(within) or {})} if within else data
        if answer is not None and all(_plain(held.get(name)) == _plain(value) for name, value in wanted.items()):
            return False
        await self.vault.write(path, **wanted, **(secret or {}))
        self.changed.append(label or path)
        return True

    async def _data(self, path: str) -> dict[str, Any]:
        answer = await self.vault.read(path)
        return {} if answer is None else dict(answer["data"])

    async def _upgraded(self, path: str) -> None:
        """Wait until a new KV v2 mount serves requests."""
        for _ in range(_UPGRADING_TRIES):
            status, _body = await self.vault.call("GET", f"{path}/config")
            if status == 200:
                return
            await asyncio.sleep(0.05)


def _plain(value: Any) -> Any:
    """Return a value as it compares: texts without the blanks servers trim, lists as they are."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _other(path: str, kind: str) -> Refused:
    return Refused(
        f"something other than {kind} is mounted at {path}/",
        code="bootstrap.mount",
        next_action="Move it, or give Remit a namespace of its own (REMIT_OPENBAO_NAMESPACE).",
    )
