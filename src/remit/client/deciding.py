"""Deciding: what waits for a person, and their signed yes or no.

- What is shown is what is signed: the binding is computed here from the arguments shown, and must be the one asked for.
  A decision is about the request that was shown, whatever the task says a moment later.
- Whose task it is, and who asks, is read off the verified chain, not believed.
- A decision is for one request of a task or of the tasks below it; when several wait, it must be named.
- The workflow's answer is reported as it is: a decision that does not count is a refusal with its code.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hmac import compare_digest
from typing import TYPE_CHECKING, Any

from remit import jose
from remit.approvals import MAX_LIFETIME, MAX_REASON, TYP, Approval, Decision
from remit.client import workflows
from remit.client.submitting import silent
from remit.errors import Refused, Usage
from remit.step import Call, binding
from remit.temporal import _names as names

if TYPE_CHECKING:
    from remit.client.connection import Connection


_WAITING = "RemitState = 'waiting-approval' AND ExecutionStatus = 'Running'"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request that waits for a person.

    Args:
        task: Workflow id. delegation: The leaf that the agent who asks acts under.
        root: Who delegated. agent: Who asks. purpose: What for.
        request: Its id. binding: What a decision signs. call: Action, resource and the exact input.
        approvers: Roles that may decide. since: RFC 3339. policies: Ids that want a person.
    """

    task: str
    delegation: str
    root: str
    agent: str
    purpose: str
    request: str
    binding: str
    call: Call
    approvers: tuple[str, ...]
    since: str
    policies: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """Return its JSON form: the ``waiting`` of `remit show`, and whose task it is."""
        return {
            "task": self.task,
            "request": self.request,
            "action": self.call.action,
            "resource": self.call.resource,
            "input": dict(self.call.input),
            "approvers": list(self.approvers),
            "since": self.since,
            "policies": list(self.policies),
            "root": self.root,
            "agent": self.agent,
            "purpose": self.purpose,
        }


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision that was taken in; `accepted` is None when the task has not answered yet."""

    task: str
    request: str
    decision: str
    approval: str
    accepted: bool | None

    def document(self) -> dict[str, Any]:
        """Return its JSON form."""
        return {
            "task": self.task,
            "request": self.request,
            "decision": self.decision,
            "approval": self.approval,
            "accepted": self.accepted,
        }


async def waiting(connection: Connection) -> list[Waiting]:
    """Return everything that waits for a decision, oldest first."""
    return await _listed(connection, _WAITING)


async def below(connection: Connection, delegation: str) -> list[Waiting]:
    """Return what waits for a decision under a delegation, oldest first; Temporal finds it a moment late."""
    return await _listed(connection, f"{_WAITING} AND RemitDelegations = {workflows.quoted(delegation)}")


async def _listed(connection: Connection, query: str) -> list[Waiting]:
    found = await workflows.listed(connection, query)
    views = await asyncio.gather(*(_view(connection, execution.id) for execution in found))
    listed = [one for execution, view in zip(found, views, strict=True) for one in requests(view, task=execution.id)]
    return sorted(listed, key=lambda one: one.since)


async def _view(connection: Connection, task: str) -> Mapping[str, Any]:
    try:
        return await workflows.view(connection, task) or {}
    except Refused:  # it ended meanwhile
        return {}


async def request_of(connection: Connection, task: str, request: str | None) -> Waiting:
    """Return the one request of a task, or of a task below it, that is meant, with whose it really is.

    Raises:
        Refused: ``approval.none``, ``approval.which`` or ``approval.shown-otherwise``.
        Held: ``worker.unreachable``.
    """
    shown = await workflows.view(connection, task)
    if shown is None:
        raise silent(task)
    here = requests(shown, task=task) or await below(connection, str(shown.get("delegation")))
    meant = [one for one in here if request is None or one.request == request]
    if not meant:
        raise Refused(
            f"{task} waits for no decision"
            if request is None
            else f"{task} does not wait for request {request[:40]!r}",
            code="approval.none",
            next_action="List what waits with: remit approvals",
        )
    if len(meant) > 1:
        raise Usage(
            f"{task} waits for {len(meant)} decisions",
            code="approval.which",
            next_action=f"Name one with --request: {', '.join(one.request for one in meant)}",
        )
    await _require_same(connection, meant[0])
    chain = await connection.chain(meant[0].delegation)
    return replace(meant[0], root=chain.root.spiffe_id, agent=chain.agent.spiffe_id, purpose=chain.leaf.purpose)


async def decide(connection: Connection, meant: Waiting, decision: Decision, *, reason: str | None = None) -> Decided:
    """Sign a decision about a request that was shown, and send it.

    Raises:
        Refused: It does not count, with the authority's code. Held: Nobody answered.
    """
    if reason is not None and len(reason) > MAX_REASON:
        raise Usage(f"a reason has at most {MAX_REASON} characters", code="approval.reason")
    await _require_same(connection, meant)
    now = int(connection.clock())
    approval = Approval(
        jti=str(uuid.uuid4()),
        iss=connection.principal,
        aud=connection.audience,
        iat=now,
        exp=now + MAX_LIFETIME,
        request=meant.request,
        binding=meant.binding,
        decision=decision,
        reason=reason or None,
    )
    token = await jose.sign(approval.to_claims(), typ=TYP, signer=await connection.signer())
    answer = await workflows.update(connection, meant.task, names.DECIDE, token)
    if answer is None:
        # Nobody took the update; the signal waits in the history for a worker.
        await workflows.signal(connection, meant.task, names.DECIDE, token)
        return Decided(meant.task, meant.request, decision, approval.jti, None)
    if not answer.get("accepted"):
        raise Refused(
            str(answer.get("message") or "the decision does not count"),
            code=str(answer.get("code") or "approval.refused"),
            next_action=f"It still waits for: {', '.join(meant.approvers) or 'nobody'}.",
        )
    return Decided(meant.task, meant.request, decision, approval.jti, True)


def requests(shown: Mapping[str, Any], *, task: str) -> list[Waiting]:
    """Return what a task's own view says waits for a decision."""
    every = [shown.get("waiting"), *(shown.get("also_waiting") or ())]
    return [
        Waiting(
            task=task,
            delegation=str(one.get("delegation") or shown.get("delegation")),
            root=str(shown.get("root")),
            agent=str(one.get("agent") or shown.get("agent")),
            purpose=str(shown.get("purpose")),
            request=str(one.get("request")),
            binding=str(one.get("binding")),
            call=Call(str(one.get("action")), str(one.get("resource")), dict(one.get("input") or {})),
            approvers=tuple(str(role) for role in one.get("approvers") or ()),
            since=str(one.get("since") or ""),
            policies=tuple(str(name) for name in one.get("policies") or ()),
        )
        for one in every
        if isinstance(one, Mapping)
    ]


async def _require_same(connection: Connection, meant: Waiting) -> None:
    """Refuse to sign what is not what was shown."""
    described = await workflows.describe(connection, meant.task)
    computed = binding(
        task=meant.task, run=workflows.first_run(described), delegation=meant.delegation, call=meant.call
    )
    if not compare_digest(computed, meant.binding):
        raise Refused(
            "what this task shows is not what it asks to have signed",
            code="approval.shown-otherwise",
            next_action="Do not decide it; look at the worker that runs it.",
        )
