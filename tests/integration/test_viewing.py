"""What `remit show` says of a task that only waits for a part of it, and of one that no worker answers for."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from remit.assembly import Parts
from remit.client import Remit
from remit.settings import Settings

from .service import asks, job, serving, submit, until

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


async def test_a_task_that_no_worker_answers_for_is_shown_from_what_is_kept(settings: Settings) -> None:
    own = settings.model_copy(update={"task_queue": "viewed"})
    async with serving(own):
        done = await submit(own, job(f"[{asks('select 1 as n')}]"))
        denied = await submit(own, job(f"[{asks('select 1 as n').replace('flights', 'payroll')}]"))
        answered = [await until(own, done, "completed"), await until(own, denied, "failed")]
    async with Remit.open(own, person="alice") as alice:
        kept = [await alice.show(done), await alice.show(denied)]
    for now, before in zip(kept, answered, strict=True):
        for name in ("state", "root", "agent", "purpose", "chain", "steps", "result"):
            assert now[name] == before[name], name
    assert kept[0]["purpose"] == "delay-review"
    assert kept[1]["error"]["code"] == answered[1]["error"]["code"] == "policy.denied"
