"""Reading tasks: what runs, what one task did, who handed what to whom.

- The workflow says how far a task is; attempts come from the audit log, standing from the registry.
- Where one of them does not answer, what the others say is still shown, and what is missing is named ``unknown``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError

from remit import audit
from remit.chain import Chain
from remit.client import targets, workflows
from remit.client.attempts import merged, moment
from remit.client.deciding import below
from remit.delegation import Delegation
from remit.errors import Held, InvalidDocument, Refused, RemitError
from remit.statements import DelegationSubject, Statement, Status, Subject
from remit.temporal._failure import ending_of, facts_of
from remit.together import both

if TYPE_CHECKING:
    from temporalio.client import WorkflowExecution

    from remit.client.connection import Connection

FINAL = frozenset({"completed", "failed", "halted", "rejected"})
_STATES: Mapping[WorkflowExecutionStatus | None, str] = {
    WorkflowExecutionStatus.COMPLETED: "completed",
    WorkflowExecutionStatus.FAILED: "failed",
    WorkflowExecutionStatus.TIMED_OUT: "failed",
    WorkflowExecutionStatus.CANCELED: "halted",
    WorkflowExecutionStatus.TERMINATED: "halted",
}
_STOPPED = "RemitState = 'suspended' AND ExecutionStatus = 'Running'"
_ASKED = 5
"""Most children asked whether they are stopped still: Temporal finds them a moment late."""
_DOCUMENTED = (
    "task", "run_id", "state", "root", "agent", "purpose", "chain", "steps", "waiting", "children", "result", "error",
)  # fmt: skip


async def tasks(connection: Connection, *, query: str = "", most: int = 100) -> list[dict[str, Any]]:
    """Return governed tasks, newest first."""
    wanted = "RemitState IS NOT NULL" + (f" AND ({query})" if query else "")
    return [_entry(execution) for execution in await workflows.listed(connection, wanted, most=most)]


async def show(connection: Connection, task: str) -> dict[str, Any]:
    """Return one task as `remit show --json` prints it.

    Raises:
        Refused: ``task.unknown``, ``task.ungoverned``. Held: Temporal does not answer.
    """
    view, described = await both(workflows.view(connection, task), workflows.describe(connection, task))
    found = dict(view) if view is not None else _from_temporal(described)
    if not found.get("delegation"):
        raise Refused(f"{task[:80]!r} carries no delegation", code="task.ungoverned", next_action="See `remit tasks`.")
    if described.status in _STATES and found["state"] not in FINAL:
        found["state"] = _STATES[described.status]
    if found["state"] in FINAL and found.get("result") is None and found.get("error") is None:
        found |= await _end(connection, task)
    if found["state"] == "running" and (under := await below(connection, str(found["delegation"]))):
        # A task whose child waits for a person waits for that person.
        found["state"], found["waiting"] = "waiting-approval", under[0].document()
    elif found["state"] == "running" and found.get("children"):
        found |= await _stopped_below(connection, found)
    found["chain"] = await _chain(connection, found)
    found["purpose"] = found["purpose"] or await _purpose(connection, found)
    if found.get("others"):
        found["others"] = [await _other(connection, one) for one in found["others"]]
    found["steps"] = merged(found, audit.read(connection.settings.audit_folder, task=task))
    extra = {name: found[name] for name in ("also_waiting", "stopped", "others") if found.get(name)}
    return {name: found.get(name) for name in _DOCUMENTED} | extra


async def delegations(connection: Connection, target: str | None = None) -> list[dict[str, Any]]:
    """Return the trees of delegations, newest first; with a target the one it stands in.

    Args:
        target: A delegation or a task.
    """
    only: set[str] | None = None
    if target is not None:
        chains = await targets.resolve(connection, target)
        if not isinstance(chains, list):
            raise Refused("give a delegation or a task", code="target.kind", next_action="See `remit delegations`.")
        only = {chain.ids[0] for chain in chains}
    records = await targets.read(connection, await connection.registry.delegations())
    nodes = {}
    for record in records:
        nodes[record.jti] = (record, await _node(connection, record.jti, task=record.workflow_id))
    roots = []
    for record, node in nodes.values():
        if record.parent in nodes:
            nodes[record.parent][1]["children"].append(node)
        elif only is None or record.jti in only:
            roots.append(node)
    return sorted(roots, key=lambda node: str(node.get("issued_at")), reverse=True)


async def links(connection: Connection, chain: Chain) -> list[dict[str, Any]]:
    """Return a chain's links with their standing, as `remit show` prints them."""
    statuses = await _statuses(connection, chain)
    return [
        {
            "delegation": link.jti,
            "from": link.iss.spiffe_id,
            "to": link.delegate.spiffe_id,
            "status": statuses[number],
            "expires_at": moment(link.exp),
        }
        for number, link in enumerate(chain.links)
    ]


async def statements(connection: Connection, chains: Sequence[Chain]) -> list[Statement]:
    """Return what was validly stated about these chains' delegations and principals, in order of time."""
    epoch = await connection.standing.epoch()
    about: dict[Subject, Sequence[Delegation]] = {}
    for chain in chains:
        about |= {DelegationSubject(link.jti, link.iss): chain.links[: at + 1] for at, link in enumerate(chain.links)}
        about |= dict.fromkeys(chain.principals, ())
    found = []
    for subject, above in about.items():
        for token in await connection.registry.statements(subject):
            try:
                found.append(await connection.standing.statement(token, subject=subject, links=above, epoch=epoch))
            except InvalidDocument:
                continue
    return sorted(found, key=lambda one: one.iat)


async def _stopped_below(connection: Connection, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is to be shown of a task whose child is stopped, as the child itself says it; {} where none is."""
    query = f"{_STOPPED} AND RemitDelegations = {workflows.quoted(str(found['delegation']))}"
    for execution in await workflows.listed(connection, query, most=_ASKED):
        try:
            view = await workflows.view(connection, execution.id) or {}
        except Refused:  # it ended meanwhile
            continue
        if stopped := view.get("stopped"):
            message = f"{execution.id}: {stopped.get('message') or stopped.get('status')}"
            return {"state": "suspended", "stopped": {**stopped, "task": execution.id, "message": message}}
    return {}


async def _chain(connection: Connection, found: Mapping[str, Any]) -> list[dict[str, Any]]:
    try:
        return await links(connection, await connection.chain(str(found["delegation"])))
    except RemitError as error:
        # Without a login the task's own last look is what can be shown; without an answer nothing is known.
        said = {"status": "unknown"} if isinstance(error, Held) else {}
        names = ("delegation", "from", "to", "status", "expires_at")
        return [{name: link.get(name) for name in names} | said for link in found.get("chain") or ()]


async def _purpose(connection: Connection, found: Mapping[str, Any]) -> str | None:
    """Return what a task was delegated for, where no worker says it; None where nobody can."""
    try:
        return (await connection.chain(str(found["delegation"]))).leaf.purpose
    except RemitError:
        return None


async def _other(connection: Connection, one: Mapping[str, Any]) -> dict[str, Any]:
    """Return the last link of another agent that acts in a task."""
    found = {"delegation": one["delegation"], "chain": ()}
    link = (await _chain(connection, found) or [{"to": one["agent"], "status": "unknown"}])[-1]
    return {**one, **{name: link.get(name) for name in ("from", "to", "status", "expires_at")}}


async def _statuses(connection: Connection, chain: Chain) -> list[str]:
    """Return each link's effective standing: what stops a link or anyone above it stops it too."""
    epoch = await connection.standing.epoch()
    points = {point.subject: point.status for point in await connection.standing.of(chain, epoch=epoch)}
    statuses, held = [], points.get(chain.root.spiffe_id, Status.LIVE)
    for link in chain.links:
        for status in (points[link.jti], points.get(link.delegate.spiffe_id, Status.LIVE)):
            if held is Status.LIVE or (held is Status.SUSPENDED and status is Status.REVOKED):
                held = status
        statuses.append(held.value)
    return statuses


async def _node(connection: Connection, jti: str, *, task: str) -> dict[str, Any]:
    try:
        chain = await connection.chain(jti)
    except Refused as error:
        return {"delegation": jti, "status": "invalid", "code": error.code, "task": task, "children": []}
    leaf = chain.leaf
    return {
        "delegation": jti,
        "from": leaf.iss.spiffe_id,
        "to": leaf.delegate.spiffe_id,
        "status": (await _statuses(connection, chain))[-1],
        "purpose": leaf.purpose,
        "actions": list(leaf.scope.actions),
        "spaces": list(leaf.scope.spaces),
        "budget": leaf.scope.budget,
        "issued_at": moment(leaf.iat),
        "expires_at": moment(leaf.exp),
        "task": task,
        "children": [],
    }


async def _end(connection: Connection, task: str) -> dict[str, Any]:
    """Return how an ended task ended, as Temporal keeps it."""
    client = await connection.temporal()
    try:
        return {"result": await client.get_workflow_handle(task).result()}
    except WorkflowFailureError as failure:
        kind, facts = facts_of(failure.cause)
        if kind:
            return {"error": {name: facts[name] for name in ("code", "message", "next_action") if name in facts}}
        code, message = ending_of(failure.cause)
        return {"error": {"code": code, "message": message}}


def _entry(execution: WorkflowExecution) -> dict[str, Any]:
    found = workflows.attributes(execution)
    return {
        "task": execution.id,
        "run_id": execution.run_id,
        "state": _STATES.get(execution.status)
        if execution.status is WorkflowExecutionStatus.COMPLETED
        else _state(execution),
        "root": found.get("RemitRoot"),
        "agent": found.get("RemitAgent"),
        "started_at": _iso(execution.start_time),
        "closed_at": _iso(execution.close_time),
    }


def _state(execution: WorkflowExecution) -> str:
    said = str(workflows.attributes(execution).get("RemitState") or "running")
    ended = _STATES.get(execution.status)
    return said if ended is None or said in FINAL else ended


def _from_temporal(described: WorkflowExecution) -> dict[str, Any]:
    """Return what can be said of a task no worker answers for."""
    found = workflows.attributes(described)
    chain = [{"delegation": jti} for jti in found.get("RemitDelegations") or () if not jti.startswith("spiffe://")]
    return {
        "task": described.id,
        "run_id": described.run_id,
        "state": _state(described),
        "delegation": chain[-1]["delegation"] if chain else None,
        "root": found.get("RemitRoot"),
        "agent": found.get("RemitAgent"),
        "purpose": None,
        "chain": chain,
        "steps": [],
        "waiting": None,
        "children": [],
        "result": None,
        "error": None,
    }


def _iso(time: datetime | None) -> str | None:
    return None if time is None else moment(time.timestamp())
