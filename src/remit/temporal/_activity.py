"""The activity interceptor: the life of one attempt, around whatever the tool is.

- No chain, no declaration, no workflow: refused before anything else, with nothing asked, and recorded.
- The credential is there in a context variable while the tool runs, and nowhere afterwards: what goes on with a copy
  of that context finds it empty.
- A result or exception leaves without the attempt's secrets, or not at all.
- What a tool completed before it was told to stop counts. A tool that was told and returns all the same delivers
  nothing unless its chain is live: what it did, it did without authority.
- A result that says that a tool failed is none when its chain is not live: the tool failed for want of authority.
- A tool that may run once fails once: its failure is final, not tried again.
- A tool completes here: one that leaves its completion to somebody outside has failed.
- The release always runs to its end, also when the attempt is cancelled meanwhile.
"""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass, replace
from typing import Any

from temporalio import activity
from temporalio.exceptions import CancelledError
from temporalio.worker import (
    ActivityInboundInterceptor,
    ActivityOutboundInterceptor,
    ExecuteActivityInput,
)

from remit.attempt import GRANT, Attempt, Grant, Unasked
from remit.credentials import CREDENTIAL, leaks, scrub, scrub_text
from remit.errors import Denied, Held, Refused, RemitError
from remit.telemetry import span
from remit.temporal import _header as header
from remit.temporal import _names as names
from remit.temporal._failure import to_application_error
from remit.temporal._mapped import MappedActivity
from remit.temporal._parts import Authority, Describes, Facts, Presenter
from remit.temporal._runs import Runs
from remit.temporal._scrubbing import cleaned
from remit.temporal._watch import Beats, Watch

_PATIENCE = 10.0
"""Seconds an attempt waits out an outage by itself before it leaves the waiting to Temporal."""

_LEFT: set[asyncio.Task[Any]] = set()
"""Tools that went on although they were told to stop; nobody waits for them, and they have no credential."""


def step_name() -> str:
    """Return the name of the step that is running: the same for every attempt of it, and for no other step.

    Over retries, resumption under a fresh delegation, continue-as-new and workflow resets it stays the same, so a
    service that is given it as an idempotency key can tell a repetition.

    Raises:
        Refused: ``step.none`` outside a governed attempt.
    """
    grant = GRANT.get()
    if grant is None:
        raise Refused("no step runs here", code="step.none", next_action="Ask within a governed tool.")
    return grant.attempt.name


class ActivityInbound(ActivityInboundInterceptor):
    """Governs one attempt; Temporal makes a new one for every attempt.

    Args:
        next: The interceptor beneath.
        facts: What the worker knows of its activities.
        authority, presenter: Who decides, and who signs for the agent.
        runs: Tells which execution a run belongs to.
        watch: Seconds between looks at a running attempt's chain.
    """

    def __init__(
        self,
        next: ActivityInboundInterceptor,
        *,
        facts: Facts,
        authority: Authority,
        presenter: Presenter,
        runs: Runs,
        watch: float,
    ) -> None:
        super().__init__(next)
        self._facts = facts
        self._authority = authority
        self._presenter = presenter
        self._runs = runs
        self._every = watch
        self._beats: Beats | None = None

    def init(self, outbound: ActivityOutboundInterceptor) -> None:
        """Stand between the tool and its heartbeats."""
        self._beats = Beats(outbound)
        super().init(self._beats)

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        """Run one attempt: decide, mint, run, destroy."""
        info = activity.info()
        if info.activity_type in names.INTERNAL and info.is_local:
            return await self.next.execute_activity(input)
        if not self._facts.governs_activity(info.activity_type):
            return await self.next.execute_activity(input)
        tool = self._facts.tool(info.activity_type)
        watch = Watch(
            self._authority,
            None if info.is_local else self._beats,
            innermost=self.next,
            every=self._every,
        )
        try:
            with span("remit.attempt", tool=info.activity_type, attempt=info.attempt):
                try:
                    attempt = await self._attempt(input, tool)
                    if isinstance(tool, MappedActivity):
                        input = replace(input, args=tool.ready(input.args, name=uuid.uuid4().hex))
                    grant = await self._granted(attempt)
                except RemitError as error:
                    tells = isinstance(tool, MappedActivity) and tool.tells(error)
                    raise to_application_error(error, attempt=info.attempt, tells=tells) from None
                return await self._governed(grant, input, watch)
        finally:
            watch.end()

    async def _attempt(self, input: ExecuteActivityInput, tool: Describes | None) -> Attempt:
        """Return what is asked of the authority; what ends before that has it told, for the record."""
        info = activity.info()
        task, run = info.workflow_id, info.workflow_run_id
        known = Unasked(
            namespace=info.namespace,
            activity=info.activity_id,
            attempt=info.attempt,
            tool=info.activity_type,
            task=task,
            run=run,
        )
        try:
            mark = header.read(input.headers)
            if mark is None or not task or not run:
                raise Denied(
                    f"{info.activity_type} carries no delegation",
                    code="delegation.missing",
                    next_action="Start its workflow with a delegation, on a client that has the plugin.",
                )
            known = replace(known, step=mark.step, delegation=mark.reference.delegation)
            if tool is None:
                raise _undeclared(info.activity_type)
            use = tool.use(input.args)
            attempt = Attempt(
                reference=mark.reference,
                namespace=info.namespace,
                task=task,
                run=run,
                first_run=mark.first_run or run,
                activity=info.activity_id,
                attempt=info.attempt,
                step=mark.step,
                tool=use.tool,
                call=use.call,
                credential=use.credential,
                cost=use.cost,
                once=use.once,
                approvals=header.read_approvals(input.headers),
            )
            await self._runs.require(task=attempt.task, run=attempt.run, first_run=attempt.first_run)
        except BaseException as error:
            await self._authority.refuse(known, error)
            raise
        return attempt

    async def _granted(self, attempt: Attempt) -> Grant:
        loop = asyncio.get_running_loop()
        until, pause = loop.time() + _PATIENCE, 0.1
        while True:
            presentation = asyncio.ensure_future(self._presenter.present(attempt))
            try:
                return await self._authority.authorize(attempt, presentation)
            except Held:
                if loop.time() + pause > until:
                    raise
            finally:
                _drop(presentation)
            await asyncio.sleep(pause)
            pause = min(2.0, pause * 2)

    async def _governed(self, grant: Grant, input: ExecuteActivityInput, watch: Watch) -> Any:
        if self._beats is not None:
            self._beats.secrets = grant.secrets
        ended = _Ended("cancelled")
        try:
            ended = await self._run(grant, input, watch)
        finally:
            watch.over()
            if grant.credential is not None:
                grant.credential.forget()
            await self._release(grant, ended)
        if ended.failure is not None:
            raise ended.failure
        return ended.result

    async def _run(self, grant: Grant, input: ExecuteActivityInput, watch: Watch) -> _Ended:
        tool = self._begun(grant, input)
        watch.guard(grant, tool)
        told = await _over(tool, watch)
        outcome = "cancelled"
        failure: BaseException = CancelledError("Cancelled")
        if not tool.done():
            _leave(tool)
        elif not tool.cancelled():
            error = tool.exception()
            if isinstance(error, activity._CompleteAsyncError):
                error = _elsewhere()
            if error is None and await self._counts(tool.result(), watch, told=told):
                return _finished(tool.result(), grant)
            if error is not None and not isinstance(error, CancelledError):
                outcome, failure = "error", error
        stopped = watch.stopped if outcome == "cancelled" else await watch.died()
        if stopped is not None:
            return _Ended("stopped", code=stopped.code, failure=to_application_error(stopped))
        code = failure.code if isinstance(failure, RemitError) else type(failure).__name__
        return _Ended(outcome, code=code, failure=cleaned(failure, grant))

    async def _counts(self, result: Any, watch: Watch, *, told: bool) -> bool:
        """Tell whether a result may be delivered; one that says the tool failed may be for want of authority."""
        if told:
            return await watch.live()
        tool = self._facts.tool(activity.info().activity_type)
        try:
            failed = isinstance(tool, MappedActivity) and tool.failed(result)
        except Exception:
            failed = True  # what cannot be read is looked at as well
        return not failed or await watch.died() is None

    def _begun(self, grant: Grant, input: ExecuteActivityInput) -> asyncio.Task[Any]:
        """Begin the tool, in a task of its own: the only place where its credential is to be found."""

        async def tool() -> Any:
            with span("remit.tool", tool=grant.attempt.tool, grant=grant.id):
                try:
                    return await self.next.execute_activity(input)
                except RemitError as error:
                    error.code = scrub_text(error.code, grant.secrets)  # it goes into spans and records
                    raise

        credential, granted = CREDENTIAL.set(grant.credential), GRANT.set(replace(grant, credential=None, secrets=()))
        try:
            return asyncio.create_task(tool())
        finally:
            CREDENTIAL.reset(credential)
            GRANT.reset(granted)

    async def _release(self, grant: Grant, ended: _Ended) -> None:
        """Release a grant to the end, whatever the attempt is told meanwhile: how it ended is decided already."""
        release = asyncio.ensure_future(self._authority.release(grant, outcome=ended.outcome, code=ended.code))
        while not release.done():
            try:
                await asyncio.wait({release})
            except asyncio.CancelledError:
                _uncancel()
        if (failed := release.exception()) is not None:
            activity.logger.error("a grant was not released cleanly", exc_info=failed)


@dataclass(frozen=True, slots=True)
class _Ended:
    """How a tool ended: ``outcome`` and ``code`` for the record, and what its attempt returns or raises."""

    outcome: str
    code: str | None = None
    failure: BaseException | None = None
    result: Any = None


async def _over(tool: asyncio.Task[Any], watch: Watch) -> bool:
    """Return once a tool ended, or was left behind; tell whether it was told to stop before."""
    told = False
    while not tool.done() and not watch.left.done():
        try:
            await asyncio.wait({tool, watch.left}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError as cancelled:
            told = True
            tool.cancel(*cancelled.args)
            _uncancel()
    return told or watch.stopped is not None or activity.is_cancelled()


def _uncancel() -> None:
    if (current := asyncio.current_task()) is not None:
        current.uncancel()


def _leave(tool: asyncio.Task[Any]) -> None:
    """Leave a tool to itself; what becomes of it nobody hears."""

    def ended(done: asyncio.Task[Any]) -> None:
        _LEFT.discard(done)
        if not done.cancelled():
            done.exception()

    _LEFT.add(tool)
    tool.add_done_callback(ended)
    tool.cancel()


def _finished(result: Any, grant: Grant) -> _Ended:
    """Return the result without secrets; a failure when one is left where it cannot be taken out."""
    if not grant.secrets or result is None:
        return _Ended("ok", result=result)
    try:
        clean = scrub(result, grant.secrets)
        encoded = b"".join(payload.data for payload in activity.payload_converter().to_payloads([clean]))
    except Exception as error:  # what cannot be encoded may say why, and with what in it
        return _Ended("error", code=type(error).__name__, failure=cleaned(error, grant))
    if leaks(encoded, grant.secrets):
        refused = Refused(
            "the tool's result holds its credential",
            code="result.secret",
            next_action="Return data, not the objects that hold the credential.",
        )
        return _Ended("error", code=refused.code, failure=to_application_error(refused))
    return _Ended("ok", result=clean)


def _undeclared(name: str) -> Denied:
    return Denied(
        f"nothing says what {name} does",
        code="activity.undeclared",
        next_action="Declare it with @remit.temporal.tool, map it, or list it as ungoverned.",
    )


def _elsewhere() -> Refused:
    """Return what becomes of a tool that leaves its completion to somebody else: its authority ends here."""
    return Refused(
        "the tool leaves its result to somebody else; what came later would come without authority",
        code="activity.async",
        next_action="Wait for the result in the tool, or let a workflow wait for it.",
    )


def _drop(presentation: asyncio.Future[str]) -> None:
    """Let go of a proof nobody waits for any more."""
    if not presentation.done():
        presentation.cancel()
    elif not presentation.cancelled():
        presentation.exception()
