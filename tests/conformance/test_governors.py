"""Remit holds every scenario; what does not govern fails exactly where it must."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

import pytest

from remit.conformance import Governor
from remit.conformance.report import as_text
from remit.conformance.scenarios import SCENARIOS
from remit.conformance.suite import Report, Verdict, run
from remit.embedded import Stack
from remit.settings import Settings

from .others import naive, ungoverned
from .remit_governor import opened

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


def verdicts(report: Report) -> dict[Verdict, set[str]]:
    return {verdict: set(report.of(verdict)) for verdict in Verdict}


async def test_remit_holds_every_scenario(stack: Stack, settings: Settings) -> None:
    def adapter(address: str, namespace: str) -> AbstractAsyncContextManager[Governor]:
        return opened(settings)

    report = await run(adapter, address=stack.temporal.address)
    assert report.held, as_text(report)
    assert verdicts(report)[Verdict.HELD] == set(SCENARIOS)


async def test_a_plain_worker_keeps_only_what_needs_no_governor(stack: Stack) -> None:
    report = await run(ungoverned, address=stack.temporal.address)
    found = verdicts(report)
    assert found[Verdict.NOT_SUPPORTED] == LACKING
    assert found[Verdict.HELD] == HARMLESS, as_text(report)
    assert found[Verdict.VIOLATED] == set(SCENARIOS) - LACKING - HARMLESS
    assert not report.held


async def test_a_check_at_workflow_start_keeps_only_what_passes_a_start(stack: Stack) -> None:
    report = await run(naive, address=stack.temporal.address)
    found = verdicts(report)
    assert found[Verdict.HELD] == HARMLESS | AT_A_START, as_text(report)
    assert found[Verdict.VIOLATED] == set(SCENARIOS) - LACKING - HARMLESS - AT_A_START
