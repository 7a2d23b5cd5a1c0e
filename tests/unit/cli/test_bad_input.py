"""Bad input: one clear line with what to do, the right exit status, and nothing half-made."""

import json
import socket
from pathlib import Path

import pytest

GOOD = """
agent: flight-analyst
purpose: delay-review
delegation: {actions: [read], spaces: [flights], budget: 100, expires_in: 8h, max_depth: 2}
steps:
  - tool: sql.query
    input: {dataset: flights, sql: "select 1"}
  - delegate:
      agent: report-writer
      delegation: {actions: ["report:publish"], spaces: [flights], budget: 10, expires_in: 1h, max_depth: 1}
      steps: [{tool: report.publish, input: {table: t}}]
"""


@pytest.fixture
def submit(remit, tmp_path, monkeypatch):
    """Submit a job with one thing wrong, where no server runs."""
    monkeypatch.setenv("REMIT_POLICIES", str(Path(__file__).parents[3] / "policies"))
    monkeypatch.setenv("REMIT_OPENBAO_ADDRESS", "https://127.0.0.1:1")
    config = tmp_path / "temporal.toml"
    config.write_text('[profile.default]\naddress = "127.0.0.1:1"\n')
    monkeypatch.setenv("REMIT_TEMPORAL_CONFIG", str(config))

    def call(wrong="", right="", *, text=None):
        job = tmp_path / "job.yaml"
        if text is None:
            assert not wrong or wrong in GOOD
            text = GOOD.replace(wrong, right) if wrong else GOOD
        job.write_text(text)
        return remit("submit", job, "--as", "alice")

    return call


def said(ended, status, code, hint):
    assert ended.status == status
    assert ended.out == ""
    assert f"[{code}]" in ended.err
    assert hint in ended.err
    assert ended.err.count("\n") <= 2
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("wrong", "right", "status", "code", "hint"),
    [
        ("purpose:", "purpse:", 2, "job.invalid", "did you mean 'purpose'"),
        ("budget: 100", "budget: 0", 2, "job.invalid", "budget"),
        ("budget: 100", "budget: -1", 2, "job.invalid", "budget"),
        ("budget: 100", "budget: 1.5", 2, "job.invalid", "budget"),
        ("expires_in: 8h", "expires_in: 31d", 2, "job.invalid", "30d"),
        ("expires_in: 8h", "expires_in: soon", 2, "job.invalid", "expires_in"),
        ("agent: flight-analyst", "agent: flight-analist", 2, "catalogue.unknown", "'flight-analyst'"),
        ("agent: report-writer", "agent: report-writter", 2, "catalogue.unknown", "'report-writer'"),
        ("[flights], budget: 100", "[flights, fligts], budget: 100", 2, "catalogue.unknown", "'flights"),
        ("actions: [read]", "actions: [reed]", 1, "delegation.action", "'read'"),
        ("actions: [read]", 'actions: ["dataset:delete"]', 1, "delegation.action", "nobody may delegate"),
        ('actions: ["report:publish"]', 'actions: ["dataset:delete"]', 1, "delegation.action", "nobody may delegate"),
    ],
)  # fmt: skip
def test_a_job_with_one_thing_wrong(submit, wrong, right, status, code, hint):
    said(submit(wrong, right), status, code, hint)


@pytest.mark.parametrize("text", ["", "[", "- 1", "agent: x\nagent: y\n", "\x00", "a: &a [*a]", "text"])
def test_a_file_that_is_no_job(submit, text):
    said(submit(text=text), 2, "job.invalid", "job.yaml")


def test_a_file_that_is_not_there(remit, tmp_path):
    said(remit("submit", tmp_path / "none.yaml"), 2, "job.invalid", "No such file")


def test_an_unknown_tool_where_a_worker_has_said_which_it_has(submit, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "tools.json").write_text(json.dumps(["sql.query", "report.publish"]))
    said(submit("tool: sql.query", "tool: sql.qury"), 2, "job.tool", "'sql.query'")


PLANNED = (
    "agent: flight-analyst\npurpose: p\n"
    "delegation: {actions: [read, model:invoke], spaces: [flights], budget: 5, expires_in: 1h}\n"
    "planner: {model: planner, goal: Find out.}\n"
)


def test_a_model_that_nobody_can_ask(submit, tmp_path):
    said(submit(text=PLANNED.replace("model: planner", "model: plannr")), 2, "catalogue.unknown", "'planner'")
    said(submit(text=PLANNED.replace("model: planner", "model: x")), 2, "catalogue.unknown", "There are: planner.")
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    (home / "tools.json").write_text(json.dumps(["sql.query", "report.publish"]))
    said(submit(text=PLANNED), 2, "job.tool", "REMIT_PLANNERS")


def test_a_stopped_stack(submit, remit):
    said(submit(), 3, "temporal.unreachable", "remit dev")
    for command in (["tasks"], ["show", "t"], ["approvals"], ["approve", "t"], ["watch", "t"], ["explain", "t"]):
        said(remit(*command, "--as", "alice"), 3, "temporal.unreachable", "remit dev")
    said(remit("status"), 3, "stack.stopped", "remit dev")


def test_openbao_that_does_not_answer(submit, remit, tmp_path):
    submit()  # sets the addresses
    (tmp_path / "home" / "passwords").mkdir(parents=True)
    (tmp_path / "home" / "passwords" / "alice").write_text("password")
    for command in (["login"], ["delegations"], ["revoke", "user/alice", "--reason", "x"]):
        ended = remit(*command, "--as", "alice")
        assert ended.status == 3, ended.err
        assert "[vault.unreachable]" in ended.err


def test_nobody_is_logged_in(submit, remit):
    submit()
    said(remit("delegations"), 1, "login.needed", "remit login --as")
    said(remit("revoke", "user/alice", "--reason", "x", "--as", "bob"), 1, "login.needed", "remit login --as bob")


@pytest.mark.parametrize("command", [["login"], ["delegations"], ["revoke", "user/bob", "--reason", "x"]])
def test_an_unknown_person(submit, remit, command):
    submit()
    said(remit(*command, "--as", "alcie"), 2, "catalogue.unknown", "'alice'")


@pytest.mark.parametrize("name", ["../alice", "Alice", "a b", ""])
def test_a_name_that_is_none(submit, remit, name):
    submit()
    said(remit("delegations", "--as", name or "/"), 2, "login.name", "a-z")


def test_a_login_with_no_way_to_ask(submit, remit, tmp_path):
    submit()
    said(remit("login", "--as", "alice", "--password-file", tmp_path / "none"), 2, "login.password", "Give a file")
    said(remit("login"), 2, "login.name", "--as NAME")


def test_a_port_in_use_leaves_nothing_behind(remit, tmp_path, submit):
    submit()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        base = taken.getsockname()[1]
        ended = remit("dev", "--port-base", base if base < 65000 else base - 9)
    said(ended, 1, "port.in-use", "--port-base")
    assert not (tmp_path / "home").exists()


def test_ports_that_cannot_be(remit, submit):
    submit()
    said(remit("dev", "--port-base", "80"), 2, "port.base", "--port-base")


def test_a_state_folder_of_another_version(remit, submit, tmp_path):
    submit()
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "version.json").write_text('{"version": 999, "id": "x"}')
    for command in ("dev", "stop", "status"):
        said(remit(command), 1, "state.version", "--home")
    assert [entry.name for entry in home.iterdir()] == ["version.json"]


def test_a_folder_that_is_no_state_folder(remit, submit, tmp_path):
    submit()
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.txt").write_text("mine")
    said(remit("dev"), 1, "state.foreign", "--home")
    assert [entry.name for entry in home.iterdir()] == ["thesis.txt"]


def test_wrong_settings(remit, monkeypatch):
    monkeypatch.setenv("REMIT_WATCH_SECONDS", "often")
    said(remit("tasks"), 2, "settings.invalid", "watch_seconds")


def test_policies_that_are_not_there(remit, monkeypatch, tmp_path):
    monkeypatch.setenv("REMIT_POLICIES", str(tmp_path / "none"))
    ended = remit("policy", "check", "--json")
    assert ended.status == 1
    assert ended.document()["valid"] is False
    assert ended.document()["findings"]
    said(remit("policy", "check"), 2, "catalogue.invalid", "none")


def test_a_broken_policy_is_named_with_its_line(remit, tmp_path):
    source = Path(__file__).parents[3] / "policies"
    for file in source.iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with (tmp_path / "guards.cedar").open("a") as guards:
        guards.write("\npermit (principal, action, resource);\n")
    ended = remit("policy", "check", tmp_path, "--json")
    assert ended.status == 1
    assert any(finding["file"] == "guards.cedar" and finding["line"] for finding in ended.document()["findings"])


def test_policies_that_hold(remit):
    ended = remit("policy", "check", Path(__file__).parents[3] / "policies", "--json")
    assert ended.status == 0
    assert ended.document()["valid"] is True


def test_bootstrap_without_an_operator(remit, submit):
    submit()
    said(remit("bootstrap"), 2, "bootstrap.token", "BAO_TOKEN")
