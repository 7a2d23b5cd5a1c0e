"""What the engine answers, apart from the scenario files: its two asks, its cache, its refusal to raise."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cedarpy
import pytest

from remit.catalogue import Catalogue
from remit.chain import Chain
from remit.policy import Approvals, PolicyEngine, RunContext
from remit.policy import engine as engine_module
from remit.policy.entities import moment
from remit.step import Call
from remit.verdict import Verdict
from tests.policies.questions import NOW, POLICIES, chain_of, merged, principal
from tests.unit.policy.folders import folder

ENGINE = PolicyEngine.load(POLICIES)
RUN = RunContext(now=NOW, step=1, attempt=1, spent=0, cost=1)
NOBODY = Approvals()
QUERY = Call("dataset:query", "flights", {"sql": "select 1"})
PUBLISH = Call("report:publish", "reports", {})
ANALYST = chain_of([{}])
WRITER = chain_of([{}, {"to": "agent/report-writer", "actions": ["report:publish"]}])


def decide(
    engine: PolicyEngine = ENGINE,
    *,
    chain: Chain = ANALYST,
    call: Call = QUERY,
    run: RunContext = RUN,
    approvals: Approvals = NOBODY,
) -> Verdict:
    return engine.decide(chain=chain, call=call, run=run, approvals=approvals)


def asks(call: Call, chain: Chain) -> int:
    real = cedarpy.is_authorized
    with patch.object(cedarpy, "is_authorized", side_effect=real) as asked:
        decide(chain=chain, call=call)
    return asked.call_count


def test_a_permit_costs_two_asks_and_approval_three() -> None:
    assert asks(QUERY, ANALYST) == 2
    assert asks(PUBLISH, WRITER) == 3
    assert asks(Call("dataset:query", "payroll", {}), ANALYST) == 2


def test_a_permit_names_the_permits_and_the_shortest_ttl() -> None:
    verdict = decide()
    assert verdict == Verdict(
        "permit", ("people-use-what-they-belong-to", "analysts-read"), ttl=8 * 3600, reason="permitted"
    )


def test_several_permits_give_the_shortest_ttl(tmp_path: Path) -> None:
    more = '@id("short") @ttl("30s") permit (principal is User, action == Action::"dataset:query", resource);'
    verdict = decide(PolicyEngine.load(folder(tmp_path, extra=more)))
    assert verdict.ttl == 30
    assert "short" in verdict.policies


def test_several_approval_rules_give_every_role_and_the_shortest_wait(tmp_path: Path) -> None:
    more = """
    @id("late") @approvers("security") @wait("10m")
    forbid (principal is Agent, action == Action::"report:publish", resource)
    unless { context.approvals.roles.contains(Role::"security") };
    """
    engine = PolicyEngine.load(folder(tmp_path, extra=more))
    verdict = decide(engine, chain=WRITER, call=PUBLISH)
    assert verdict.decision == "needs-approval"
    assert set(verdict.approvers) == {"data-steward", "security"}
    assert verdict.wait == 600
    one = decide(engine, chain=WRITER, call=PUBLISH, approvals=Approvals(1, frozenset({"data-steward"})))
    assert (one.decision, one.policies, one.approvers) == ("needs-approval", ("late",), ("security",))
    both = Approvals(2, frozenset({"data-steward", "security"}))
    assert decide(engine, chain=WRITER, call=PUBLISH, approvals=both).permitted


def test_a_human_may_need_approval_too(tmp_path: Path) -> None:
    more = """
    @id("people-ask") @approvers("security")
    forbid (principal is User, action == Action::"dataset:query", resource)
    unless { context.approvals.roles.contains(Role::"security") };
    """
    engine = PolicyEngine.load(folder(tmp_path, extra=more))
    assert decide(engine).policies == ("people-ask",)
    assert decide(engine).decision == "needs-approval"
    assert decide(engine, approvals=Approvals(1, frozenset({"security"}))).permitted


def test_an_approval_that_forbids_never_turns_into_a_permit(tmp_path: Path) -> None:
    more = """
    @id("contrary") @approvers("security")
    forbid (principal is User, action == Action::"report:publish", resource)
    when { context.approvals.count > 0 };
    """
    engine = PolicyEngine.load(folder(tmp_path, extra=more))
    verdict = decide(engine, chain=WRITER, call=PUBLISH)
    assert (verdict.decision, verdict.policies) == ("deny", ("contrary",))


def test_a_final_deny_does_not_name_what_an_approval_would_lift() -> None:
    over = decide(chain=WRITER, call=PUBLISH, run=replace(RUN, spent=1000))
    assert (over.decision, over.policies) == ("deny", ("budget",))


def test_a_reason_says_who_lacks_what() -> None:
    assert decide(chain=chain_of([{"from": "user/carol"}])).reason == "user/carol: nothing permits it"
    assert decide(call=PUBLISH).reason == "agent/flight-analyst: nothing permits it"
    payroll = decide(call=Call("dataset:query", "payroll", {}))
    assert "agent/flight-analyst: forbidden by delegated-scope, purpose" in payroll.reason
    assert "did you mean 'flights'?" in decide(call=Call("dataset:query", "flight", {})).reason


@pytest.mark.parametrize(
    "limit",
    [
        float("nan"),
        float("inf"),
        10**30,
        -(10**30),
        "1",
        [],
        {},
        [[1]],
        {"__entity": {"type": "U", "id": "x"}},
        b"1",
        object(),
    ],
)
def test_an_input_cedar_cannot_take_is_a_deny_with_its_error(limit: Any) -> None:
    verdict = decide(call=Call("dataset:query", "flights", {"limit": limit}))
    assert verdict.decision == "deny"
    assert verdict.errors
    assert all(len(error) <= 300 for error in verdict.errors)


def test_a_failed_evaluation_is_said_of_whom_it_failed() -> None:
    verdict = decide(call=Call("dataset:query", "flights", {"limit": "ten"}))
    failed = "agent/flight-analyst: the evaluation failed; user/alice: the evaluation failed"
    assert (verdict.decision, verdict.reason) == ("deny", failed)
    with patch.object(cedarpy, "is_authorized", side_effect=ValueError("x" * 500)):
        (error,) = decide().errors
    assert error == f"ValueError: {'x' * 500}"[:300]


def test_it_is_said_who_needs_whose_approval() -> None:
    verdict = decide(chain=WRITER, call=PUBLISH)
    assert verdict.reason == "agent/report-writer needs the approval of data-steward"


def test_staff_of_one_tenant_stops_nothing_of_another() -> None:
    plain = Catalogue.load(POLICIES / "catalogue.yaml").model_dump()
    apart = merged(plain, {"people": {"carol": {"tenant": "other"}}})
    engine = PolicyEngine.load(POLICIES, Catalogue.model_validate(apart))
    carol, alice = principal("user/carol"), principal("user/alice")
    assert not engine.may_revoke(by=carol, owner=alice).permitted
    assert ENGINE.stops(carol, alice)
    assert ENGINE.stops(carol, principal("agent/report-writer"))
    assert not engine.stops(carol, alice)
    assert not engine.stops(carol, principal("agent/report-writer"))
    assert engine.stops(carol, carol)
    assert engine.stops(carol, principal("user/gone"))
    assert engine.stops(carol, principal("spiffe://elsewhere/user/alice"))
    assert not engine.stops(alice, alice)
    assert engine.may_revoke(by=carol, owner=None).permitted
    assert ENGINE.may_revoke(by=carol, owner=alice).permitted


def test_an_input_nested_beyond_reason_is_a_deny() -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    verdict = decide(call=Call("dataset:query", "flights", {"limit": deep}))
    assert verdict.decision == "deny"
    assert verdict.errors


def test_arguments_no_policy_may_read_never_reach_cedar() -> None:
    assert decide(call=Call("dataset:query", "flights", {"secret": object(), "sql": float("nan")})).permitted


@pytest.mark.parametrize("error", [KeyError("principal"), ValueError("x"), RuntimeError("y"), TypeError("z")])
def test_whatever_cedar_raises_is_a_deny(error: Exception) -> None:
    with patch.object(cedarpy, "is_authorized", side_effect=error):
        verdicts = [
            decide(),
            ENGINE.may_submit(root=ANALYST.leaf),
            ENGINE.may_delegate(chain=ANALYST, child=WRITER.leaf, run=RUN),
            ENGINE.may_resume(chain=ANALYST, owner=ANALYST.root, run=RUN),
            ENGINE.may_revoke(by=ANALYST.root, owner=ANALYST.root),
            ENGINE.may_approve(approver=principal("user/bob"), requester=ANALYST.root, approvers=["data-steward"]),
        ]
    assert {verdict.decision for verdict in verdicts} == {"deny"}
    assert all(type(error).__name__ in verdict.errors[0] for verdict in verdicts)


@pytest.mark.parametrize(
    "answer", [{"decision": "NoDecision"}, {"decision": "Allow", "diagnostics": {"errors": ["x"]}}]
)
def test_no_decision_and_an_allow_with_errors_are_denies(answer: Mapping[str, Any]) -> None:
    with patch.object(cedarpy, "is_authorized", return_value=cedarpy.AuthzResult(dict(answer))):
        verdict = decide()
    assert verdict.decision == "deny"
    assert verdict.errors


def test_an_error_in_the_second_ask_is_a_deny(tmp_path: Path) -> None:
    more = """
    @id("counts") @approvers("security")
    forbid (principal is Agent, action == Action::"report:publish", resource)
    when { context.approvals.count * 10000000000000 > 5 };
    """
    verdict = decide(PolicyEngine.load(folder(tmp_path, extra=more)), chain=WRITER, call=PUBLISH)
    assert verdict.decision == "deny"
    assert "overflow" in verdict.errors[0]


def test_a_chain_of_another_content_under_the_same_digest_is_not_taken_from_the_cache() -> None:
    assert decide(chain=ANALYST).permitted
    other = replace(chain_of([{"actions": ["http:request"]}]), digest=ANALYST.digest)
    assert decide(chain=other).policies == ("delegated-scope",)
    assert decide(chain=ANALYST).permitted


def test_time_is_never_cached() -> None:
    assert decide().permitted
    assert decide(run=replace(RUN, now=NOW + 4000)).policies == ("live-delegation",)


def test_the_moment_is_the_same_wherever_the_machine_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert moment(NOW) == "2026-03-01T10:00:00Z"
        assert decide(run=replace(RUN, now=NOW + 3629)).permitted
        assert decide(run=replace(RUN, now=NOW + 3630)).policies == ("live-delegation",)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_entities_of_a_chain_are_built_once() -> None:
    entities = PolicyEngine.load(POLICIES)._entities
    first = entities.of_chain(ANALYST)
    assert entities.of_chain(ANALYST) is first
    again = chain_of([{}])
    assert again.links is not ANALYST.links
    assert entities.of_chain(again) is first
    assert entities.of_chain(WRITER) is not first


def test_an_agent_of_another_tenant_gets_nothing() -> None:
    plain = Catalogue.load(POLICIES / "catalogue.yaml").model_dump()
    apart = merged(plain, {"agents": {"flight-analyst": {"tenant": "other"}}})
    verdict = decide(PolicyEngine.load(POLICIES, Catalogue.model_validate(apart)))
    assert (verdict.decision, verdict.policies) == ("deny", ("tenant-isolation",))
    assert verdict.reason == "agent/flight-analyst: forbidden by tenant-isolation"
    human = merged(plain, {"people": {"alice": {"tenant": "other"}}})
    verdict = decide(PolicyEngine.load(POLICIES, Catalogue.model_validate(human)))
    assert verdict.reason == "user/alice: forbidden by tenant-isolation"


def test_the_cache_of_chains_is_bounded() -> None:
    engine = PolicyEngine.load(POLICIES)
    with patch("remit.policy.entities.KEPT_CHAINS", 3):
        for number in range(10):
            assert decide(engine, chain=chain_of([{"budget": number + 1}])).permitted
        assert len(engine._entities._chains) == 3


def test_threads_share_an_engine() -> None:
    engine = PolicyEngine.load(POLICIES)
    chains = [chain_of([{"budget": number + 1}]) for number in range(50)]
    with ThreadPoolExecutor(8) as pool:
        verdicts = list(pool.map(lambda chain: decide(engine, chain=chain), chains * 4))
    assert all(verdict.permitted for verdict in verdicts)


def test_the_digest_names_schema_policies_and_catalogue(tmp_path: Path) -> None:
    digests = {ENGINE.digest, PolicyEngine.load(POLICIES).digest}
    assert len(digests) == 1
    digests.add(PolicyEngine.load(folder(tmp_path / "a", extra="// a comment\n")).digest)
    schema = (POLICIES / "schema.cedarschema").read_text() + "// a comment\n"
    digests.add(PolicyEngine.load(folder(tmp_path / "b", schema=schema)).digest)
    catalogue = Catalogue.load(POLICIES / "catalogue.yaml")
    digests.add(PolicyEngine.load(POLICIES, catalogue.located({"notify": "http://127.0.0.1:1"})).digest)
    assert len(digests) == 4
    assert all(len(digest) == 43 for digest in digests)


def test_what_an_engine_says_of_itself() -> None:
    made = PolicyEngine.load(POLICIES)
    assert made.groups["dataset:export"] == {"dataset:export", "read", "egress"}
    assert made.actions >= {"dataset:query", "report:publish"}
    assert "read" not in made.actions
    assert made.policies[0] == "publishing-needs-a-steward"


def test_roles_of() -> None:
    assert ENGINE.roles_of(principal("user/bob")) == {"flight-team", "data-steward"}
    assert ENGINE.roles_of(principal("agent/flight-analyst")) == {"analyst"}
    assert ENGINE.roles_of(principal("user/mallory")) == frozenset()
    assert ENGINE.roles_of(principal("agent/bob")) == frozenset()
    assert ENGINE.roles_of(principal("spiffe://evil.example/user/bob")) == frozenset()


def test_everybody_is_more_than_any_policy_can_want() -> None:
    assert engine_module.SATURATED > 1000
