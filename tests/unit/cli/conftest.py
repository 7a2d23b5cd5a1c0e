"""Runs the command line in this process, without its exit."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from remit.cli import terminal
from remit.cli.entry import run
from remit.cli.options import BEFORE


@dataclass(frozen=True)
class Result:
    status: int
    out: str
    err: str

    def document(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def remit(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Callable[..., Result]:
    """Return a function that runs ``remit ARGUMENTS`` in a home of its own."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("REMIT_HOME", str(tmp_path / "home"))
    for name in ("BAO_TOKEN", "VAULT_TOKEN", "REMIT_DEBUG"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments: str) -> Result:
        terminal.reset()
        token = BEFORE.set(BEFORE.get())
        capsys.readouterr()
        try:
            status = run([str(argument) for argument in arguments])
        finally:
            BEFORE.reset(token)
            terminal.reset()
        captured = capsys.readouterr()
        return Result(status, captured.out, captured.err)

    return call
