"""What is relied on in Cedar itself, and its traps; a new version of cedarpy must still behave so."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cedarpy
import pytest

from remit.policy import Approvals, PolicyEngine, RunContext
from remit.policy.entities import moment
from remit.step import Call
from tests.policies.questions import NOW, POLICIES, chain_of
from tests.unit.policy.folders import folder

SCHEMA = """
entity Team; entity User in [Team]; entity Note { level: Long };
action group; action look in [group] appliesTo {
  principal: [User], resource: [Note], context: { at: datetime, some: Set<Action>, count: Long },
};
"""
PERMIT = '@id("may") permit (principal, action, resource);'
ENTITIES: list[dict[str, Any]] = [{"uid": {"type": "Note", "id": "n"}, "attrs": {"level": 1}, "parents": []}]
RUN = RunContext(now=NOW, step=1, attempt=1, spent=0, cost=1)
QUERY = Call("dataset:query", "flights", {})


def ask(policies: str, *, entities_schema: bool = True, **context: Any) -> cedarpy.AuthzResult:
    schema = cedarpy.Schema.from_str(SCHEMA)
    entities = cedarpy.Entities.from_json_str(json.dumps(ENTITIES), schema if entities_schema else None)
    request = {
        "principal": {"type": "User", "id": "u"},
        "action": {"type": "Action", "id": "look"},
        "resource": {"type": "Note", "id": "n"},
        "context": {"at": "2026-03-01T10:00:00Z", "some": [], "count": 1, **context},
    }
    return cedarpy.is_authorized(request, cedarpy.PolicySet.from_str(policies), entities, schema)


def engine(tmp_path: Path, extra: str) -> PolicyEngine:
    return PolicyEngine.load(folder(tmp_path, extra=extra))


def decide(engine: PolicyEngine, **chain: Any) -> Any:
    return engine.decide(chain=chain_of([chain]), call=QUERY, run=RUN, approvals=Approvals())


def test_the_version_is_the_one_these_tests_were_written_for() -> None:
    assert version("cedarpy") == "4.12.2"


def test_a_forbid_that_errs_is_skipped_by_cedar_and_a_deny_here(tmp_path: Path) -> None:
    forbid = '@id("no") forbid (principal, action, resource) when { context.count * 9223372036854775807 > 5 };'
    raw = ask(PERMIT + forbid, count=2)
    assert raw.allowed
    assert raw.diagnostics.errors
    erring = """
    @id("errs") forbid (principal, action == Action::"dataset:query", resource)
    when { context.run.now.toTime().toMilliseconds() * 9223372036854775807 > 0 };
    """
    verdict = decide(engine(tmp_path, erring))
    assert verdict.decision == "deny"
    assert verdict.errors


def test_entities_without_the_schema_lose_action_groups() -> None:
    forbid = '@id("no") forbid (principal, action in Action::"group", resource);'
    assert ask(PERMIT + forbid, entities_schema=False).allowed
    assert not ask(PERMIT + forbid).allowed


def test_forbids_on_action_groups_fire_here(tmp_path: Path) -> None:
    forbid = '@id("no-reading") forbid (principal, action in Action::"read", resource);'
    assert decide(engine(tmp_path, forbid)).policies == ("no-reading",)


def test_a_malformed_request_is_no_decision_and_a_missing_principal_a_key_error() -> None:
    assert ask(PERMIT, count="1").decision is cedarpy.Decision.NoDecision
    with pytest.raises(KeyError):
        cedarpy.is_authorized({"action": 'Action::"look"', "resource": 'Note::"n"'}, PERMIT, [])


def test_a_moment_is_written_as_cedar_reads_it() -> None:
    assert moment(NOW) == "2026-03-01T10:00:00Z"
    same = (
        PERMIT
        + '@id("no") forbid (principal, action, resource) unless { context.at == datetime("2026-03-01T10:00:00Z") };'
    )
    assert ask(same, at=moment(NOW)).allowed
    assert ask(PERMIT, at="2026-03-01 10:00:00").decision is cedarpy.Decision.NoDecision
    assert ask(PERMIT, at=NOW).decision is cedarpy.Decision.NoDecision


def test_contains_all_is_literal_on_actions_so_groups_are_expanded_here() -> None:
    literal = '@id("may") permit (principal, action, resource) when { context.some.containsAll([Action::"look"]) };'
    assert not ask(literal, some=[{"__entity": {"type": "Action", "id": "group"}}]).allowed
    assert ask(literal, some=[{"__entity": {"type": "Action", "id": "look"}}]).allowed
    real = PolicyEngine.load(POLICIES)
    parent = chain_of([{"actions": ["read"]}])
    child = chain_of([{"actions": ["read"]}, {"to": "agent/report-writer", "actions": ["dataset:query"], "budget": 1}])
    assert real.may_delegate(chain=parent, child=child.leaf, run=RUN).permitted


def test_policy_ids_are_positions_in_cedar_and_names_here(tmp_path: Path) -> None:
    assert ask(PERMIT).diagnostics.reasons == ["policy0"]
    first = '@id("aaa-first") permit (principal is User, action == Action::"submit", resource) when { false };'
    path = folder(tmp_path)
    (path / "a.cedar").write_text(first)
    assert decide(PolicyEngine.load(path)).policies == decide(PolicyEngine.load(POLICIES)).policies


def test_an_annotation_without_a_value_is_empty() -> None:
    (node,) = cedarpy.policies_to_pst("@id permit (principal, action, resource);").static_policies.values()
    assert dict(node.annotations) == {"id": ""}


def test_validation_numbers_policies_by_their_order() -> None:
    wrong = '@id("x") permit (principal, action, resource) when { resource.nothing };'
    (error,) = cedarpy.validate_policies(f"{PERMIT}\n{wrong}", cedarpy.Schema.from_str(SCHEMA)).errors
    assert error.policy_id == "policy1"


def test_an_evaluation_denies_without_the_schemas_help(tmp_path: Path) -> None:
    text = (POLICIES / "schema.cedarschema").read_text()
    other = text.replace("input: { limit?: Long }", "input: { limit?: String }", 1)
    real = PolicyEngine.load(folder(tmp_path, schema=other))
    call = Call("dataset:query", "flights", {"limit": 5})
    assert real.decide(chain=chain_of([{}]), call=call, run=RUN, approvals=Approvals()).errors
