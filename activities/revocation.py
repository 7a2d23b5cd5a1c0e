"""The cascade's activities: read a statement, carry it on for one round, record how it ended.

- They act with the authority's rights on what the registry says, never on what a workflow was started with.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from temporalio import activity

from activities.outages import held
from remit.assembly import Parts
from remit.cascade import BEGIN, COMPLETE, ROUND, Begun, Progress
from remit.cascading import Cascading
from remit.chains import Chains


class Revocations:
    """What a worker runs for cascades.

    Args:
        parts: Its authority's parts.
    """

    def __init__(self, parts: Parts) -> None:
        self._cascading = Cascading(
            registry=parts.registry,
            vault=parts.vault,
            standing=parts.authority.standing,
            chains=Chains(
                parts.registry,
                standing=parts.authority.standing,
                audience=parts.authority.audience,
                groups=parts.policy.groups,
                clock=time.time,
            ),
            audit=parts.audit,
            trust_domain=parts.catalogue.trust_domain,
            client=activity.client,
            clock=time.time,
        )

    @property
    def activities(self) -> list[Callable[..., Any]]:
        """What to register."""
        return [self.begin, self.round, self.complete]

    @activity.defn(name=BEGIN)
    async def begin(self, statement: str) -> Begun:
        """Read and verify a statement; make sure that it is in force."""
        with held():
            return await self._cascading.begin(statement)

    @activity.defn(name=ROUND)
    async def round(self, statement: str, begun: Begun, everyone: bool) -> Progress:
        """Do what is left to do, and tell what that was."""
        with held():
            return await self._cascading.round(statement, begun, everyone=everyone)

    @activity.defn(name=COMPLETE)
    async def complete(self, statement: str, record: dict[str, Any]) -> None:
        """Record how the cascade ended."""
        with held():
            await self._cascading.complete(statement, record)
