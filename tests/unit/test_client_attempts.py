import pytest

from remit.client.attempts import by_step, merged, moment, shown

LEASE = {"kind": "postgres", "id": "sha256:aa", "user": "d-1", "expires_at": 1_800_000_060}


def record(step, outcome, *, time, **more):
    return {
        "event": "attempt", "task": "t", "step": step, "outcome": outcome, "time": time, "ms": 5.0, "verdict": "permit",
        "policies": ["p"], "tool": "sql.query", "action": "dataset:query", "resource": "flights", **more,
    }  # fmt: skip


def test_the_two_records_of_a_permitted_attempt_are_one():
    records = [
        record(1, "permitted", time=10, grant="g", lease=LEASE),
        record(1, "ok", time=11, grant="g", lease=LEASE, ms=41.0),
    ]
    ((number, (attempt,)),) = by_step(records).items()
    assert number == 1
    assert shown(1, attempt) == {
        "n": 1, "verdict": "permit", "policies": ["p"], "outcome": "ok", "ms": 41.0,
        "lease": {"kind": "postgres", "id": "sha256:aa", "user": "d-1", "expires_at": moment(1_800_000_060)},
    }  # fmt: skip
    assert attempt["began"] == 10


def test_an_attempt_whose_tool_runs_is_running():
    (attempt,) = by_step([record(1, "permitted", time=10, grant="g")])[1]
    assert shown(1, attempt)["outcome"] == "running"


def test_attempts_are_numbered_by_time_over_approval_and_retry():
    records = [
        record(2, "refused", time=1, code="approval.needed", verdict="needs-approval"),
        record(2, "held", time=2, verdict=None, code="vault.unreachable"),
        record(2, "permitted", time=3, grant="g"),
        record(2, "ok", time=4, grant="g"),
    ]
    (step,) = merged({"steps": [{"n": 2, "tool": "report.publish", "state": "done"}]}, records)
    assert [(one["n"], one["verdict"], one["outcome"]) for one in step["attempts"]] == [
        (1, "needs-approval", "refused"),
        (2, None, "held"),
        (3, "permit", "ok"),
    ]
    assert step["attempts"][0]["code"] == "approval.needed"


def test_a_step_that_waits_out_an_outage_is_held_until_its_next_attempt_runs():
    held = record(1, "held", time=1, verdict=None, code="vault.sealed")
    running = {"steps": [{"n": 1, "tool": "sql.query", "state": "running"}]}
    (step,) = merged(running, [held])
    assert (step["state"], step["attempts"][0]["code"]) == ("held", "vault.sealed")
    (step,) = merged(running, [held, record(1, "permitted", time=2, grant="g")])
    assert step["state"] == "running"


@pytest.mark.parametrize(
    ("outcome", "more", "state"),
    [
        ("ok", {}, "done"),
        ("permitted", {}, "running"),
        ("refused", {"verdict": "deny", "code": "policy.denied"}, "refused"),
        ("refused", {"verdict": "needs-approval", "code": "approval.needed"}, "waiting-approval"),
        ("refused", {"verdict": None, "code": "step.once"}, "unknown"),
        ("held", {"verdict": None, "code": "vault.sealed"}, "held"),
        ("stopped", {}, "stopped"),
        ("error", {}, "failed"),
    ],
)
def test_a_step_the_workflow_no_longer_keeps_is_taken_from_the_records(outcome, more, state):
    (step,) = merged({"steps": []}, [record(1, outcome, time=1, **more)])
    assert (step["n"], step["tool"], step["state"]) == (1, "sql.query", state), "in the workflow's own words"


def test_a_step_without_records_shows_no_attempt():
    (step,) = merged({"steps": [{"n": 1, "tool": "x", "state": "running"}]}, [])
    assert step["attempts"] == []


def test_other_events_are_no_attempts():
    assert by_step([{"event": "resumed", "step": 1}, {"event": "attempt", "step": None}]) == {}


def test_a_step_that_may_have_been_done_is_unknown():
    (step,) = merged({"steps": []}, [record(3, "refused", time=9, code="step.once")])
    assert (step["state"], step["attempts"][0]["code"]) == ("unknown", "step.once")
