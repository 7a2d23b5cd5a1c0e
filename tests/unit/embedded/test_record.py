"""The record of a running stack, believed only as far as its processes are there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from remit.embedded.process import Identity
from remit.embedded.record import Record, running
from remit.embedded.state import StateFolder
from remit.errors import Held

HERE = Identity.of(os.getpid())


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    return StateFolder.open(tmp_path / "s")


@pytest.fixture
def gone() -> Identity:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        return Identity.of(child.pid)


def record(**changes: Any) -> Record:
    values = {"ready": True, "port_base": 28200, "owner": HERE, "processes": {"openbao": HERE}, "addresses": {"a": "b"}}
    return Record(**{**values, **changes})


def test_it_is_read_as_it_was_written(state: StateFolder) -> None:
    record().write(state)
    assert Record.read(state) == record()
    assert running(state.path) == record()
    Record.remove(state)
    Record.remove(state)
    assert Record.read(state) is None


def test_one_process_down_is_named_and_no_stop(state: StateFolder, gone: Identity) -> None:
    record(processes={"openbao": HERE, "temporal": gone}).write(state)
    assert running(state.path).down() == ["temporal"]


def test_all_down_not_ready_or_never_started_is_stopped(state: StateFolder, gone: Identity, tmp_path: Path) -> None:
    homes = [tmp_path / "never", state.path]
    for written in (None, record(ready=False), record(processes={"openbao": gone}), record(processes={})):
        if written:
            written.write(state)
        for home in homes:
            with pytest.raises(Held) as caught:
                running(home)
            assert caught.value.code == "stack.stopped"
            assert "remit dev" in caught.value.next_action
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize(
    "change", [{"ready": 1}, {"owner": None}, {"processes": {"x": {"pid": 1}}}, {"port_base": None}, {"addresses": []}]
)
def test_nonsense_is_no_record(state: StateFolder, change: dict[str, object]) -> None:
    record().write(state)
    state.write_json("stack.json", {**state.read_json("stack.json"), **change})
    assert Record.read(state) is None
