"""Asking: one question to Cedar, of the policies that can bear on it.

- A question goes to the policies whose heads can match it; the others could never be satisfied, so the answer is that
  of the whole set, in less time.
- Cedar skips a policy that errs and may still say Allow: an answer with errors is not clean, whatever it says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cedarpy
from cedarpy import pst

from remit.policy.entities import Uid, uid
from remit.policy.rules import Rule, can_match, resource_named
from remit.policy.schema import Actions

KEPT_SLICES = 256
"""Policy sets kept ready; one is made for each kind of question, and each resource that a head names."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A question without its context.

    Args:
        who: The principal, as people write it.
        request: Principal, action and resource as Cedar takes them.
        policies: Those that can bear on it.
        reads_approvals: Whether any of them may depend on approvals.
    """

    who: str
    request: Mapping[str, Any]
    policies: cedarpy.PolicySet
    reads_approvals: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What Cedar said.

    Args:
        allowed: Allow.
        reasons: Ids of the policies that decided.
        errors: What went wrong in evaluation or in reading the question.
    """

    allowed: bool
    reasons: tuple[str, ...]
    errors: tuple[str, ...]

    @property
    def clean(self) -> bool:
        """Whether this is an Allow in which nothing went wrong."""
        return self.allowed and not self.errors

    @property
    def why(self) -> str:
        """Why it is not a clean Allow, for people."""
        if self.errors:
            return "the evaluation failed"
        return f"forbidden by {', '.join(sorted(self.reasons))}" if self.reasons else "nothing permits it"


class Questions:
    """Puts questions to one parsed policy set.

    Args:
        schema: The parsed schema, given to every call.
        actions: What the schema says about actions.
        rules: All policies.
    """

    def __init__(self, schema: cedarpy.Schema, actions: Actions, rules: Sequence[Rule]) -> None:
        self._schema = schema
        self._actions = actions
        self._rules = tuple(rules)
        self._named = {name for rule in rules if (name := resource_named(rule.node)) is not None}
        self._slices: dict[tuple[str, str, str, str], tuple[cedarpy.PolicySet, bool]] = {}

    def ask(self, who: str, principal: Uid, action: str, resource: Uid) -> Ask:
        """Return the question whether a principal may do an action on a resource."""
        policies, reads = self._slice(principal["type"], action, resource)
        request = {"principal": principal, "action": uid("Action", action), "resource": resource}
        return Ask(who, request, policies, reads)

    def put(self, ask: Ask, context: str, entities: cedarpy.Entities) -> Answer:
        """Put a question to Cedar.

        Args:
            ask: The question.
            context: Its context, as JSON.
            entities: Everything it can be about.
        """
        result = cedarpy.is_authorized({**ask.request, "context": context}, ask.policies, entities, self._schema)
        errors = tuple(error[:300] for error in result.diagnostics.errors)
        if result.decision is cedarpy.Decision.NoDecision and not errors:
            errors = ("Cedar did not decide",)
        return Answer(result.allowed, tuple(result.diagnostics.reasons), errors)

    def _slice(self, principal: str, action: str, resource: Uid) -> tuple[cedarpy.PolicySet, bool]:
        kind, name = resource["type"], resource["id"]
        key = (principal, action, kind, name if name in self._named else "")
        found = self._slices.get(key)
        if found is None:
            above = self._actions.above[action]
            rules = [
                rule
                for rule in self._rules
                if can_match(rule.node, principal=principal, action=action, above=above, resource=kind, name=name)
            ]
            nodes = pst.FrozenMap({rule.name: rule.node for rule in rules})
            policies = cedarpy.PolicySet.from_pst(pst.PolicySet(pst.FrozenMap(), nodes, ()))
            if len(self._slices) >= KEPT_SLICES:
                self._slices.pop(next(iter(self._slices)), None)
            found = self._slices[key] = (policies, any(rule.reads_approvals for rule in rules))
        return found
