"""Processes: started, told apart, stopped; real ones."""

from __future__ import annotations

import os
import signal
import stat
import sys
import time
from pathlib import Path
from threading import Event

import psutil
import pytest

from remit.embedded import process
from remit.embedded.process import Command, Identity
from remit.embedded.state import StateFolder
from remit.errors import RemitError


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    return StateFolder.open(tmp_path / "s")


def python(state: StateFolder, code: str, **more: object) -> Command:
    return Command("job", "the job", (sys.executable, "-c", code), state.path, **more)  # type: ignore[arg-type]


def test_it_gets_nothing_of_the_callers_environment(state: StateFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    running = process.start(python(state, "import os; print(sorted(os.environ))", environment={"X": "1"}), state)
    while running.alive():
        time.sleep(0.01)
    names = running.log.read_text()
    assert "'REMIT_STACK'" in names
    assert "'X'" in names
    assert "AWS" not in names
    assert stat.S_IMODE(running.log.stat().st_mode) == 0o600


def test_it_is_stopped_gently_first(state: StateFolder) -> None:
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('bye', flush=True), sys.exit(0)))\n"
        "print('up', flush=True)\ntime.sleep(60)"
    )
    running = process.start(python(state, code), state)
    running.wait_until(lambda: "up" in running.log.read_text(), seconds=10, abandoned=Event())
    running.stop()
    assert not running.alive()
    assert running.log.read_text().split() == ["up", "bye"]


def test_it_is_killed_when_it_does_not_listen(state: StateFolder) -> None:
    code = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up', flush=True)\ntime.sleep(60)"
    running = process.start(python(state, code, grace=0.2), state)
    running.wait_until(lambda: "up" in running.log.read_text(), seconds=10, abandoned=Event())
    running.stop()
    assert running.identity.process() is None


def test_one_that_ends_while_starting_says_why(state: StateFolder) -> None:
    running = process.start(python(state, "import sys; sys.exit('no such \\x1b[31mconfiguration')"), state)
    with pytest.raises(RemitError) as caught:
        running.wait_until(lambda: False, seconds=10, abandoned=Event())
    assert caught.value.code == "server.failed"
    assert "status 1" in caught.value.message
    assert "configuration" in caught.value.message
    assert "\x1b" not in caught.value.message
    assert str(running.log) in caught.value.next_action
    with pytest.raises(RemitError, match="soon after"):
        running.check_age()


@pytest.mark.parametrize("abandoned", [True, False])
def test_the_wait_is_bounded(state: StateFolder, abandoned: bool) -> None:
    given_up = Event()
    if abandoned:
        given_up.set()
    running = process.start(python(state, "import time; time.sleep(60)"), state)
    began = time.monotonic()
    with pytest.raises(RemitError):
        running.wait_until(lambda: False, seconds=60 if abandoned else 0.1, abandoned=given_up)
    assert time.monotonic() - began < 5
    running.stop()


def test_a_program_that_is_not_there_is_one_line(state: StateFolder) -> None:
    with pytest.raises(RemitError) as caught:
        process.start(Command("job", "the job", ("/nonexistent/job",), state.path), state)
    assert caught.value.code == "server.failed"
    assert "\n" not in caught.value.message


def test_another_process_with_its_id_is_not_it() -> None:
    here = Identity.of(os.getpid())
    assert here.process() is not None
    assert Identity(here.pid, here.started - 60).process() is None
    assert Identity.parse(here.document()) == here


@pytest.mark.parametrize("document", [None, {}, {"pid": 0, "started": 1.0}, {"pid": "1", "started": 1.0}, [1]])
def test_no_identity_is_read_from_nonsense(document: object) -> None:
    assert Identity.parse(document) is None


def test_a_lost_one_is_found_by_its_mark_and_ended(state: StateFolder, tmp_path: Path) -> None:
    other = StateFolder.open(tmp_path / "other")
    ours = process.start(python(state, "import time; time.sleep(60)"), state)
    theirs = process.start(python(other, "import time; time.sleep(60)"), other)
    deadline = time.monotonic() + 10
    while not (found := process.marked(state)) and time.monotonic() < deadline:
        time.sleep(0.01)  # the mark is seen once it runs its program
    assert [item.pid for item in found] == [ours.identity.pid]
    process.end(found, grace=5)
    assert ours.identity.process() is None
    assert theirs.alive()
    theirs.stop()
    ours.stop()


def test_ending_what_is_gone_is_harmless(state: StateFolder) -> None:
    running = process.start(python(state, "pass"), state)
    item = psutil.Process(running.identity.pid)
    os.kill(running.identity.pid, signal.SIGKILL)
    running.stop()
    process.end([item], grace=1)


def test_a_long_log_is_moved_aside(state: StateFolder) -> None:
    log = process.open_log(state, "job")
    with log.open("wb") as file:
        file.truncate(17 * 2**20)
    assert process.open_log(state, "job").stat().st_size == 0
    assert (state.path / "logs" / "job.log.1").stat().st_size == 17 * 2**20
