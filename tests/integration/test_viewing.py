"""What `remit show` says of a task that does nothing but wait for a part of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from remit.assembly import Parts
from remit.client import Remit
from remit.settings import Settings

from .service import job, serving, submit, until

pytestmark = [pytest.mark.servers, pytest.mark.filterwarnings("ignore:Cannot find activity to cancel")]

PART = """{delegate: {agent: report-writer,
  delegation: {actions: ["report:publish"], spaces: [flights], budget: 10, expires_in: 30m, max_depth: 2},
  steps: [{tool: report.publish, input: {table: viewed, sql: "select 1 as n"}}]}}"""


@pytest.fixture(scope="module")
async def worker(settings: Settings) -> AsyncIterator[Parts]:
    async with serving(settings) as parts:
        yield parts


async def test_a_task_shows_what_its_part_waits_for(settings: Settings, worker: Parts) -> None:
    task = await submit(settings, job(f"[{' '.join(PART.split())}]", on_revocation="{wait: 1h}"))
    part = f"{task}-1-report-writer"
    assert (await until(settings, task, "waiting-approval"))["waiting"]["task"] == part
    async with Remit.open(settings, person="alice") as alice:
        await alice.revoke(part, "only the part")
        await until(settings, part, "suspended")
        shown = await until(settings, task, "suspended")
        assert shown["stopped"]["task"] == part
        assert shown["stopped"]["waits_for"] == "a fresh delegation"
        assert shown["stopped"]["message"].startswith(f"{part}: ")
        assert [link["status"] for link in shown["chain"]] == ["live"]
        await alice.resume(part)
        await until(settings, part, "waiting-approval")
        assert "stopped" not in await until(settings, task, "running"), "its part is not stopped any more"
        await alice.revoke(task, "clean up")
        stopped = await until(settings, task, "suspended")
        assert "task" not in stopped["stopped"], "its own chain is what stops it now"
        await alice.revoke(part, "clean up")
