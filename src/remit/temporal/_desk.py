"""The desk: requests that wait for a person, and the decisions people send.

- A decision is a signed document; whether it counts is the authority's to say, one at a time, in the order they came.
- All decisions that are here are judged before any takes effect, so a rejection beats an approval that races it.
- Bounded: 64 requests wait, others for their turn; 64 decisions are queued; a decision sent twice is judged once;
  one approval is kept for each person; and at most 32 decisions a run that answer no waiting request, or are none, are
  handed to the authority (for its record).
- The request id read from a decision only routes it; it is not trusted.
"""

from __future__ import annotations

import asyncio
import json
import re
from base64 import urlsafe_b64decode
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from temporalio import workflow

from remit.delegation import Reference
from remit.errors import Rejected, RemitError
from remit.temporal._changes import Changes
from remit.temporal._failure import to_application_error

MOST = 64
_LONGEST = 8 * 1024
_STRAYS = 32
_REMEMBERED = 256
_NO_REQUEST = "approval.no-request"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_UNREADABLE = ""
"""Stands for a signal that is no decision: what it carried may be anything, so none of it goes any further."""
_IN_TURN = "remit-requests-wait-in-turn"
_UNREADABLE_IS_TOLD = "remit-tells-of-unreadable-decisions"

Admit = Callable[[str, Mapping[str, Any], "Asker | None"], Awaitable[Mapping[str, Any]]]
"""From a decision, a request and who asked, if not the task's own agent, to the authority's answer."""
Answer = Mapping[str, Any]


class TimedOut(RemitError):
    """Nobody decided in time."""

    default_code = "approval.timeout"


@dataclass(frozen=True, slots=True)
class Asker:
    """Another agent that acts in the task: its chain and its SPIFFE ID."""

    chain: Reference
    agent: str


@dataclass(slots=True)
class Request:
    """One step that waits; `facts` is what the authority asked for, `approved` the yes of each person so far, `asker`
    who asks if not the task's own agent."""

    facts: Mapping[str, Any]
    since: float
    approved: dict[str, str]
    asker: Asker | None = None
    rejected: Answer | None = None
    news: bool = False
    answered: bool = False


class Desk:
    """Waits for decisions and judges them.

    Args:
        admit: Asks the authority whether a decision counts for a request.
        changed: Called when the set of waiting requests changes.
        changes: What the run does and older ones did not.
    """

    def __init__(self, *, admit: Admit, changed: Callable[[], None], changes: Changes) -> None:
        self.waiting: dict[str, Request] = {}
        self._changes = changes
        self._admit = admit
        self._changed = changed
        self._inbox: deque[tuple[str, asyncio.Future[Answer] | None]] = deque()
        self._judged: dict[str, Answer] = {}
        self._since: dict[str, float] = {}
        self._strays = 0
        self._taken = 0
        self._queue: deque[asyncio.Future[None]] = deque()

    @property
    def busy(self) -> bool:
        """Whether a decision waits to be judged."""
        return bool(self._inbox)

    def shown(self) -> list[Mapping[str, Any]]:
        """Return the waiting requests, oldest first, as `remit show` prints them."""
        return [
            {
                **{name: request.facts.get(name) for name in ("request", "binding", "action", "resource", "input")},
                "approvers": list(request.facts.get("approvers") or ()),
                "policies": list(request.facts.get("policies") or ()),
                "refused": list(request.facts.get("refused") or ()),
                "approved": len(request.approved),
                "since": _iso(request.since),
                **_of(request.asker),
            }
            for request in self.waiting.values()
        ]

    def takes(self, facts: Mapping[str, Any]) -> bool:
        """Tell whether a request can wait here: it is named like one, has its arguments, and is not another step's."""
        name = facts["request"]
        return (
            _NAME.fullmatch(name) is not None and name not in self.waiting and isinstance(facts.get("input"), Mapping)
        )

    async def decided(
        self,
        facts: Mapping[str, Any],
        *,
        given: Mapping[str, str],
        void: Callable[[], bool],
        asker: Asker | None = None,
    ) -> dict[str, str]:
        """Wait until people decided a request.

        Args:
            facts: The authority's request.
            given: Approvals the step already has, by approver.
            void: Tells that the request is void: the task halted or goes on under another delegation.
            asker: Who asks, if not the task's own agent.

        Returns:
            The step's approvals, old and new; the old ones alone when the request became void.

        Raises:
            ApplicationError: ``approval.rejected`` or ``approval.timeout``.
        """
        name = str(facts["request"])
        if not await self._seated() and void():
            self._leave()
            return dict(given)
        since = self._since.setdefault(name, workflow.time())
        _bound(self._since)
        request = self.waiting[name] = Request(facts, since, dict(given), asker)
        self._changed()
        wait = facts.get("wait")
        left = None if wait is None else max(0.001, since + float(wait) - workflow.time())
        late = False
        try:
            await workflow.wait_condition(
                lambda: request.answered or void(),
                timeout=left,
                timeout_summary=f"waits for {', '.join(map(str, facts['approvers']))}"[:100],
            )
        except TimeoutError:
            late = True
        except asyncio.CancelledError:
            self._gone(name)
            raise
        self._gone(name)
        if late:
            raise to_application_error(
                TimedOut(
                    f"nobody decided {facts['action']} on {facts['resource']} within {wait} s",
                    next_action="Start the task again when an approver is there.",
                )
            )
        if request.rejected is not None:
            raise to_application_error(
                Rejected(
                    f"{request.rejected.get('approver') or 'an approver'} rejected {facts['action']} "
                    f"on {facts['resource']}",
                    next_action="Ask the approver why; a new task asks again.",
                )
            )
        return request.approved

    async def _seated(self) -> bool:
        """Return once there is room for one more request; tell whether there was at once."""
        if self._taken < MOST or not self._changes.made(_IN_TURN):
            self._taken += 1
            try:
                await workflow.wait_condition(lambda: True)  # as it always was, so that commands keep their order
            except asyncio.CancelledError:
                self._leave()
                raise
            return True
        seat = asyncio.get_running_loop().create_future()
        self._queue.append(seat)
        try:
            await seat  # one future each: a thousand conditions looked at again and again would take the worker's time
        except asyncio.CancelledError:
            if not seat.cancelled():
                self._leave()
            raise
        return False

    def _leave(self) -> None:
        while self._queue:
            if not (seat := self._queue.popleft()).done():
                seat.set_result(None)
                return
        self._taken -= 1

    def _gone(self, name: str) -> None:
        self._leave()
        self.waiting.pop(name, None)
        self._changed()

    @staticmethod
    def readable(token: object) -> bool:
        """Tell whether this could be a decision at all."""
        return isinstance(token, str) and len(token) <= _LONGEST and _request_of(token) is not None

    def put(self, token: object, *, reply: asyncio.Future[Answer] | None = None) -> Answer | None:
        """Take a decision in; never raises.

        Returns:
            Why it was not taken in; None when it was, its answer then comes through `reply`.
        """
        if not isinstance(token, str) or not self.readable(token):
            if reply is not None:
                return _refused("approval.malformed", "this is not a signed decision")
            token = _UNREADABLE
        if len(self._inbox) >= MOST:
            return _refused("approval.busy", "too many decisions at once; send it again")
        digest = sha256(token.encode(errors="replace")).hexdigest()
        judged = self._judged.get(digest)
        if judged is not None and judged["code"] != _NO_REQUEST:
            return judged
        if reply is None and any(token == queued for queued, _ in self._inbox):
            return _refused("approval.duplicate", "this decision is already here")
        self._inbox.append((token, reply))
        return None

    async def judge(self) -> None:
        """Judge the oldest decision; let what was judged take effect once none is left."""
        token, reply = self._inbox[0]
        answer = await self._judge(token)
        self._inbox.popleft()
        if reply is not None and not reply.done():
            reply.set_result(answer)
        if not self._inbox:
            for request in self.waiting.values():
                request.answered |= request.rejected is not None or request.news

    async def _judge(self, token: str) -> Answer:
        if token == _UNREADABLE and not self._changes.made(_UNREADABLE_IS_TOLD):
            return _stray()
        name = _request_of(token) or ""
        digest = sha256(token.encode(errors="replace")).hexdigest()
        request = self.waiting.get(name)
        if request is None:
            self._strays += 1
            if self._strays > _STRAYS:
                return _stray()
        facts = request.facts if request else {"request": name[:64], "binding": "", "approvers": []}
        answer = await self._admit(token, facts, request.asker if request else None)
        if self.waiting.get(name) is not request or request is None:
            answer = _stray()
        elif answer.get("accepted") and answer.get("decision") == "reject":
            request.rejected = answer
        elif answer.get("accepted"):
            approver = str(answer.get("approver"))
            request.approved.pop(approver, None)  # the latest stands last: a step has room for the last ones only
            request.approved[approver] = token
            request.news = True
        self._judged[digest] = answer
        _bound(self._judged)
        return answer


def _of(asker: Asker | None) -> dict[str, str]:
    return {} if asker is None else {"delegation": asker.chain.delegation, "agent": asker.agent}


def _request_of(token: str) -> str | None:
    try:
        _, body, _ = token.split(".")
        claims = json.loads(urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        found = claims["request"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return found if isinstance(found, str) and _NAME.fullmatch(found) else None


def _refused(code: str, message: str) -> Answer:
    return {"accepted": False, "decision": "", "approver": "", "code": code, "message": message}


def _stray() -> Answer:
    return _refused(_NO_REQUEST, "no step of this task waits for this decision")


def _bound(remembered: dict[str, Any]) -> None:
    while len(remembered) > _REMEMBERED:
        del remembered[next(iter(remembered))]


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
