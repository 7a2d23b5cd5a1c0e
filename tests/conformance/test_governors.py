"""Remit holds every scenario; what governs less fails exactly where it must."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import pytest

from remit.conformance import Adapter, Governor
from remit.conformance.report import as_text
from remit.conformance.scenarios import SCENARIOS
from remit.conformance.suite import Report, Verdict, run
from remit.embedded import Stack
from remit.settings import Settings

from .others import idle, naive, ungoverned
from .readme import example
from .remit_governor import RemitGovernor, Untold, opened

# Temporal tells a worker to cancel what it just finished; the SDK warns, and warnings are errors here.
pytestmark = [pytest.mark.servers, pytest.mark.filterwarnings("ignore:Cannot find activity to cancel")]

LACKING = {"waiting-for-approval", "approve-after-revoke", "resume-after-regrant"}
HARMLESS = {"live-grant", "siblings"}
"""Promises that a worker keeps by doing nothing."""
AT_A_START = {
    "before-start",
    "before-child-start",
    "during-child-start",
    "before-continue-as-new",
    "during-continue-as-new",
    "started-again-under-its-id",
}
"""Promises that are kept by asking whenever a workflow, child or run begins."""
AT_WORK = {
    "mid-tool-that-heartbeats",
    "mid-tool-that-is-silent",
    "mid-tool-on-a-thread",
    "many-at-once",
    "running-child",
    "mid-local-activity",
}
"""Promises that are broken by asking only before an attempt."""


@pytest.fixture(scope="module")
async def lesser(stack: Stack) -> list[Report]:
    """Judge a plain worker, one that asks at workflow starts, and the README's, beside each other."""
    kept = (HARMLESS, HARMLESS | AT_A_START, set(SCENARIOS) - LACKING - AT_WORK)
    adapters = (ungoverned, naive, example())
    address = stack.temporal.address
    return list(
        await asyncio.gather(*(judged(one, address, keeps=may) for one, may in zip(adapters, kept, strict=True)))
    )


async def judged(adapter: Adapter, address: str, *, keeps: set[str]) -> Report:
    """Judge a governor; what it seemed to keep for once is played again, for a promise broken once is broken."""
    report = await run(adapter, address=address)
    for _ in range(3):
        if not (lucky := set(report.of(Verdict.HELD)) - keeps):
            break
        again = {one.scenario: one for one in (await run(adapter, address=address, only=sorted(lucky))).results}
        report = replace(report, results=tuple(again.get(one.scenario, one) for one in report.results))
    return report


@pytest.fixture(scope="module")
async def governed(stack: Stack, settings: Settings) -> list[Report]:
    """Judge Remit as people use it, and where nobody is told of a revocation, beside each other."""

    def adapter(made: type[RemitGovernor]) -> Adapter:
        def open_it(address: str, namespace: str) -> AbstractAsyncContextManager[Governor]:
            return opened(settings, made)

        return open_it

    kinds = (RemitGovernor, Untold)
    return list(await asyncio.gather(*(run(adapter(kind), address=stack.temporal.address) for kind in kinds)))


def require(report: Report, *, held: set[str]) -> None:
    """Require these verdicts, and that every violation was seen after the revocation."""
    assert set(report.of(Verdict.NOT_SUPPORTED)) == LACKING
    assert set(report.of(Verdict.HELD)) == held, as_text(report)
    assert set(report.of(Verdict.VIOLATED)) == set(SCENARIOS) - LACKING - held
    for one in report.results:
        if one.verdict is Verdict.VIOLATED:
            assert "after the revocation" in one.observations[-1], as_text(report)
            assert one.last is not None
    assert not report.held


@pytest.mark.parametrize("which", [0, 1], ids=["told", "untold"])
async def test_remit_holds_every_scenario(governed: list[Report], which: int) -> None:
    report = governed[which]
    assert report.of(Verdict.HELD) == list(SCENARIOS), as_text(report)
    assert report.held


async def test_a_plain_worker_keeps_only_what_needs_no_governor(lesser: list[Report]) -> None:
    require(lesser[0], held=HARMLESS)


async def test_a_check_at_workflow_start_keeps_only_what_passes_a_start(lesser: list[Report]) -> None:
    require(lesser[1], held=HARMLESS | AT_A_START)


async def test_a_check_before_each_attempt_stops_nothing_that_runs(lesser: list[Report]) -> None:
    require(lesser[2], held=set(SCENARIOS) - LACKING - AT_WORK)


async def test_stopping_everything_keeps_no_promise(stack: Stack) -> None:
    report = await run(idle, address=stack.temporal.address, patience=1, bound=1)
    assert report.of(Verdict.HELD) == [], as_text(report)
    for one in report.results:
        if one.verdict is Verdict.VIOLATED:
            assert "under a live grant" in one.observations[-1], as_text(report)
