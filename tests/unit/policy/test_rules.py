from __future__ import annotations

import cedarpy
import pytest
from cedarpy import pst

from remit.policy.rules import asks_where_chain_stands, can_match, reads_approvals, resource_named, roles_in, rule


def node(text: str) -> pst.Template:
    (only,) = cedarpy.policies_to_pst(text).static_policies.values()
    return only


def condition(text: str) -> pst.Template:
    return node(f"forbid (principal, action, resource) when {{ {text} }};")


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("context.approvals.count > 1", True),
        ("context has approvals", True),
        ("context has approvals.count", True),
        ("if true then [1, context.approvals.count].contains(2) else false", True),
        ("{ a: context }.a == { a: 1 }", True),
        ('context["approvals"].count > 0', True),
        ("context == { a: 1 }", True),
        ("context.run.cost > 1", False),
        ("context has delegation", False),
        ("resource.approvals.count > 1", False),
        ("resource has approvals", False),
        ('"context.approvals" == "x"', False),
    ],
)
def test_reading_approvals(text: str, reads: bool) -> None:
    assert reads_approvals(condition(text)) is reads


def test_the_head_alone_reads_nothing() -> None:
    assert not reads_approvals(node("permit (principal, action, resource);"))


@pytest.mark.parametrize(
    ("text", "asks"),
    [
        ('context.delegation in Role::"x"', True),
        ('!(true || context.delegation in Role::"x")', True),
        ('context.delegation is Delegation in Role::"x"', True),
        ("context.delegation is Delegation", False),
        ("context.grant in context.delegation", False),
        ('principal in Role::"x"', False),
        ('principal is Agent in Role::"x"', False),
        ("context.delegation == context.grant", False),
    ],
)
def test_asking_where_the_chain_stands(text: str, asks: bool) -> None:
    assert asks_where_chain_stands(condition(text)) is asks


@pytest.mark.parametrize(
    ("head", "matches"),
    [
        ("principal, action, resource", True),
        ("principal is Agent, action, resource", True),
        ("principal is User, action, resource", False),
        ('principal is Agent in Role::"x", action, resource', True),
        ('principal in Role::"x", action, resource', True),
        ('principal == User::"x", action, resource', False),
        ('principal == Agent::"x", action, resource', True),
        ('principal, action == Action::"query", resource', True),
        ('principal, action == Action::"read", resource', False),
        ('principal, action in Action::"read", resource', True),
        ('principal, action in [Action::"write", Action::"query"], resource', True),
        ('principal, action in [Action::"write"], resource', False),
        ("principal, action, resource is Dataset", True),
        ("principal, action, resource is Service", False),
        ('principal, action, resource == Service::"x"', False),
        ('principal, action, resource in Space::"x"', True),
    ],
)
def test_a_head_that_cannot_match(head: str, matches: bool) -> None:
    above = frozenset({"query", "read", "tool"})
    template = node(f"permit ({head});")
    assert can_match(template, principal="Agent", action="query", above=above, resource="Dataset") is matches


def test_a_head_may_match_a_resource_of_any_type() -> None:
    template = node("permit (principal, action, resource is Service);")
    assert can_match(template, principal="Agent", action="query", above=frozenset({"query"}), resource=None)


def test_a_slot_may_match_whatever_is_put_there() -> None:
    (template,) = cedarpy.policies_to_pst("permit (principal == ?principal, action, resource);").templates.values()
    assert can_match(template, principal="Agent", action="query", above=frozenset({"query"}), resource="Dataset")


def test_a_rule_without_annotations_routes_to_nobody() -> None:
    made = rule(node('@id("x") permit (principal, action, resource);'), 3)
    assert (made.name, made.place, made.approvers, made.wait, made.ttl) == ("x", 3, (), None, None)


@pytest.mark.parametrize(
    ("head", "name", "matches"),
    [
        ('resource == Dataset::"flights"', "flights", True),
        ('resource == Dataset::"payroll"', "flights", False),
        ('resource == Dataset::"payroll"', None, True),
        ('resource == Service::"flights"', "flights", False),
        ('resource in Space::"payroll"', "flights", True),
        ("resource is Dataset", "flights", True),
        ("resource", "flights", True),
    ],
)
def test_a_head_that_names_another_resource_cannot_match(head: str, name: str | None, matches: bool) -> None:
    template = node(f"permit (principal, action, {head});")
    above = frozenset({"query"})
    found = can_match(template, principal="Agent", action="query", above=above, resource="Dataset", name=name)
    assert found is matches


def test_the_resource_a_head_names() -> None:
    assert resource_named(node('permit (principal, action, resource == Dataset::"payroll");')) == "payroll"
    assert resource_named(node('permit (principal == User::"a", action, resource in Space::"s");')) is None


def test_roles_in_an_annotation() -> None:
    assert roles_in("data-steward, security  data-steward") == ("data-steward", "security")
    assert roles_in(" ,") == ()
