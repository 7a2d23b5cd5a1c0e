"""No secret of an attempt is in any history, whatever its tool does with it."""

from __future__ import annotations

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.testing import WorkflowEnvironment

from tests.unit.temporal.authority import SECRET, Keeper
from tests.unit.temporal.conftest import Bench, bench


@pytest.mark.parametrize("case", [0, 1, 2])
async def test_a_tool_that_leaks_is_scrubbed(
    server: WorkflowEnvironment, keeper: Keeper, case: int, caplog: pytest.LogCaptureFixture
) -> None:
    keeper.credentials = True
    async with bench(server, keeper) as here:
        handle, _ = await here.start("Calls", [["data.leaks", {"dataset": "flights", "n": case}]])
        try:
            assert await handle.result() == [
                {"dsn": "postgres://u:[redacted]@h", "list": ["[redacted]"], "bytes": len(SECRET)}
            ]
            assert case == 0
        except WorkflowFailureError:
            assert case > 0
        assert SECRET not in (await handle.fetch_history()).to_json()
        assert SECRET not in str(await here.view(handle))
    assert SECRET not in caplog.text


async def test_a_tools_own_progress_survives_our_beats(here: Bench) -> None:
    handle, _ = await here.start("Calls", [["data.beats", {"dataset": "flights"}]])
    assert await handle.result() == [[{"row": 41}]]
