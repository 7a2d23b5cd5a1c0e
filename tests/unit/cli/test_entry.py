"""Usage errors, failures nobody foresaw, and how quickly help comes."""

import subprocess
import sys
import time

import pytest

from remit.cli import options, stack
from remit.errors import Denied, Held, RemitError, Usage

COMMANDS = {
    "dev", "stop", "demo", "status", "login", "submit", "tasks", "show", "watch", "approvals", "approve", "reject",
    "revoke", "suspend", "reinstate", "resume", "delegations", "explain", "verify", "policy", "doctor", "bootstrap",
    "codec",
}  # fmt: skip


def test_every_command_is_there_and_says_what_it_does(remit):
    shown = remit("--help")
    assert shown.status == 0
    for command in COMMANDS:
        assert f" {command} " in shown.out
        assert remit(command, "--help").status == 0


def test_every_command_takes_home_and_as(remit):
    for command in COMMANDS - {"policy"}:
        shown = remit(command, "--help").out
        assert "--home" in shown, command
        assert "--as" in shown, command
    shown = remit("policy", "check", "--help").out
    assert "--home" in shown
    assert "--json" in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["shwo"], "Did you mean 'show'?"),
        (["show"], "Missing argument 'TASK'"),
        (["show", "t", "--jsno"], "Did you mean '--json'?"),
        (["show", "t", "more"], "more"),
        (["revoke", "t"], "Missing option '--reason'"),
        (["tasks", "--most", "many"], "'--most'"),
        (["tasks", "--most", "0"], "'--most'"),
        (["dev", "--port-base", "x"], "'--port-base'"),
        (["policy", "chekc"], "Did you mean 'check'?"),
        (["verify", "c.json", "--anchors", "a.json", "--at", "soon"], "'--at'"),
    ],
)
def test_a_malformed_command_line_is_one_line_and_status_2(remit, arguments, said):
    ended = remit(*arguments)
    assert ended.status == 2
    assert ended.out == ""
    assert said in ended.err
    assert ended.err.endswith("[usage]\n")
    assert ended.err.count("\n") == 1


def test_control_characters_of_the_command_line_do_not_reach_the_terminal(remit):
    ended = remit("sh\x1b[31mow\u202e")
    assert ended.status == 2
    assert "\x1b" not in ended.err
    assert "\u202e" not in ended.err


def raising(monkeypatch, error):
    def fail(home):
        raise error

    monkeypatch.setattr(options, "settings", fail)


@pytest.mark.parametrize(
    ("error", "status"),
    [(Denied("no", policies=("p",)), 1), (Usage("what"), 2), (Held("down"), 3), (RemitError("x"), 1)],
)
def test_an_error_of_remit_is_its_diagnostics_and_its_status(remit, monkeypatch, error, status):
    raising(monkeypatch, error)
    ended = remit("stop")
    assert ended.status == status
    assert ended.out == ""
    assert ended.err == error.diagnostics() + "\n"


def test_markup_and_control_characters_in_an_error_are_text(remit, monkeypatch):
    raising(monkeypatch, Denied("[red]no\x1b]0;title\x07[/red]"))
    assert "[red]no\\u001b]0;title\\u0007[/red]" in remit("stop").err


def test_what_nobody_foresaw_is_one_line_with_a_hint(remit, monkeypatch):
    raising(monkeypatch, ZeroDivisionError("secret-4711"))
    ended = remit("stop")
    assert ended.status == 1
    assert ended.out == ""
    assert "ZeroDivisionError" in ended.err
    assert "[internal]" in ended.err
    assert "REMIT_DEBUG=1" in ended.err
    assert "Traceback" not in ended.err
    assert "secret-4711" not in ended.err


def test_debugging_shows_where(remit, monkeypatch):
    raising(monkeypatch, ZeroDivisionError("here"))
    monkeypatch.setenv("REMIT_DEBUG", "1")
    assert "Traceback" in remit("stop").err


def test_ctrl_c_is_status_130_without_a_word(remit, monkeypatch):
    raising(monkeypatch, KeyboardInterrupt())
    ended = remit("stop")
    assert (ended.status, ended.out, ended.err) == (130, "", "")


def test_help_is_quick_and_imports_nothing_heavy():
    code = (
        "import sys; from remit.cli.entry import run; run(['--help']);"
        "heavy = {'temporalio', 'hvac', 'cedarpy', 'pydantic', 'cryptography', 'psycopg', 'aiohttp'}"
        " & set(sys.modules);"
        "sys.exit(repr(heavy) if heavy else 0)"
    )
    began = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert time.monotonic() - began < 5  # alone it takes 0.2 s; this machine is shared


def test_the_usual_ports_are_those_of_the_embedded_stack():
    from remit.embedded.ports import DEFAULT_BASE

    assert stack.PORT_BASE == DEFAULT_BASE
