"""The five questions, each answered from evidence and from nothing else."""

import json

import pytest

from remit.client.attempts import moment
from remit.client.explaining import QUESTIONS, Evidence, explain
from remit.statements import DelegationSubject, Event, Statement
from tests.unit.documents import ALICE, BOB, NOW, agent, chain, uuid, verified

CHAIN = verified(chain(2))
ANALYST, WRITER = agent("agent-0"), agent("agent-1")
LEASE = {"kind": "postgres", "id": "sha256:aa", "user": "d-alice-1", "expires_at": 1}


def record(step, outcome, *, time, **more):
    return {
        "event": "attempt", "task": "t", "run": "r", "activity": "1", "step": step, "outcome": outcome, "time": time,
        "verdict": "permit", "policies": ["analysts-read"], "policy_set": "set", "action": "dataset:query",
        "resource": "flights", "tool": "sql.query", "root": ALICE.spiffe_id, "agent": WRITER.spiffe_id,
        "chain": list(CHAIN.ids), "delegation": CHAIN.ids[-1], "digest": CHAIN.digest, "arguments": "abc", **more,
    }  # fmt: skip


RECORDS = (
    record(1, "permitted", time=100, grant="g1", lease=LEASE),
    record(1, "ok", time=101, grant="g1", lease=LEASE),
    record(2, "refused", time=102, verdict="needs-approval", policies=["publishing-needs-a-steward"],
           code="approval.needed", action="report:publish", resource="reports", tool="report.publish"),
    {"event": "decision", "delegation": CHAIN.ids[-1], "outcome": "refused", "request": "q", "time": 103,
     "code": "approval.four-eyes", "message": "user/alice is part of the task"},
    {"event": "decision", "delegation": CHAIN.ids[-1], "outcome": "approve", "request": "q", "time": 104,
     "approval": uuid(9), "by": BOB.spiffe_id},
    record(2, "permitted", time=20_000, grant="g2", approvals=[{"id": uuid(9), "by": BOB.spiffe_id}],
           action="report:publish", resource="reports", tool="report.publish"),
    record(2, "ok", time=20_001, grant="g2", approvals=[{"id": uuid(9), "by": BOB.spiffe_id}],
           action="report:publish", resource="reports", tool="report.publish"),
)  # fmt: skip


def answers(records=RECORDS, *, links=CHAIN.links, statements=(), step=None):
    found = explain(Evidence({"task": "t"}, links, records, statements, step))
    assert json.loads(json.dumps(found)) == found
    assert [one["id"] for one in found["answers"]] == list(QUESTIONS)
    return {one["id"]: (" ".join(one["answer"]), one["evidence"]) for one in found["answers"]}


def test_which_identity_acted():
    said, proof = answers()["identity"]
    assert "agent/agent-1 acted, for user/alice" in said
    assert "d-alice-1" in said
    assert proof[0]["lease"] == "sha256:aa"


def test_with_what_authority_and_why_that_much():
    said, proof = answers()["authority"]
    assert "user/alice handed agent/agent-0 read, report:publish in flights, hr" in said
    assert "agent/agent-0 handed agent/agent-1" in said
    assert "permitted by analysts-read" in said
    assert {"delegation", "depth", "issued"} <= proof[0].keys()
    assert proof[2]["policy_set"] == "set"


def test_who_approved_and_who_was_refused():
    said, proof = answers()["approval"]
    assert "user/bob approved step 2" in said
    assert "by publishing-needs-a-steward" in said
    assert "approval.four-eyes" in said
    assert any(one.get("approval") == uuid(9) for one in proof)


def test_why_it_ran_again_hours_later():
    said, _ = answers()["trigger"]
    assert "user/alice delegated and started it" in said
    assert "again, 5 h later, because user/bob approved it" in said


def test_what_triggered_a_downstream_change():
    said, proof = answers()["downstream"]
    assert "report:publish on reports" in said
    assert "user/alice → agent/agent-0 → agent/agent-1" in said
    assert {one["grant"] for one in proof} == {"g1", "g2"}


def test_one_step_only():
    found = answers(step=1)
    assert "step 2" not in found["downstream"][0].lower()
    assert {one["step"] for one in found["identity"][1]} == {1}


def test_a_task_that_has_not_run_says_so():
    for said, _ in answers(records=(), links=()).values():
        assert said


@pytest.mark.parametrize("code", ["policy.denied", "chain.revoked"])
def test_what_was_refused_changed_nothing(code):
    records = (record(1, "refused", time=1, verdict="deny" if code == "policy.denied" else None, code=code),)
    assert "changed nothing" in answers(records)["downstream"][0]


def test_a_resume_is_named():
    fresh = verified(chain(1))
    records = (
        record(1, "permitted", time=1, grant="g"),
        record(1, "stopped", time=2, grant="g", code="chain.revoked"),
        {
            "event": "resumed",
            "task": "t",
            "root": ALICE.spiffe_id,
            "replaces": CHAIN.ids[-1],
            "chain": ["x"],
            "time": 3,
        },
        record(1, "permitted", time=4, grant="h", delegation="x", chain=["x"]),
    )
    said, _ = answers(records, links=(*CHAIN.links, *fresh.links))["trigger"]
    assert "delegated anew" in said
    assert "under a fresh delegation" in said


def test_who_stopped_it_when_and_why():
    about = DelegationSubject(CHAIN.ids[0], ALICE)
    said_so = Statement(uuid(7), ALICE, ALICE.audience, NOW, about, Event.SUSPENDED, "wait")
    lifted = Statement(uuid(8), ALICE, ALICE.audience, NOW + 1, about, Event.REINSTATED)
    said, proof = answers(statements=[said_so, lifted])["trigger"]
    assert f"user/alice suspended delegation {CHAIN.ids[0]} at {moment(NOW)}: wait." in said
    assert f"user/alice reinstated delegation {CHAIN.ids[0]}" in said
    assert {one.get("statement") for one in proof} >= {uuid(7), uuid(8)}


def test_what_children_did_is_part_of_the_answer_but_not_of_a_single_step():
    child = {"task": "t-2-writer", "grant": "g3", "user": "x"}
    records = (*RECORDS, record(1, "permitted", time=30_000, **child), record(1, "ok", time=30_001, **child))
    assert "Step 1 of t-2-writer" in answers(records)["authority"][0]
    assert "t-2-writer" not in json.dumps(answers(records, step=1))
