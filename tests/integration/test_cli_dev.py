"""`remit dev`: a stack and a worker of its own, in the background and in the foreground, from start to stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from remit.embedded import stop
from remit.embedded.ports import choose
from remit.embedded.process import marked
from remit.embedded.state import StateFolder

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "home"
    yield folder
    if folder.exists():
        stop(folder)


def started(home: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "remit.cli", *arguments, "--home", str(home)],
        cwd=REPOSITORY,
        env={**os.environ, "COLUMNS": "200"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def remit(home: Path, *arguments: str) -> tuple[int, str, str]:
    process = started(home, *arguments)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def test_in_the_background(home):
    base = str(choose(0).base)
    status, out, err = remit(home, "dev", "--detach", "--port-base", base, "--json")
    assert (status, err) == (0, "")
    document = json.loads(out)
    assert document["ready"] is True
    assert document["stack"]["temporal"] == f"127.0.0.1:{base}"
    assert home.stat().st_mode & 0o777 == 0o700
    assert json.loads(remit(home, "status", "--json")[1]) == document

    # usable at once: a worker takes the task
    job = str(REPOSITORY / "jobs" / "injected.yaml")
    status, out, _ = remit(home, "submit", job, "--wait", "--json", "--as", "alice")
    assert (status, json.loads(out)["error"]["code"]) == (1, "policy.denied")

    status, _, err = remit(home, "dev", "--port-base", base)
    assert (status, "[state.busy]" in err) == (1, True)

    assert remit(home, "stop")[0] == 0
    assert marked(StateFolder.open(home)) == []
    status, out, err = remit(home, "status", "--json")
    assert (status, json.loads(out)["ready"], "[stack.stopped]" in err) == (3, False, True)
    assert remit(home, "stop") == (0, f"Nothing was running in {home}.\n", "")


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_in_the_foreground(home, ending):
    process = started(home, "dev", "--port-base", "0")
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "")
    assert any(line.startswith("usable") for line in lines), process.communicate(timeout=30)
    process.send_signal(ending)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert marked(StateFolder.open(home)) == []


def test_interrupted_while_starting(home):
    process = started(home, "dev", "--port-base", "0")
    end = time.monotonic() + 60
    while not (home / "stack.json").exists():
        assert time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert marked(StateFolder.open(home)) == []
