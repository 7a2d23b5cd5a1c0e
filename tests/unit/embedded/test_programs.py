"""Finding the servers' programs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from remit.embedded import programs
from remit.errors import RemitError


def test_the_real_ones_are_found() -> None:
    for name in ("bao", "temporal"):
        assert programs.program(name).is_absolute()
        assert programs.program(name).exists()
    assert (programs.postgres_programs() / "initdb").exists()


def test_the_interpreters_own_folder_comes_before_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("beside", "path"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "bao").write_text("#!/bin/sh\n")
        (tmp_path / folder / "bao").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "beside" / "python"))
    assert programs.program("bao") == tmp_path / "beside" / "bao"


def test_path_is_searched_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "remit-program").write_text("#!/bin/sh\n")
    (tmp_path / "remit-program").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert programs.program("remit-program") == tmp_path / "remit-program"


@pytest.mark.parametrize("look", [programs.program, programs.package])
def test_a_missing_one_names_the_extra(look: object) -> None:
    assert callable(look)
    with pytest.raises(RemitError) as caught:
        look("remit_no_such_thing")
    assert caught.value.code == "embedded.missing"
    assert "remit_no_such_thing" in caught.value.message
    assert "remit[embedded]" in caught.value.next_action
