"""What a person's commands reach: policies, OpenBao as that person, Temporal. Each is opened when first asked for.

- OpenBao is always asked with the person's own session; what they may not do, OpenBao refuses as well.
- A chain that comes from the registry is verified in full before anything is read off it.
- Temporal is told and asked, never believed: what must be true is in the registry.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from remit import cascade
from remit.assembly import load_policy, open_vault, temporal_client
from remit.chains import Chains
from remit.client.login import PersonLogin
from remit.errors import Held, Refused
from remit.principals import Principal
from remit.registry import Registry
from remit.session import Sessions
from remit.standing import Standing
from remit.toolbox import announced
from remit.vault import TransitSigner

if TYPE_CHECKING:
    from temporalio.client import Client

    from remit.catalogue import Catalogue
    from remit.chain import Chain
    from remit.policy import PolicyEngine
    from remit.settings import Settings
    from remit.vault import Vault

CONNECT_SECONDS = 5.0


class Connection:
    """One person's way to everything.

    Args:
        settings: Addresses and folders.
        person: Name; None: whoever logged in last.
        clock: Unix seconds.
    """

    def __init__(
        self, settings: Settings, person: str | None = None, *, clock: Callable[[], float] = time.time
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.sessions = Sessions(settings.home)
        self._person = person
        self._temporal: Client | None = None
        self._connecting = asyncio.Lock()

    @cached_property
    def policy(self) -> PolicyEngine:
        """The policies.

        Raises:
            PolicyInvalid, Usage: They cannot be used.
        """
        return load_policy(self.settings)[1]

    @property
    def catalogue(self) -> Catalogue:
        """Who and what there is."""
        return self.policy.catalogue

    @cached_property
    def principal(self) -> Principal:
        """Who acts.

        Raises:
            Refused: ``login.needed``. Usage: ``catalogue.unknown``.
        """
        return self.catalogue.principal(f"user/{self.sessions.who(self._person)}")

    @property
    def tools(self) -> frozenset[str] | None:
        """Names of the tools workers of this state folder run; None where none has said."""
        return announced(self.settings.home)

    @property
    def audience(self) -> str:
        """``remit:<trust-domain>``."""
        return f"remit:{self.catalogue.trust_domain}"

    @cached_property
    def vault(self) -> Vault:
        """OpenBao with this person's session."""
        name, address = self.principal.name, self.settings.openbao_address
        return open_vault(self.settings, PersonLogin(self.sessions, name, address=address, clock=self.clock))

    @cached_property
    def registry(self) -> Registry:
        """The registry, as this person sees it."""
        return Registry(self.vault)

    @cached_property
    def standing(self) -> Standing:
        """Who and what is live."""
        return Standing(self.registry, audience=self.audience, stops=self.stops, clock=self.clock)

    @cached_property
    def chains(self) -> Chains:
        """Verified chains."""
        return Chains(
            self.registry,
            standing=self.standing,
            audience=self.audience,
            groups=self.policy.groups,
            clock=self.clock,
        )

    def stops(self, who: Principal, whose: Principal) -> bool:
        """Tell whether policy lets this user stop what is this principal's."""
        return self.policy.stops(who, whose)

    async def signer(self) -> TransitSigner:
        """Return the signer of this person's own key.

        Raises:
            Refused: ``principal.unknown``. Held: OpenBao did not answer.
        """
        record = await self.registry.principal(self.principal)
        if record is None:
            raise Refused(
                f"the directory has no key of {self.principal.short}",
                code="principal.unknown",
                next_action="Run `remit bootstrap`.",
            )
        return TransitSigner(self.vault, name=record.signing_key, key=record.key)

    async def chain(self, jti: str) -> Chain:
        """Return the verified chain down to a delegation, whatever its standing and age.

        Raises:
            Refused: ``delegation.unknown``. InvalidDocument: It breaks a rule. Held: No answer.
        """
        return await self.chains.down_to(jti, epoch=await self.standing.epoch())

    async def temporal(self) -> Client:
        """Return the Temporal client.

        Raises:
            Held: ``temporal.unreachable``.
        """
        from remit.temporal import RemitPlugin

        async with self._connecting:
            if self._temporal is None:
                try:
                    async with asyncio.timeout(CONNECT_SECONDS):
                        self._temporal = await temporal_client(
                            self.settings,
                            vault=lambda: self.vault,
                            plugins=[RemitPlugin(ungoverned=[cascade.WORKFLOW])],
                        )
                except (TimeoutError, OSError):
                    raise unreachable() from None
        return self._temporal

    async def close(self) -> None:
        """End the connections."""
        vault: Any = self.__dict__.get("vault")
        if vault is not None:
            await vault.close()


def unreachable() -> Held:
    """Return the error of a Temporal that does not answer."""
    return Held(
        "Temporal does not answer",
        code="temporal.unreachable",
        next_action="Start the stack with `remit dev`, or look with `remit doctor`.",
    )
