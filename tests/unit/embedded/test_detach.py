"""An owner in the background: what the caller learns of it."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import psutil
import pytest

from remit.embedded import detach
from remit.errors import Held, RemitError, Usage

OWNER = """
import os, sys, time
from pathlib import Path
from remit.embedded.process import Identity
from remit.embedded.record import Record
from remit.embedded.state import StateFolder
me = Identity.of(os.getpid())
Record(True, 28200, me, {"openbao": me}, {}).write(StateFolder.open(Path(sys.argv[1])))
time.sleep(60)
"""


def owner(code: str, home: Path) -> list[str]:
    return [sys.executable, "-c", code, str(home)]


def test_it_returns_once_the_stack_can_be_used_and_the_owner_lives_on(tmp_path: Path) -> None:
    record = detach(tmp_path / "s", owner(OWNER, tmp_path / "s"), seconds=20)
    process = record.owner.process()
    assert process is not None
    process.kill()
    process.wait(5)


@pytest.mark.parametrize(("status", "kind"), [(1, RemitError), (2, Usage), (3, Held)])
def test_the_owners_own_words_become_the_error(tmp_path: Path, status: int, kind: type[RemitError]) -> None:
    (tmp_path / "s" / "logs").mkdir(parents=True)
    (tmp_path / "s" / "logs" / "dev.log").write_text("an older failure [old.code]\n")
    code = (
        "import sys; print('starting'); "
        f"print('port 1 is in use [port.in-use]\\nChoose another.', file=sys.stderr); sys.exit({status})"
    )
    with pytest.raises(RemitError) as caught:
        detach(tmp_path / "s", owner(code, tmp_path / "s"), seconds=20)
    assert type(caught.value) is kind
    assert caught.value.diagnostics() == "port 1 is in use [port.in-use]\nChoose another."


def test_an_owner_that_just_ends_is_an_error_too(tmp_path: Path) -> None:
    with pytest.raises(RemitError) as caught:
        detach(tmp_path / "s", owner("print('hm')", tmp_path / "s"), seconds=20)
    assert caught.value.code == "server.failed"
    assert "hm" in caught.value.message


def test_one_that_is_too_slow_is_stopped(tmp_path: Path) -> None:
    before = {child.pid for child in psutil.Process().children()}
    began = time.monotonic()
    with pytest.raises(RemitError) as caught:
        detach(tmp_path / "s", owner("import time; time.sleep(60)", tmp_path / "s"), seconds=0.5)
    assert caught.value.code == "server.failed"
    assert time.monotonic() - began < 10
    left = [child for child in psutil.Process().children() if child.pid not in before]
    assert not [child for child in left if child.status() != psutil.STATUS_ZOMBIE]
