from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from remit.errors import Usage
from remit.job import Job

GOOD = """
agent: flight-analyst
purpose: delay-review
delegation: {actions: [read, report:publish], spaces: [flights], budget: 100, expires_in: 8h, max_depth: 2}
on_revocation: {wait: 24h}
steps:
  - tool: sql.query
    input: {dataset: flights, sql: "select 1"}
  - delegate:
      agent: report-writer
      delegation: {actions: [report:publish], spaces: [flights], budget: 10, expires_in: 90s}
      steps: [{tool: report.publish, input: {table: t, sql: select 1}}]
"""


def refusal(text: str) -> str:
    with pytest.raises(Usage) as refused:
        Job.parse(text, source="job.yaml")
    assert refused.value.code == "job.invalid"
    assert refused.value.exit_status == 2
    assert "\n" not in refused.value.message
    return refused.value.message.removeprefix("job.yaml is not a valid job: ")


def test_a_job_says_what_is_handed_over_and_done() -> None:
    job = Job.parse(GOOD)
    assert (job.agent, job.purpose) == ("flight-analyst", "delay-review")
    assert (job.delegation.budget, job.delegation.expires_in, job.delegation.max_depth) == (100, 8 * 3600, 2)
    assert job.on_revocation == timedelta(hours=24)
    assert job.on_denied == "fail"
    assert job.tools == {"sql.query", "report.publish"}
    task = job.task()
    assert task["steps"][0] == {"tool": "sql.query", "input": {"dataset": "flights", "sql": "select 1"}}
    part = task["steps"][1]["delegate"]
    assert part["agent"] == "report-writer"
    assert part["delegation"] == {
        "actions": ["report:publish"], "spaces": ["flights"], "budget": 10, "expires_in": 90, "max_depth": 7,
    }  # fmt: skip
    assert part["steps"] == [{"tool": "report.publish", "input": {"table": "t", "sql": "select 1"}}]


def test_a_task_halts_unless_told_to_wait() -> None:
    assert Job.parse(GOOD.replace("on_revocation: {wait: 24h}", "")).on_revocation == "halt"
    assert Job.parse(GOOD.replace("{wait: 24h}", "halt")).on_revocation == "halt"
    assert Job.parse(GOOD.replace("24h", "7d")).on_revocation == timedelta(days=7)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("purpose:", "porpose:", "unknown key 'porpose'; did you mean 'purpose'?"),
        ("budget: 100", "bugdet: 100", "unknown key 'delegation.bugdet'; did you mean 'budget'?"),
        ("wait: 24h", "wiat: 24h", "unknown key 'on_revocation.wiat'; did you mean 'wait'?"),
        ("- tool: sql.query", "- tol: sql.query", "unknown key 'steps.0.tol'; did you mean 'tool'?"),
        ("      steps: [{tool", "      stps: [{tool", "unknown key 'steps.1.delegate.stps'; did you mean 'steps'?"),
        ("agent: flight-analyst\n", "", "agent is missing"),
        ("budget: 100", "budget: 0", "delegation.budget: Input should be greater than or equal to 1"),
        ("budget: 100", "budget: 1.5", "delegation.budget: Input should be a valid integer"),
        ("expires_in: 8h", "expires_in: 31d", "delegation.expires_in: 31d is not between 1s and 30d"),
        ("expires_in: 8h", "expires_in: 0s", "delegation.expires_in: 0s is not between 1s and 30d"),
        ("expires_in: 8h", "expires_in: 8", "delegation.expires_in: 8 is not a span of time"),
        ("expires_in: 8h", "expires_in: soon", "delegation.expires_in: 'soon' is not a span of time"),
        ("max_depth: 2", "max_depth: 8", "delegation.max_depth: Input should be less than 8"),
        ("spaces: [flights], budget: 100", "spaces: [], budget: 100", "delegation.spaces: Tuple should have"),
        ("spaces: [flights], budget: 100", "spaces: [flіghts], budget: 100", "delegation.spaces.0:"),
        ("agent: flight-analyst", "agent: ../x", "agent: '../x' is not an agent's name"),
        ("budget: 10,", "budget: 101,", "steps.1.delegate: its budget 101 is above the 100"),
        ("spaces: [flights], budget: 10,", "spaces: [hr], budget: 10,", "steps.1.delegate: the space 'hr'"),
        ("agent: flight-analyst", "agent: a\nagent: b", "line 3: the key 'agent' is there twice"),
        ("on_revocation: {wait: 24h}", "on_revocation: retry", "on_revocation: "),
        ("on_revocation: {wait: 24h}", "planner: {model: x}", "planner.goal is missing"),
        ("on_revocation: {wait: 24h}", "planner: {model: x, goal: y, mots: 3}", "unknown key 'planner.mots'; did you"),
        ("on_revocation: {wait: 24h}", "planner: {follow: input}", "planner.follow: Input should be 'output'"),
        ("on_revocation: {wait: 24h}", "planner: model", "planner"),
        ("on_revocation: {wait: 24h}", "on_denied: ask", "on_denied: Input should be 'fail' or 'continue'"),
        ("sql: \"select 1\"", "day: 2013-01-01", "steps.0.input: it holds a value that is not plain JSON"),
        ("sql: \"select 1\"", "n: .nan", "steps.0.input: it holds a value that is not plain JSON"),
        ("sql: \"select 1\"", "a: [", "line "),
        ("- tool: sql.query\n    input", "- input", "steps.0: a step is either a tool with its input, or a delegate"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(old: str, new: str, says: str) -> None:
    assert old in GOOD
    assert says in refusal(GOOD.replace(old, new, 1))


@pytest.mark.parametrize("text", ["", "- a", "just text", "a: &x [*x]", "{" * 5000, "\x00", "a: !!python/object:x {}"])
def test_what_is_no_job_at_all_is_refused(text: str) -> None:
    refusal(text)


def test_a_file_is_bounded_and_readable(tmp_path: Path) -> None:
    with pytest.raises(Usage, match="No such file"):
        Job.load(tmp_path / "none.yaml")
    with pytest.raises(Usage, match="directory"):
        Job.load(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(Usage, match="not UTF-8"):
        Job.load(tmp_path / "binary.yaml")
    (tmp_path / "long.yaml").write_text("#" * 300_000)
    with pytest.raises(Usage, match="longer than"):
        Job.load(tmp_path / "long.yaml")
    (tmp_path / "good.yaml").write_text(GOOD)
    assert Job.load(tmp_path / "good.yaml").agent == "flight-analyst"


def test_a_model_may_plan_without_steps() -> None:
    planned = "agent: a\npurpose: p\ndelegation: {actions: [read], spaces: [s], budget: 5, expires_in: 1h}\n"
    job = Job.parse(planned + "planner: {model: planner, goal: Find out.}")
    assert job.tools == {"plan.ask"}
    wanted = {"model": "planner", "goal": "Find out.", "most": 20, "max_tokens": 4096}
    assert job.task()["planner"] == {**wanted, "on_denied": "continue"}, "a model is told"
    strict = Job.parse(planned + "planner: {model: planner, goal: Find out.}\non_denied: fail")
    assert strict.task()["planner"] == {**wanted, "on_denied": "fail"}
    assert job.task()["steps"] == []
    assert "steps is missing" in refusal(planned + "planner: {follow: output}")
    assert "steps is missing" in refusal(planned)
