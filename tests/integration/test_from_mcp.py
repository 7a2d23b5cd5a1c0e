"""`remit policy from-mcp` on real MCP servers, started for it and listening."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from remit.cli import terminal
from remit.cli.entry import run
from remit.client import listing
from remit.errors import Held
from remit.mapping import Mapping
from remit.policy import PolicyEngine

pytest.importorskip("mcp")

HERE = Path(__file__).parent
POLICIES = HERE.parents[1] / "policies"
SERVER = str(HERE / "offering.py")
SECONDS = 60.0
BLOCKED = "import sys; sys.modules['mcp'] = None; from remit.cli.entry import main; main(sys.argv[1:])"


@dataclass(frozen=True)
class Result:
    status: int
    out: str
    err: str

    def document(self) -> Any:
        assert self.status == 0, self.err
        return json.loads(self.out)


def from_mcp(home: Path, *arguments: str, **environment: str) -> Result:
    """Run the command, in a thread of its own for the event loop it makes."""
    argv = ["policy", "from-mcp", "--home", str(home), *arguments]
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        for name, value in {"REMIT_POLICIES": str(POLICIES), "COLUMNS": "200", **environment}.items():
            patch.setenv(name, value)
        terminal.reset()
        with ThreadPoolExecutor(1) as threads:
            status = threads.submit(run, argv).result(SECONDS)
        terminal.reset()
    assert "Traceback" not in err.getvalue(), err.getvalue()
    return Result(status, out.getvalue(), err.getvalue())


def without_sdk(home: Path, *arguments: str) -> Result:
    """Run the command in a process that has no MCP SDK."""
    argv = [sys.executable, "-c", BLOCKED, "policy", "from-mcp", "--home", str(home), *arguments]
    named = {**os.environ, "REMIT_POLICIES": str(POLICIES), "COLUMNS": "200"}
    ended = subprocess.run(argv, env=named, capture_output=True, text=True, timeout=SECONDS, check=False)
    return Result(ended.returncode, ended.stdout, ended.stderr)


def started(kind: str) -> tuple[str, ...]:
    return ("--name", "flights", "--", sys.executable, SERVER, kind)


class TestStarted:
    def test_what_is_printed_can_be_added(self, tmp_path: Path) -> None:
        done = from_mcp(tmp_path, "-o", str(tmp_path / "out"), *started("plain"))
        assert done.status == 0, done.err
        assert "its own claims" in done.err
        assert "The catalogue has no Service 'flights'" in done.err
        cedar = (tmp_path / "out/flights.cedarschema").read_text()
        assert "harmless" not in cedar
        policies = tmp_path / "policies"
        policies.mkdir()
        for file in POLICIES.glob("*.*"):
            (policies / file.name).write_text(file.read_text())
        with (policies / "schema.cedarschema").open("a") as schema:
            schema.write(cedar)
        engine = PolicyEngine.load(policies)
        assert engine.groups["flights:query"] == {"flights:query", "read"}
        assert engine.groups["flights:publish"] == {"flights:publish", "write", "egress"}
        rules = Mapping.load(tmp_path / "out/flights.toml").servers["flights"].tools
        assert {name: rule.once for name, rule in rules.items()} == {"query": False, "publish": True}
        # and once added, drafting the same again is a clash
        again = from_mcp(tmp_path, *started("plain"), REMIT_POLICIES=str(policies))
        assert again.status == 1
        assert "[mcp.clash]" in again.err
        # what was written is never written over
        twice = from_mcp(tmp_path, "-o", str(tmp_path / "out"), *started("plain"))
        assert twice.status == 2
        assert "[mcp.output]" in twice.err

    def test_the_inputs_are_those_with_a_cedar_type(self, tmp_path: Path) -> None:
        query, publish = sorted(
            from_mcp(tmp_path, "--json", *started("plain")).document()["actions"], key=lambda one: -len(one["inputs"])
        )
        assert query["inputs"] == {"dataset": "String", "limit": "Long", "sql": "String", "tags": "Set<String>"}
        assert publish["inputs"] == {"table": "String"}
        assert publish["left_out"] == ['"options": no single Cedar type', '"ratio": no single Cedar type']

    def test_a_hostile_list_is_drafted_harmlessly(self, tmp_path: Path) -> None:
        done = from_mcp(tmp_path, "--json", *started("hostile"))
        draft = done.document()
        names = {one["tool"] for one in draft["actions"]}
        assert {"query", "quеry"} < names
        assert names.isdisjoint({"new\nline", "right\u202etfel", "x]\n[servers.other"})
        assert all(one["inputs"] == {"ok": "String"} for one in draft["actions"])
        assert len({one["action"] for one in draft["actions"]}) == len(names)
        assert set(Mapping.parse(draft["toml"]).servers) == {"flights"}
        assert all(line.isprintable() for line in (draft["cedar"] + draft["toml"] + done.err).splitlines())

    def test_every_page_is_read(self, tmp_path: Path) -> None:
        draft = from_mcp(tmp_path, "--json", *started("pages")).document()
        assert [one["tool"] for one in draft["actions"]] == ["t0", "t1", "t2"]

    def test_only_the_variables_named_reach_it(self, tmp_path: Path) -> None:
        known = {"OFFERING_SECRET": "orange", "OFFERING_OTHER": "1"}
        draft = from_mcp(tmp_path, "--json", "--env", "OFFERING_SECRET", *started("plain"), **known).document()
        assert {one["tool"] for one in draft["actions"]} == {"query", "publish", "knows-orange"}
        unset = from_mcp(tmp_path, "--env", "OFFERING_SECRET", *started("plain"))
        assert (unset.status, "[mcp.command]" in unset.err) == (2, True)

    def test_one_that_dies_is_said_with_its_last_words_escaped(self, tmp_path: Path) -> None:
        done = from_mcp(tmp_path, *started("dies"))
        assert done.status == 3
        assert "[mcp.unreachable]" in done.err
        assert 'It said last: "\\u001b[2Jno database"' in done.err

    async def test_one_that_never_answers_is_given_up_on(self) -> None:
        with pytest.raises(Held, match="within 3 s") as held:
            await listing.started([sys.executable, SERVER, "hangs"], seconds=3)
        assert held.value.code == "mcp.unreachable"

    async def test_one_with_endless_pages_is_given_up_on(self) -> None:
        with pytest.raises(Held, match="more than 100 pages"):
            await listing.started([sys.executable, SERVER, "endless"], seconds=SECONDS)


class TestListening:
    @pytest.fixture
    def url(self) -> Iterator[str]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        server = subprocess.Popen([sys.executable, SERVER, "http", str(port)], **quiet)  # type: ignore[call-overload]
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/mcp"
        server.terminate()
        server.wait(30)

    def test_it_is_asked_over_http(self, tmp_path: Path, url: str) -> None:
        draft = from_mcp(tmp_path, "--json", "--name", "flights", "--url", url).document()
        assert [one["action"] for one in draft["actions"]] == ["flights:publish", "flights:query"]


class TestWithoutAServer:
    def test_a_saved_list_needs_no_sdk(self, tmp_path: Path) -> None:
        saved = tmp_path / "tools.json"
        saved.write_text('{"tools": [{"name": "query", "annotations": {"readOnlyHint": true}}]}')
        draft = without_sdk(tmp_path, "--json", "--name", "flights", "--tools", str(saved))
        assert [one["groups"] for one in draft.document()["actions"]] == [["read", "egress"]]

    @pytest.mark.parametrize("place", [started("plain"), ("--name", "a", "--url", "http://127.0.0.1:1/mcp")])
    def test_asking_one_without_the_sdk_says_what_to_install(self, tmp_path: Path, place: tuple[str, ...]) -> None:
        done = without_sdk(tmp_path, *place)
        assert done.status == 1
        assert done.err.splitlines() == [
            "the MCP SDK is not installed [mcp.missing]",
            "Install it with: pip install 'remit[mcp]'",
        ]

    @pytest.mark.parametrize(
        ("arguments", "status", "code"),
        [
            (("--name", "a"), 2, "usage"),
            (("--name", "a", "--url", "http://a.example/", "--tools", "x"), 2, "usage"),
            (("--name", "a", "--url", "ftp://a.example/"), 2, "mcp.url"),
            (("--name", "a", "--url", "http://me:orange@a.example/"), 2, "mcp.url"),
            (("--name", "a", "--url", "http://[orange"), 2, "mcp.url"),
            (("--name", "a", "--url", "http://127.0.0.1:1/mcp"), 3, "mcp.unreachable"),
            (("--name", "a", "--tools", "/nonexistent/x"), 2, "mcp.tools"),
            (("--name", "a:b", "--tools", "x"), 2, "mcp.name"),
            (("--name", "a", "--type", "Agent", "--tools", "x"), 2, "mcp.name"),
            (("--name", "a", "--", "/nonexistent/x"), 3, "mcp.unreachable"),
        ],
    )
    def test_what_cannot_be_asked_is_refused(
        self, tmp_path: Path, arguments: tuple[str, ...], status: int, code: str
    ) -> None:
        done = from_mcp(tmp_path, *arguments)
        assert (done.status, f"[{code}]" in done.err) == (status, True), done.err
        assert "orange" not in done.err
