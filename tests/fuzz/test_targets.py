"""The fuzz target is what it says: valid seeds, every reader reached, and a fault is a find."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import pytest

from remit import chain, strictjson

from . import targets


def test_every_reader_has_valid_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[Any] = []
    real = targets.oracle.judge
    monkeypatch.setattr(targets.oracle, "judge", lambda *args, **more: judged.append(real(*args, **more)) or judged[-1])
    read = set()
    for seed in targets.seeds():
        targets.run(seed)
        read.add(list(targets.READERS)[seed[0]])
    assert read == set(targets.READERS)
    assert len(judged) == 8 * 3 + 1
    assert all(judgement.valid for judgement in judged)


@pytest.mark.parametrize(
    "data", [b"", b"\x00", b"\x01\xff", b"\x07{}", b'\x07{"links":[7]}', b"\x0d[]\n\n{}", b"\xff" * 99]
)
def test_junk_is_no_find(data: bytes) -> None:
    targets.run(data)


def test_a_check_that_is_gone_is_a_find(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "_check_parent_hash", lambda *_: None)
    (seed,) = (one for one in targets.seeds() if list(targets.READERS)[one[0]] == "chain" and one.count(b"\n") == 1)
    with pytest.raises(targets.Find, match="oracle"):
        targets.run(seed.replace(b'"@"', b'"' + b"A" * 43 + b'"'))


@pytest.mark.parametrize("error", [ValueError, RecursionError, MemoryError])
def test_any_other_error_is_a_find(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    def broken(_: bytes) -> Any:
        raise error

    monkeypatch.setattr(strictjson, "loads", broken)
    with pytest.raises(error):
        targets.run(b"\x01{}")


def test_slow_is_a_find(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "MOST_SECONDS", -1)
    with pytest.raises(targets.Find, match="bytes"):
        targets.run(b"\x01{}")


@pytest.mark.skipif(find_spec("atheris") is not None, reason="atheris is here")
def test_it_says_what_is_missing() -> None:
    ended = subprocess.run([sys.executable, "-m", "tests.fuzz"], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "atheris is not installed" in ended.stderr
