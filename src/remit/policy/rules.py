"""Rules: the policies as parsed nodes, and what can be read off them without asking.

- A policy's id is its ``@id``; Cedar's own ids are positions and mean nothing.
- Only the head of a policy (principal, action, resource) says whom it can ever be about. A policy whose head cannot
  match is never satisfied, so leaving it out of an ask changes no answer.
- `reads_approvals` errs towards yes: any use of ``context`` but for another named member of it counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from cedarpy import pst

from remit.duration import seconds

_CONTEXT = pst.Var("context")


@dataclass(frozen=True, slots=True)
class Rule:
    """One policy.

    Args:
        node: Its parsed form.
        place: Its position among all policies; ids are reported in this order.
        approvers: Roles of ``@approvers``.
        wait: ``@wait`` in seconds. ttl: ``@ttl`` in seconds.
        reads_approvals: Whether its condition may depend on ``context.approvals``.
    """

    node: pst.Template
    place: int
    approvers: tuple[str, ...]
    wait: int | None
    ttl: int | None
    reads_approvals: bool

    @property
    def name(self) -> str:
        """Its ``@id``."""
        return str(self.node.annotations["id"])


def rule(node: pst.Template, place: int) -> Rule:
    """Return a linted policy as a rule.

    Raises:
        ValueError: An annotation is malformed; the lint has refused it before.
    """
    notes = node.annotations
    return Rule(
        node=replace(node, id=notes["id"]),
        place=place,
        approvers=roles_in(notes.get("approvers", "")),
        wait=seconds(notes["wait"]) if "wait" in notes else None,
        ttl=seconds(notes["ttl"]) if "ttl" in notes else None,
        reads_approvals=reads_approvals(node),
    )


def roles_in(annotation: str) -> tuple[str, ...]:
    """Return the roles an ``@approvers`` names, separated by commas or spaces."""
    return tuple(dict.fromkeys(annotation.replace(",", " ").split()))


def reads_approvals(node: pst.Template) -> bool:
    """Return whether a policy's conditions may depend on ``context.approvals``."""
    todo: list[Any] = [clause.expr for clause in node.clauses]
    while todo:
        value = todo.pop()
        if value == _CONTEXT:
            return True
        if isinstance(value, pst.GetAttr) and value.base == _CONTEXT:
            if value.attr == "approvals":
                return True
        elif isinstance(value, pst.HasAttr) and value.base == _CONTEXT:
            if "approvals" in value.attrs:
                return True
        else:
            todo.extend(_inside(value))
    return False


def asks_where_chain_stands(node: pst.Template) -> bool:
    """Return whether a policy's conditions ask ``context.delegation in …``."""
    todo: list[Any] = [clause.expr for clause in node.clauses]
    delegation = pst.GetAttr(_CONTEXT, "delegation")
    while todo:
        value = todo.pop()
        if isinstance(value, pst.BinaryOp) and value.op == "in" and value.left == delegation:
            return True
        if isinstance(value, pst.Is) and value.in_expr is not None and value.base == delegation:
            return True
        todo.extend(_inside(value))
    return False


def _inside(value: object) -> Iterator[object]:
    """Yield what an expression is directly made of."""
    if isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, tuple):
        yield from value
    elif is_dataclass(value):
        yield from (getattr(value, one.name) for one in fields(value))


def can_match(
    node: pst.Template,
    *,
    principal: str,
    action: str,
    above: frozenset[str],
    resource: str | None,
    name: str | None = None,
) -> bool:
    """Return whether a policy's head can match at all.

    Args:
        node: The policy.
        principal: The principal's entity type.
        action: The action asked about.
        above: That action and every group it stands under.
        resource: The resource's entity type; None for any.
        name: The resource's id; None for any.
    """
    if isinstance(node.action, pst.ActionEq) and node.action.entity.id != action:
        return False
    if isinstance(node.action, pst.ActionIn) and not above & {one.id for one in node.action.entities}:
        return False
    return _possible(node.principal, principal) and (resource is None or _possible(node.resource, resource, name))


def resource_named(node: pst.Template) -> str | None:
    """Return the id of the one resource a policy's head names, None when it names none."""
    named = node.resource.entity if isinstance(node.resource, pst.ScopeEq) else None
    return named.id if isinstance(named, pst.EntityUid) else None


def _possible(constraint: pst.PrincipalOrResourceConstraint, kind: str, name: str | None = None) -> bool:
    """Return whether a constraint can let an entity through; group membership is left to Cedar."""
    if isinstance(constraint, pst.ScopeIs | pst.ScopeIsIn):
        return str(constraint.entity_type) == kind
    if isinstance(constraint, pst.ScopeEq) and isinstance(constraint.entity, pst.EntityUid):
        return str(constraint.entity.type) == kind and name in (None, constraint.entity.id)
    return True
