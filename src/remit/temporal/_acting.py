"""Acting: who acts where in a workflow's code.

- A scope is a stretch of code in which one agent acts; scopes nest, and what is handed over lasts to the end of one.
- Each task of the event loop is in the scope it was started in; all scopes end with the run.
- What the mapping said of an agent stands in the history, so that a replay under another mapping does the same again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from temporalio import workflow

from remit.delegation import Reference
from remit.temporal import _names as names
from remit.temporal._agent import Agent, Holder, asked

if TYPE_CHECKING:
    from remit.mapping import Handover
    from remit.temporal._task import GovernedTask


class Scope:
    """A stretch of a workflow's code: who acts in it, and who did when it began."""

    def __init__(self, outer: Holder, holder: Holder) -> None:
        self.outer = outer
        self.first = self.holder = holder


_SCOPE: ContextVar[tuple[object, Scope] | None] = ContextVar("remit_scope", default=None)
"""The scope code runs in, with whose it is."""


class Acting:
    """Who acts in one run.

    Args:
        task: The task.
        moved: Called with an agent whose delegation was followed by another.
    """

    def __init__(self, task: GovernedTask, *, moved: Callable[[Holder], None]) -> None:
        self._task = task
        self._moved = moved
        self._root = Scope(task, task)
        self._known: dict[tuple[Holder, object], Holder] = {}

    @property
    def scope(self) -> Scope:
        """The scope the code that runs is in."""
        found = _SCOPE.get()
        return found[1] if found is not None and found[0] is self else self._root

    @property
    def holder(self) -> Holder:
        """Who acts."""
        return self.scope.holder

    @contextmanager
    def within(self, holder: Holder) -> Iterator[None]:
        """Have somebody act in a scope of its own."""
        outer, scope = _SCOPE.get(), Scope(self.holder, holder)
        _enter(holder, 1)
        _SCOPE.set((self, scope))  # set back, not reset: a framework may leave a block in another task
        self._task.publish()
        try:
            yield
        finally:
            _enter(scope.holder, -1)
            _SCOPE.set(outer)

    def hand_over(self, scope: Scope, holder: Holder) -> None:
        """Have somebody else act in a scope from now on."""
        _enter(holder, 1)
        _enter(scope.holder, -1)
        scope.holder = holder
        self._task.publish()

    async def found(self, base: Holder, wanted: str | Handover) -> Holder:
        """Return who acts when `base` hands over to an agent: that agent, or, where the mapping shares, `base`.

        Args:
            wanted: The agent's name in the mapping, or what it is handed.

        Raises:
            ApplicationError: The refusal, e.g. ``agent.unmapped``.
        """
        if not isinstance(wanted, str) and wanted.share:
            return base
        known = self._known.get((base, wanted))
        if known is None:
            task = workflow.info().workflow_id
            if isinstance(wanted, str):
                request: tuple[Any, ...] = (names.HAND, task, names.AGENTS, wanted)
            else:
                request = (names.DELEGATE, task, terms_of(wanted))
            answer, under = await asked(self._task, base, *request)
            known = self._known.get((base, wanted)) or self._take(base, request, answer, under)
            self._known[base, wanted] = known
        await known.gate.passed()
        return known

    def _take(self, base: Holder, request: tuple[Any, ...], answer: Mapping[str, Any], under: Reference) -> Holder:
        if answer.get("share"):
            return base
        made = Agent(self._task, base, request, moved=self._moved)
        made.take(answer, under)
        self._task.others.append(made)
        return made


def terms_of(handover: Handover) -> dict[str, Any]:
    """Return what `remit.delegate` is asked for."""
    return {
        "agent": handover.agent,
        "actions": list(handover.actions),
        "spaces": list(handover.spaces),
        "budget": handover.budget,
        "expires_in": handover.expires_in,
        "below": handover.max_depth,
    }


def _enter(holder: Holder, by: int) -> None:
    if isinstance(holder, Agent):
        holder.scopes += by
