"""The doctor's look at the mapping of the folder it is run in."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from remit.catalogue import Catalogue
from remit.client.doctor import _mapping
from remit.policy import PolicyEngine

POLICIES = Path(__file__).parents[2] / "policies"


@pytest.fixture(scope="module")
def connection() -> Any:
    """What the check asks of a connection."""
    return SimpleNamespace(catalogue=Catalogue.load(POLICIES / "catalogue.yaml"), policy=PolicyEngine.load(POLICIES))


@pytest.mark.parametrize(
    ("text", "state", "says"),
    [
        ('ungoverned = ["acme.clock"]\nframeworks = ["mcp"]', "ok", "ungoverned: acme.clock"),
        ('[tools.q]\naction = "dataset:query"\nresource = "flihts"', "bad", "there is no resource 'flihts'"),
        ('[tool.q]\naction = "dataset:query"', "bad", "unknown key 'tool'"),
    ],
)
def test_a_mapping_is_judged(
    connection: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, state: str, says: str
) -> None:
    (tmp_path / "remit.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    (check,) = _mapping(connection)
    assert (check.name, check.state) == ("mapping", state)
    assert says in check.detail


@pytest.mark.parametrize("text", [None, 'task_queue = "agents"'])
def test_without_a_mapping_nothing_is_said(
    connection: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    if text is not None:
        (tmp_path / "remit.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert _mapping(connection) == []
