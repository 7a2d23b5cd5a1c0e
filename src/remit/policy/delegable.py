"""Delegable: which actions and groups a delegation may name.

- A name is an action under ``tool``, or a group with at least one such action; ``tool`` itself says nothing.
- An action counts only if some policy could permit it to some agent of the catalogue: what nobody may ever do through
  an agent is refused when the delegation is made, not at the step.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from cedarpy import pst

from remit.catalogue import Catalogue, nearest
from remit.errors import Refused
from remit.policy.rules import Rule, can_match
from remit.policy.schema import TOOL, Actions


def check_delegable(names: Collection[str], *, actions: Actions, rules: Iterable[Rule], catalogue: Catalogue) -> None:
    """Check the actions and groups of a delegation.

    Raises:
        Refused: ``delegation.action`` for the first that cannot be delegated, naming the nearest right one.
    """
    possible = [action for action in actions.tools if _possible(action, actions, list(rules), catalogue)]
    right = {name for action in possible for name in actions.groups[action]}
    if not names:
        raise _refused("a delegation names no action", "", right)
    for name in names:
        if name in right:
            continue
        if name == TOOL:
            raise _refused(f"{TOOL!r} would delegate everything", "", right)
        if name in actions.tools:
            raise _refused(f"no policy permits an agent {name!r}, so nobody may delegate it", name, right)
        if name in actions.groups:
            raise _refused(f"no policy permits an agent any action of {name!r}", name, right)
        if name in actions.above:
            raise _refused(f"{name!r} is not something a tool does", name, right)
        raise _refused(f"there is no action {name[:80]!r}", name, right)


def _refused(message: str, name: str, right: Collection[str]) -> Refused:
    near = nearest(name, right, cutoff=0.5) if name else None
    listed = f"Actions are: {', '.join(sorted(right))}."
    return Refused(
        message,
        code="delegation.action",
        next_action=f"Did you mean {near!r}? {listed}" if near else listed,
    )


def _possible(action: str, actions: Actions, rules: list[Rule], catalogue: Catalogue) -> bool:
    """Return whether some permit could match an agent, and no forbid always does."""
    above = actions.above[action]
    fitting = [
        rule
        for rule in rules
        if any(
            can_match(rule.node, principal="Agent", action=action, above=above, resource=resource)
            for resource in actions.tools[action].resources
        )
    ]
    if any(rule.node.effect == "forbid" and _always(rule.node) for rule in fitting):
        return False
    return any(rule.node.effect == "permit" and _held(rule.node.principal, catalogue) for rule in fitting)


def _always(node: pst.Template) -> bool:
    return (
        not node.clauses
        and isinstance(node.principal, pst.ScopeAny | pst.ScopeIs)
        and isinstance(node.resource, pst.ScopeAny)
    )


def _held(constraint: pst.PrincipalOrResourceConstraint, catalogue: Catalogue) -> bool:
    """Return whether some agent of the catalogue fits the principal of a permit."""
    entity = getattr(constraint, "entity", None)
    if not isinstance(entity, pst.EntityUid):
        return bool(catalogue.agents)
    if str(entity.type) == "Role":
        return any(entity.id in agent.roles for agent in catalogue.agents.values())
    return bool(catalogue.agents)  # an agent that a policy names is in the catalogue: the lint has seen to that
