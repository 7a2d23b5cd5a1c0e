"""Submitting: a human hands an agent authority for one job, and the task starts under it.

- Everything that can be refused without a server is refused before anything is made.
- The delegation is stored before the task starts, bound to the id the task will have; nobody else can use it.
- If the task does not start, the delegation is revoked at once: nothing half-made stays behind.
- A task that waits after a revocation goes on under a fresh delegation of the same human, agent and purpose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from remit import jose
from remit.chain import Chain, chain_digest
from remit.client import targets
from remit.client.checking import check, check_handout
from remit.client.stopping import state
from remit.delegation import TYP, Delegation, Reference, Scope, check_grantable
from remit.errors import Denied, Held, Refused, RemitError, Usage
from remit.statements import Event, Status

if TYPE_CHECKING:
    from datetime import timedelta

    from temporalio.client import Client

    from remit.client.connection import Connection
    from remit.job import Job

WORKFLOW = "AgentTask"


@dataclass(frozen=True, slots=True)
class Terms:
    """What a root delegation is to say.

    Args:
        agent: Name of the delegate.
        purpose: A slug.
        scope: Actions, spaces, budget.
        expires_in: Seconds.
        max_depth: Levels below it.
    """

    agent: str
    purpose: str
    scope: Scope
    expires_in: int
    max_depth: int


@dataclass(frozen=True, slots=True)
class Submitted:
    """A task that was started."""

    task: str
    run_id: str
    delegation: str

    def document(self) -> dict[str, str]:
        """Return ``{"task", "run_id", "delegation"}``."""
        return {"task": self.task, "run_id": self.run_id, "delegation": self.delegation}


def terms_of(job: Job) -> Terms:
    """Return the terms a job asks for."""
    wanted = job.delegation
    scope = Scope(tuple(wanted.actions), tuple(wanted.spaces), wanted.budget)
    return Terms(job.agent, job.purpose, scope, wanted.expires_in, wanted.max_depth)


async def submit(connection: Connection, job: Job) -> Submitted:
    """Delegate and start.

    Raises:
        Usage, Refused: Nothing was made. Held: Something did not answer; if a delegation was made, it is revoked.
    """
    terms = terms_of(job)
    check(connection, job)
    return await start(
        connection,
        await connection.temporal(),
        WORKFLOW,
        [job.task()],
        terms=terms,
        task_queue=connection.settings.task_queue,
        on_revocation=job.on_revocation,
    )


async def start(
    connection: Connection,
    client: Client,
    workflow: Any,
    arguments: Sequence[Any],
    *,
    terms: Terms,
    task_queue: str,
    on_revocation: timedelta | Literal["halt"] = "halt",
    **options: Any,
) -> Submitted:
    """Delegate, and start any workflow under the delegation.

    Args:
        client: What it is started with; it must have the `RemitPlugin`.
        workflow: Its type, or the type's name. options: Of `Client.start_workflow`, except its id.
        on_revocation: How long it waits for a fresh delegation once this one is revoked or has expired.

    Raises:
        Usage, Refused: Nothing was made. Held: Something did not answer; if a delegation was made, it is revoked.
    """
    from temporalio.common import WorkflowIDConflictPolicy

    from remit.temporal import delegated

    check_handout(connection, terms.agent, actions=terms.scope.actions, spaces=terms.scope.spaces)
    jti = targets.new_delegation()
    task = targets.task_of(jti)
    reference = await _delegate(connection, terms, jti=jti, task=task, namespace=client.namespace)
    try:
        with delegated(
            reference,
            on_revocation=on_revocation,
            root=connection.principal.spiffe_id,
            agent=connection.catalogue.principal(f"agent/{terms.agent}").spiffe_id,
        ):
            handle = await client.start_workflow(
                workflow,
                args=arguments,
                id=task,
                task_queue=task_queue,
                static_summary=f"as {connection.principal.name} → {terms.agent} · {terms.purpose}",
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                **options,
            )
    except BaseException as error:
        raise await _undone(connection, jti, error) from None
    return Submitted(task, str(handle.first_execution_run_id or handle.result_run_id), jti)


async def resume(connection: Connection, task: str, job: Job | None = None) -> Submitted:
    """Let a waiting task go on under a fresh delegation.

    Args:
        job: What to delegate now; None: what its last delegation said.

    Raises:
        Refused: The task does not wait, or the fresh delegation does not fit it; what was made is revoked.
    """
    from remit.client.workflows import describe, update, view
    from remit.temporal import _names as names

    shown = await view(connection, task)
    if shown is None:
        raise silent(task)
    before = await connection.chain(str(shown.get("delegation") or ""))
    if before.root != connection.principal:
        raise Refused(
            f"only {before.root.short} can let this task go on", code="resume.not-yours", next_action="Ask them to."
        )
    if job is not None:
        check(connection, job)
    terms = _again(before) if job is None else terms_of(job)
    if (terms.agent, terms.purpose) != (before.agent.name, before.leaf.purpose):
        raise Refused(
            f"this task is {before.agent.name}'s, for {before.leaf.purpose}",
            code="resume.different",
            next_action="Delegate for the same agent and purpose, or submit a new task.",
        )
    if await _live(connection, before):
        raise Refused(
            f"{task} does not wait for a delegation: the one it has is live",
            code="resume.not-waiting",
            next_action=f"Look at it with: remit show {task}",
        )
    client = await connection.temporal()
    jti = targets.new_delegation(task)
    reference = await _delegate(connection, terms, jti=jti, task=task, namespace=client.namespace)
    try:
        given = {"delegation": reference.delegation, "digest": reference.digest}
        answer = await update(connection, task, names.RESUME, given)
        if answer is None:
            raise silent(task)
        if not answer.get("accepted"):
            raise Refused(
                str(answer.get("message") or "the task does not take this delegation"),
                code=str(answer.get("code") or "resume.refused"),
                next_action=f"Look at it with: remit show {task}",
            )
        described = await describe(connection, task)
    except BaseException as error:
        raise await _undone(connection, jti, error) from None
    return Submitted(task, str(described.run_id), jti)


def root(terms: Terms, *, connection: Connection, jti: str, key: Mapping[str, str]) -> Delegation:
    """Return the root delegation of these terms, checked.

    Raises:
        InvalidDocument: ``chain.budget``, ``chain.lifetime`` and what else cannot be granted.
        Denied: ``delegation.denied``.
    """
    now = int(connection.clock())
    link = Delegation(
        jti=jti,
        iss=connection.principal,
        sub=connection.principal,
        aud=connection.audience,
        delegate=connection.catalogue.principal(f"agent/{terms.agent}"),
        key=key,
        iat=now,
        nbf=now,
        exp=now + terms.expires_in,
        depth=0,
        max_depth=terms.max_depth,
        par_hash=None,
        purpose=terms.purpose,
        scope=terms.scope,
    )
    check_grantable(link)
    verdict = connection.policy.may_submit(root=link)
    if not verdict.permitted:
        raise Denied(
            f"{connection.principal.short} may not hand this to {link.delegate.short}: {verdict.reason}",
            code="delegation.denied",
            policies=verdict.policies,
            next_action="See `remit policy check`, or ask for less.",
        )
    return link


async def _delegate(connection: Connection, terms: Terms, *, jti: str, task: str, namespace: str) -> Reference:
    agent = connection.catalogue.principal(f"agent/{terms.agent}")
    record = await connection.registry.principal(agent)
    if record is None:
        raise Refused(
            f"the directory has no key of {agent.short}", code="principal.unknown", next_action="Run `remit bootstrap`."
        )
    status = await connection.standing.principal(agent, epoch=await connection.standing.epoch())
    if status is not Status.LIVE:
        raise Refused(
            f"{agent.short} is {status.value}",
            code=f"principal.{status.value}",
            next_action=f"Ask security staff to reinstate it: remit reinstate {agent.short}",
        )
    link = root(terms, connection=connection, jti=jti, key=record.key.jwk)
    token = await jose.sign(link.to_claims(), typ=TYP, signer=await connection.signer())
    await connection.registry.put_delegation(token, jti=jti, parent=None, namespace=namespace, workflow_id=task)
    return Reference(jti, chain_digest([token]))


def _again(before: Chain) -> Terms:
    """Return the terms of a chain's last link, to be handed out anew by the human."""
    leaf = before.leaf
    return Terms(before.agent.name, leaf.purpose, leaf.scope, leaf.exp - leaf.iat, max(0, leaf.max_depth - leaf.depth))


async def _live(connection: Connection, chain: Chain) -> bool:
    epoch = await connection.standing.epoch()
    points = await connection.standing.of(chain, epoch=epoch)
    return all(point.status is Status.LIVE for point in points)


async def _undone(connection: Connection, jti: str, error: BaseException) -> BaseException:
    """Revoke a delegation whose task did not start or go on, and return what to raise."""
    why = error if isinstance(error, RemitError) else None
    try:
        await state(connection, jti, Event.REVOKED, "its task did not start")
    except RemitError as failed:
        return Held(
            f"the task did not start, and its delegation {jti} could not be revoked: {failed.message}",
            code=failed.code,
            next_action=f"Revoke it with: remit revoke {jti}",
        )
    if why is not None or not isinstance(error, Exception):
        return why or error
    return _start_failure(error)


def _start_failure(error: Exception) -> RemitError:
    from temporalio.exceptions import WorkflowAlreadyStartedError
    from temporalio.service import RPCError, RPCStatusCode

    if isinstance(error, WorkflowAlreadyStartedError):
        return Refused("a task with this id runs already", code="task.exists", next_action="Submit it again.")
    if isinstance(error, RPCError):
        if error.status is RPCStatusCode.INVALID_ARGUMENT:
            return Usage(
                f"Temporal does not take the task: {' '.join(error.message.split())[:200]}",
                code="temporal.refused",
                next_action="Look at the namespace and its search attributes with `remit doctor`.",
            )
        return Held(
            "Temporal did not take the task; its delegation is revoked",
            code="temporal.unreachable",
            next_action="Start the stack with `remit dev`, then submit it again.",
        )
    return RemitError(f"the task did not start: {type(error).__name__}; its delegation is revoked", code="task.start")


def silent(task: str) -> Held:
    """Return the error of a task no worker answers for."""
    return Held(
        f"no worker answers for {task}",
        code="worker.unreachable",
        next_action="Start one with `remit dev` or `python worker.py`.",
    )
