"""Reaping: the activity behind the workflow `Reaper`. It carries no agent's authority, only the authority's own."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from temporalio import activity

from activities.outages import held
from remit import cascading
from remit.assembly import Parts
from remit.bootstrap.policies import database_mounts, leased_paths
from remit.reaping import ACTIVITY
from remit.reaping.cascades import Cascades
from remit.reaping.leases import GRACE_SECONDS, Leases
from remit.reaping.reaper import Reaper
from remit.reaping.users import Users

BEAT_SECONDS = 2.0


class Reconciling:
    """Reconciles with one worker's authority.

    Args:
        parts: The worker's parts.
        grace: Seconds something young is left alone.
    """

    def __init__(self, parts: Parts, *, grace: float = GRACE_SECONDS) -> None:
        mounts = database_mounts(parts.catalogue)
        self._reaper = Reaper(
            leases=Leases(
                parts.vault,
                parts.registry,
                paths=leased_paths(parts.catalogue),
                describe=parts.authority.describe,
                clock=time.time,
                grace=grace,
            ),
            users=Users(
                parts.vault,
                {mount: dsn for mount, dsn in parts.settings.postgres.items() if mount in mounts},
                grace=grace,
            ),
            cascades=Cascades(parts.registry, self._start, clock=time.time, patience=grace),
            audit=parts.audit,
        )

    @activity.defn(name=ACTIVITY)
    async def reconcile(self) -> dict[str, Any]:
        """Run once; return the report."""
        beating = asyncio.create_task(_beat())
        try:
            with held():
                return await self._reaper.run()
        finally:
            beating.cancel()

    async def _start(self, statement: str) -> bool:
        return await cascading.start(activity.client(), statement, task_queue=activity.info().task_queue)


async def _beat() -> None:
    """Beat, so that a run whose worker was killed is begun again soon: it is what finds that worker's leases."""
    while True:
        activity.heartbeat()
        await asyncio.sleep(BEAT_SECONDS)
