"""Engine: asks Cedar, and turns its answers into verdicts.

- A tool call needs two yeses: one for the agent, one for the root human.
- Ask as things stand. Two clean Allows are a permit; any evaluation error, however small, is a deny.
- If denied, ask again as if everybody had approved. Two clean Allows then mean that approvals are what is missing.
- An answer is never kept; parsed policies, schema and entities are, because they never change.
- Nothing here raises for a bad call: whatever cannot be asked is a deny with its error.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable, Collection, Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cedarpy
import rfc8785

from remit.catalogue import Agent, Catalogue, Person
from remit.delegation import ActionGroups, Delegation
from remit.policy import lint
from remit.policy.asking import Answer, Ask, Questions
from remit.policy.context import Approvals, RunContext
from remit.policy.delegable import check_delegable
from remit.policy.entities import Entities, Uid, UnknownName, moment, reference, uid
from remit.policy.source import CATALOGUE, Source
from remit.principals import Principal
from remit.step import Call
from remit.verdict import Verdict, deny

if TYPE_CHECKING:
    from remit.chain import Chain

SATURATED = 1_000_000
"""How many people have approved in the second ask: more than any policy can want."""

_TASK = uid("Task", "task")
_STEP = uid("Step", "step")


class PolicyEngine:
    """Decides with one policy folder; safe to share between threads.

    Attributes:
        digest: base64url SHA-256 over schema, policies and catalogue; audit records name it.
        catalogue: Who and what there is.
        groups: Action or group that can be named in a delegation → everything it stands under, itself included.
        actions: Every action a tool can declare.
        policies: Ids of all policies, in file order.
    """

    def __init__(self, source: Source, catalogue: Catalogue) -> None:
        schema, tools, rules = lint.check(source, catalogue)
        self.catalogue = catalogue
        self.groups: ActionGroups = tools.groups
        self.actions = frozenset(tools.tools)
        self.policies = tuple(rule.name for rule in rules)
        self.digest = _digest(source, catalogue)
        self._tools = tools
        self._rules = {rule.name: rule for rule in rules}
        self._entities = Entities(catalogue, schema, tools)
        self._questions = Questions(schema, tools, rules)
        self._everybody = Approvals(SATURATED, frozenset(catalogue.roles))

    @classmethod
    def load(cls, folder: Path, catalogue: Catalogue | None = None) -> PolicyEngine:
        """Read, lint and parse a policy folder, once.

        Args:
            folder: Holds ``schema.cedarschema``, ``*.cedar`` and ``catalogue.yaml``.
            catalogue: Used instead of the folder's own.

        Raises:
            PolicyInvalid: Everything that is wrong with the policies.
            Usage: ``catalogue.invalid``.
        """
        source = Source.read(folder)
        return cls(source, catalogue or Catalogue.load(folder / CATALOGUE))

    def expand(self, names: Iterable[str]) -> frozenset[str]:
        """Return the tool actions these actions and groups cover; an unknown name covers nothing."""
        return self._tools.expand(names)

    def delegable(self, names: Collection[str]) -> None:
        """Check that a delegation can name these actions and groups.

        Raises:
            Refused: ``delegation.action``, naming the nearest right one.
        """
        check_delegable(names, actions=self._tools, rules=self._rules.values(), catalogue=self.catalogue)

    def roles_of(self, principal: Principal) -> frozenset[str]:
        """Return the roles a principal holds; none if the catalogue does not know it."""
        entry = self._entry(principal)
        return frozenset(entry.roles) if entry else frozenset()

    def decide(self, *, chain: Chain, call: Call, run: RunContext, approvals: Approvals) -> Verdict:
        """Decide one tool call, for the leaf agent and for the root human.

        Args:
            chain: A verified chain.
            call: What is to be done.
            run: The attempt.
            approvals: Those that hold for exactly this call.
        """
        return _closed(lambda: self._decide(chain, call, run, approvals))

    def may_delegate(self, *, chain: Chain, child: Delegation, run: RunContext) -> Verdict:
        """Decide whether the leaf agent may hand this delegation on.

        Args:
            chain: The chain it would extend.
            child: The delegation about to be made.
            run: ``spent`` is what the leaf delegation has spent.
        """

        def asked() -> Verdict:
            grant = {"grant": uid("Delegation", child.jti), **_below(chain, run)}
            holder = self._entities.principal(child.delegate)
            return self._once(chain.agent, "delegate", holder, grant, self._entities.of_grant(child, chain))

        return _closed(asked)

    def may_submit(self, *, root: Delegation) -> Verdict:
        """Decide whether a human may hand this first delegation to its agent."""

        def asked() -> Verdict:
            grant = {"grant": uid("Delegation", root.jti)}
            holder = self._entities.principal(root.delegate)
            return self._once(root.iss, "submit", holder, grant, self._entities.of_grant(root))

        return _closed(asked)

    def may_resume(self, *, chain: Chain, owner: Principal, run: RunContext) -> Verdict:
        """Decide whether a waiting task may go on under this chain.

        Args:
            chain: The fresh chain.
            owner: The human whose task it is.
            run: The moment.
        """

        def asked() -> Verdict:
            entities = self._entities.with_added(self._entities.of_chain(chain), [self._task(owner, owner)])
            return self._once(chain.agent, "resume", _TASK, _below(chain, run), entities)

        return _closed(asked)

    def stops(self, who: Principal, whose: Principal) -> bool:
        """Tell whether a human may stop what is in a principal's tenant, without being its owner.

        A principal that the catalogue does not know any more is in nobody's tenant: any tenant's staff stops it.
        """
        return self.may_revoke(by=who, owner=None, whose=whose if self._entry(whose) else who).permitted

    def may_revoke(self, *, by: Principal, owner: Principal | None, whose: Principal | None = None) -> Verdict:
        """Decide whether a human may stop what `owner` delegated.

        Args:
            by: Who asks.
            owner: The root human of what is to be stopped; None: whether `by` may stop whatever is in that tenant.
            whose: A principal of the tenant; None: the owner, or `by` itself.
        """

        def asked() -> Verdict:
            task = self._task(owner, whose or owner or by)
            entities = self._entities.with_added(self._entities.catalogued, [task])
            return self._once(by, "revoke", _TASK, {}, entities)

        return _closed(asked)

    def may_approve(self, *, approver: Principal, requester: Principal, approvers: Collection[str]) -> Verdict:
        """Decide whether a human's decision counts for a step.

        Args:
            approver: Who decided.
            requester: The root human of the chain that asks.
            approvers: The roles that were asked.
        """

        def asked() -> Verdict:
            attrs = {
                "requester": {"__entity": self._entities.principal(requester)},
                "approvers": [reference("Role", role) for role in sorted(set(approvers))],
            }
            step = {"uid": _STEP, "parents": [_TASK], "attrs": attrs}
            added = [self._task(requester, requester), step]
            entities = self._entities.with_added(self._entities.catalogued, added)
            return self._once(approver, "approve", _STEP, {}, entities)

        return _closed(asked)

    def _decide(self, chain: Chain, call: Call, run: RunContext, approvals: Approvals) -> Verdict:
        tool = self._tools.tools.get(call.action)
        if tool is None:
            return deny(f"there is no tool action {call.action[:80]!r}")
        resource = self._entities.resource(call.resource)
        entities = self._entities.of_chain(chain)
        asks = [self._ask(who, call.action, resource) for who in (chain.agent, chain.root)]
        context = _below(chain, run)
        context["input"] = {name: value for name in tool.inputs if (value := call.input.get(name)) is not None}

        as_is = json.dumps({**context, "approvals": _approvals(approvals)})
        first = [self._questions.put(ask, as_is, entities) for ask in asks]
        if any(answer.errors for answer in first) or all(answer.allowed for answer in first):
            return self._verdict(asks, first)

        # Where no policy reads the approvals they cannot change the answer, so it need not be asked again.
        saturated = json.dumps({**context, "approvals": _approvals(self._everybody)})
        second = [
            self._questions.put(ask, saturated, entities) if ask.reads_approvals else answer
            for ask, answer in zip(asks, first, strict=True)
        ]
        if all(answer.clean for answer in second):
            return self._needs_approval(asks[0].who, first)
        return self._verdict(asks, second)

    def _entry(self, principal: Principal) -> Person | Agent | None:
        if principal.trust_domain != self.catalogue.trust_domain:
            return None
        known = self.catalogue.people if principal.kind == "user" else self.catalogue.agents
        return known.get(principal.name)

    def _task(self, owner: Principal | None, of: Principal) -> dict[str, Any]:
        """Return the entity of a task in the tenant of a principal."""
        attrs = {} if owner is None else {"owner": {"__entity": self._entities.principal(owner)}}
        return {"uid": _TASK, "parents": [self._entities.tenant_of(of)], "attrs": attrs}

    def _ask(self, who: Principal, action: str, resource: Uid) -> Ask:
        return self._questions.ask(who.short, self._entities.principal(who), action, resource)

    def _once(
        self,
        who: Principal,
        action: str,
        resource: Uid,
        context: Mapping[str, Any],
        entities: cedarpy.Entities,
    ) -> Verdict:
        ask = self._ask(who, action, resource)
        return self._verdict([ask], [self._questions.put(ask, json.dumps(context), entities)])

    def _verdict(self, asks: list[Ask], answers: list[Answer]) -> Verdict:
        """Return a permit if every answer is a clean Allow, else a deny."""
        if all(answer.clean for answer in answers):
            policies = self._ordered(answers)
            return Verdict(
                "permit", policies, ttl=_least(self._rules[name].ttl for name in policies), reason="permitted"
            )
        refused = [(ask, answer) for ask, answer in zip(asks, answers, strict=True) if not answer.clean]
        return deny(
            "; ".join(f"{ask.who}: {answer.why}" for ask, answer in refused),
            policies=self._ordered(answer for _, answer in refused),
            errors=tuple(dict.fromkeys(error for _, answer in refused for error in answer.errors)),
        )

    def _needs_approval(self, who: str, first: list[Answer]) -> Verdict:
        policies = self._ordered(answer for answer in first if not answer.allowed)
        rules = [self._rules[name] for name in policies]
        approvers = tuple(dict.fromkeys(role for rule in rules for role in rule.approvers))
        return Verdict(
            "needs-approval",
            policies,
            approvers=approvers,
            wait=_least(rule.wait for rule in rules),
            reason=f"{who} needs the approval of {', '.join(approvers)}",
        )

    def _ordered(self, answers: Iterable[Answer]) -> tuple[str, ...]:
        names = {name for answer in answers for name in answer.reasons}
        return tuple(sorted(names, key=lambda name: self._rules[name].place))


def _closed(ask: Callable[[], Verdict]) -> Verdict:
    """Return the verdict, or a deny for whatever goes wrong on the way to it."""
    try:
        return ask()
    except UnknownName as error:
        return deny(str(error))
    except Exception as error:  # cedarpy raises KeyError, ValueError and more for what it cannot read
        return deny("the question could not be put to Cedar", errors=(f"{type(error).__name__}: {error}"[:300],))


def _least(values: Iterable[int | None]) -> int | None:
    return min((value for value in values if value is not None), default=None)


def _below(chain: Chain, run: RunContext) -> dict[str, Any]:
    """Return the context every question about a chain has: its leaf, and the moment."""
    return {
        "delegation": uid("Delegation", chain.leaf.jti),
        "run": {
            "now": moment(run.now),
            "step": run.step,
            "attempt": run.attempt,
            "spent": run.spent,
            "cost": run.cost,
        },
    }


def _approvals(approvals: Approvals) -> dict[str, Any]:
    return {"count": approvals.count, "roles": [uid("Role", role) for role in sorted(approvals.roles)]}


def _digest(source: Source, catalogue: Catalogue) -> str:
    content: dict[str, Any] = {
        "schema": source.schema,
        "policies": source.policies,
        "catalogue": catalogue.model_dump(mode="json"),
    }
    return urlsafe_b64encode(sha256(rfc8785.dumps(content)).digest()).rstrip(b"=").decode()
