"""Histories recorded by earlier versions, and by a worker without the plugin, replay with this one.

The replayer has no authority, no presenter and no tools: whatever a workflow does comes from headers and recorded
results, so a policy that has changed since changes no command.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from remit.temporal import RemitPlugin
from tests.replay.record import WORKFLOWS

HISTORIES = {path.stem: json.loads(path.read_text()) for path in (Path(__file__).parent / "histories").glob("*.json")}


def test_there_are_histories() -> None:
    assert len(HISTORIES) >= 20


@pytest.mark.parametrize("name", sorted(HISTORIES))
async def test_a_recorded_history_replays(name: str) -> None:
    history = HISTORIES[name]
    plugin = RemitPlugin(ungoverned=["model.*", "plan.next"])
    replayer = Replayer(workflows=WORKFLOWS, plugins=[plugin])
    await replayer.replay_workflow(WorkflowHistory.from_json(history["id"], {"events": history["events"]}))
