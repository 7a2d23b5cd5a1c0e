"""Every example that is there, from permit to resume, as `python -m examples` shows it."""

from __future__ import annotations

import importlib.util
import io
from dataclasses import replace

import pytest
from rich.console import Console

from examples import acts, running
from examples.acts import ACTS
from examples.running import NAMES
from examples.stage import show
from remit.demo.telling import NotHeld
from remit.embedded import Stack
from remit.settings import Settings

pytestmark = [
    pytest.mark.servers,
    pytest.mark.filterwarnings("ignore:Cannot find activity to cancel"),
    # What the frameworks and Temporal's own converter do with pydantic.
    pytest.mark.filterwarnings("ignore:The `dict` method is deprecated"),
    pytest.mark.filterwarnings("ignore:.*is deprecated; use:DeprecationWarning"),
]

THERE = [name for name in NAMES if importlib.util.find_spec(f"examples.{name}") is not None]


def test_each_example_is_there() -> None:
    assert set(THERE) == set(NAMES)


@pytest.mark.parametrize("name", THERE)
async def test_an_example_shows_every_act(name: str, stack: Stack, settings: Settings) -> None:
    console = Console(file=io.StringIO(), width=150, highlight=False, markup=False, emoji=False)
    try:
        observed = await show(name, settings, stack, console)
    finally:
        print(console.file.getvalue())  # noqa: T201 - what was seen until it failed
    assert observed == set(ACTS)
    assert "✗" not in console.file.getvalue()


async def test_only_what_was_observed_gets_a_tick(
    stack: Stack, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent that was handed no right to read: the first act does not hold, and none after it is claimed."""
    handed = replace(running.TERMS, scope=replace(running.TERMS.scope, actions=("report:publish", "model:invoke")))
    monkeypatch.setattr(running, "TERMS", handed)
    monkeypatch.setattr(acts, "WAIT_SECONDS", 5.0)
    console = Console(file=io.StringIO(), width=150)
    with pytest.raises(NotHeld):
        await show("mcp", settings, stack, console)
    assert console.file.getvalue().split()[-10:] == [part for act in ACTS for part in (act, "✗")]
