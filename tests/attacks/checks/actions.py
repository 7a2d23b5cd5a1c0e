"""What several attacks begin with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from remit.errors import Refused
from remit.policy.asking import Answer, Questions
from remit.statements import Event
from remit.step import Call
from tests.unit.world import READ, Task, World

OTHER_DIGEST = "B" * 42 + "A"


def step(*, call: Call = READ, credential: str | None = "flights-ro", task: Any = None, **shown: Any) -> Any:
    """Have the analyst do a step; `shown` is what it shows otherwise, `task` changes its delegation."""

    async def attack(w: World) -> object:
        made = await w.delegate(**(task or {}))
        return await w.authorize(made.attempt(call, credential=credential), **shown)

    return attack


async def nothing(_w: World, _task: Task) -> None:
    """Nobody says anything."""


async def elsewhere(w: World) -> object:
    task = await w.delegate()
    return await w.authorize(task.attempt(task="another"))


def denied(attack: Callable[[World], Any]) -> Any:
    """Ask the policies something; a verdict that is no permit is the refusal."""

    async def asked(w: World) -> object:
        verdict = attack(w)
        if not verdict.permitted:
            raise Refused(verdict.reason, code="policy.denied")
        return verdict

    return asked


def delegating(*names: str) -> Any:
    return lambda w: w.policy.delegable(names)


@contextmanager
def answered(kind: str) -> Iterator[None]:
    """Let Cedar's answer about a kind of principal always be a clean Allow."""
    real = Questions.put

    def put(self: Questions, ask: Any, context: str, entities: Any) -> Answer:
        answer = real(self, ask, context, entities)
        return replace(answer, allowed=True, errors=()) if ask.request["principal"]["type"] == kind else answer

    with patch.object(Questions, "put", put):
        yield


SUSPENDED = Event.SUSPENDED


REVOKED = Event.REVOKED
