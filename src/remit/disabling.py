"""Disabling: a stopped principal cannot sign or log in either, until it is reinstated.

- The signed statement stops every chain through the principal; this is the second lock, in OpenBao itself: the
  entity's sessions are refused, and its key signs nothing.
- Both locks are undone by reinstating. The authority may set and lift them and change nothing else of an identity.
- Soft deletion of keys is OpenBao's; under the `vault` profile the disabled entity alone is the second lock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from remit.errors import Refused
from remit.vault.paths import under

if TYPE_CHECKING:
    from remit.principals import Principal
    from remit.registry import Registry
    from remit.vault import Vault


class Disabling:
    """Locks principals out, and lets them in again.

    Args:
        vault, registry: With the authority's session.
    """

    def __init__(self, vault: Vault, registry: Registry) -> None:
        self._vault = vault
        self._registry = registry

    async def apply(self, principal: Principal, *, stopped: bool) -> bool:
        """Lock a principal out or let it in; tell whether it is known to the directory. May be repeated.

        Raises:
            Refused: OpenBao does not let the authority do it. Held: OpenBao did not answer.
        """
        record = await self._registry.principal(principal)
        if record is None:
            return False
        await self._vault.write(under("identity/entity/id", record.signing_key), disabled=stopped)
        if self._vault.profile == "openbao":
            await self._key(record.signing_key, deleted=stopped)
        return True

    async def _key(self, name: str, *, deleted: bool) -> None:
        path = under("transit/keys", name)
        if deleted:
            await self._vault.delete(f"{path}/soft-delete")
            return
        try:
            await self._vault.write(f"{path}/soft-delete-restore")
        except Refused as error:
            if error.code != "vault.rejected":  # OpenBao's word for a key that is not deleted
                raise
