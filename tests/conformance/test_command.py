"""``python -m remit.conformance``: what it prints, and its exit status."""

from __future__ import annotations

import asyncio
import json
import sys

import pytest

from remit.conformance.scenarios import SCENARIOS
from remit.embedded import Stack

from .readme import text

PLAIN = "tests.conformance.others:ungoverned"


async def command(*arguments: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "remit.conformance",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


@pytest.mark.servers
async def test_it_tells_programs_and_people(stack: Stack) -> None:
    chosen = ("--address", stack.temporal.address, "--only", "live-grant")
    (status, out, _), (people, table, _) = await asyncio.gather(
        command(PLAIN, *chosen, "--only", "before-start", "--only", "resume-after-regrant", "--json"),
        command(PLAIN, *chosen),
    )
    found = json.loads(out)
    assert (status, found["governor"], found["bound"], found["held"]) == (1, "a plain worker", 10, False)
    assert [(one["id"], one["verdict"]) for one in found["scenarios"]] == [
        ("live-grant", "held"),
        ("before-start", "violated"),
        ("resume-after-regrant", "not supported"),
    ]
    assert found["scenarios"][1]["seconds_to_last_activity"] > 0
    assert people == 0
    assert "1 held, 0 violated, 0 not supported" in table


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "module:attribute"),
        (["json"], "module:attribute"),
        (["no_such_module:governor"], "no_such_module"),
        (["json:governor"], "governor"),
        ([PLAIN, "--only", "no-such"], "no-such"),
        ([PLAIN, "--address", "127.0.0.1:1"], "RuntimeError"),
    ],
)
async def test_what_cannot_be_run_is_said_in_a_line(arguments: list[str], says: str) -> None:
    status, out, err = await command(*arguments)
    assert (status, out) == (2, "")
    assert says in err.splitlines()[-1]
    assert "Traceback" not in err


async def test_the_list_and_the_readme_say_the_same() -> None:
    status, out, _ = await command("--list")
    assert status == 0
    rows = [line.split("|")[1:4] for line in text().splitlines() if line.startswith("| `")]
    documented = {name.strip().strip("`"): (promise.strip(), needs.strip()) for name, promise, needs in rows}
    for one in SCENARIOS.values():
        assert f"{one.id}\n    {one.promise}\n" in out
        assert documented[one.id] == (one.promise, ", ".join(sorted(one.needs)))
