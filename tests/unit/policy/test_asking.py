"""Asking: which policies a question goes to, what is kept of that, and what Cedar's answers are taken for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import cedarpy
import pytest

from remit.policy import asking
from remit.policy.asking import Answer, Ask, Questions
from remit.policy.entities import uid
from remit.policy.rules import rule

POLICIES = """
@id("all") permit (principal, action, resource);
@id("agents") permit (principal is Agent, action, resource);
@id("datasets") permit (principal, action, resource is Dataset);
@id("payroll") forbid (principal, action, resource == Dataset::"payroll");
@id("asks") forbid (principal is User, action == Action::"write", resource) unless { context.approvals.count > 0 };
"""


def questions() -> Questions:
    nodes = cedarpy.policies_to_pst(POLICIES).static_policies.values()
    rules = [rule(node, place) for place, node in enumerate(nodes)]
    actions: Any = SimpleNamespace(above={name: frozenset({name, "tool"}) for name in ("read", "write")})
    return Questions(cedarpy.Schema.from_json_str("{}"), actions, rules)


def asked(made: Questions, kind: str, name: str, *, who: str = "Agent", action: str = "read") -> Ask:
    return made.ask(f"{who}/x", uid(who, "x"), action, uid(kind, name))


def names(ask: Ask) -> set[str]:
    return set(ask.policies.to_pst().static_policies)


AGENT_DATASET = {"all", "agents", "datasets"}
QUESTIONS = [
    ("Dataset", "flights", "Agent", "read", AGENT_DATASET),
    ("Dataset", "payroll", "Agent", "read", {*AGENT_DATASET, "payroll"}),
    ("Service", "payroll", "Agent", "read", {"all", "agents"}),
    ("Service", "flights", "Agent", "read", {"all", "agents"}),
    ("Dataset", "flights", "User", "read", {"all", "datasets"}),
    ("Dataset", "flights", "User", "write", {"all", "datasets", "asks"}),
    ("Dataset", "payroll", "User", "write", {"all", "datasets", "asks", "payroll"}),
    ("Dataset", "flights", "Agent", "write", AGENT_DATASET),
]


@pytest.mark.parametrize("turn", [1, -1])
def test_a_question_goes_to_what_can_match_it_whatever_was_asked_before(turn: int) -> None:
    made = questions()
    for kind, name, who, action, expected in [*QUESTIONS[::turn], *QUESTIONS[::turn]]:
        ask = asked(made, kind, name, who=who, action=action)
        assert names(ask) == expected
        assert ask.reads_approvals is ("asks" in expected)


def test_a_question_names_who_asks_what() -> None:
    ask = asked(questions(), "Dataset", "flights")
    assert ask.who == "Agent/x"
    assert ask.request == {
        "principal": {"type": "Agent", "id": "x"},
        "action": {"type": "Action", "id": "read"},
        "resource": {"type": "Dataset", "id": "flights"},
    }


def test_policies_are_kept_ready_for_questions_of_a_kind() -> None:
    made = questions()
    first = asked(made, "Dataset", "flights").policies
    assert asked(made, "Dataset", "reports").policies is first
    assert asked(made, "Dataset", "payroll").policies is not first
    assert asked(made, "Dataset", "payroll").policies is asked(made, "Dataset", "payroll").policies
    assert len(made._slices) == 2


def test_only_so_many_are_kept_and_the_oldest_goes_first() -> None:
    made = questions()
    with patch.object(asking, "KEPT_SLICES", 2):
        first = asked(made, "Dataset", "flights").policies
        second = asked(made, "Dataset", "payroll").policies
        assert asked(made, "Dataset", "flights").policies is first
        asked(made, "Service", "x")
        assert len(made._slices) == 2
        assert asked(made, "Dataset", "payroll").policies is second
        assert asked(made, "Dataset", "flights").policies is not first


def put(answer: dict[str, Any]) -> Answer:
    made = questions()
    with patch.object(cedarpy, "is_authorized", return_value=cedarpy.AuthzResult(answer)):
        return made.put(asked(made, "Dataset", "flights"), "{}", cedarpy.Entities.from_json_str("[]"))


def test_what_cedar_says_is_what_it_is_taken_for() -> None:
    allowed = put({"decision": "Allow", "diagnostics": {"reason": ["a", "b"], "errors": []}})
    assert allowed == Answer(True, ("a", "b"), ())
    assert allowed.clean
    erring = put({"decision": "Allow", "diagnostics": {"reason": ["a"], "errors": ["x" * 400]}})
    assert erring == Answer(True, ("a",), ("x" * 300,))
    assert not erring.clean
    assert put({"decision": "NoDecision"}) == Answer(False, (), ("Cedar did not decide",))
    assert put({"decision": "NoDecision", "diagnostics": {"errors": ["why"]}}) == Answer(False, (), ("why",))


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Answer(False, (), ("x",)), "the evaluation failed"),
        (Answer(False, ("b", "a"), ()), "forbidden by a, b"),
        (Answer(False, (), ()), "nothing permits it"),
    ],
)
def test_why_it_is_no_clean_allow(answer: Answer, why: str) -> None:
    assert answer.why == why
    assert not answer.clean
