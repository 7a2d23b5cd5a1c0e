"""A scenario: a promise, what it needs of a governor, and how it is put to the test."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from inspect import cleandoc

from remit.conformance.governor import Capability
from remit.conformance.trial import Trial

Play = Callable[[Trial], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A promise and how it is put to the test.

    Args:
        id: Stable name. needs: What the governor must have. play: Returns when it held, raises `Violated` when not; its
            docstring says what is promised and what is observed.
    """

    id: str
    needs: frozenset[Capability]
    play: Play

    @property
    def promise(self) -> str:
        """Return what is promised, in one line."""
        return cleandoc(self.play.__doc__ or "").splitlines()[0]


def scenario(*needs: Capability) -> Callable[[Play], Scenario]:
    """Make a function a scenario, named as it is."""

    def made(play: Play) -> Scenario:
        return Scenario(getattr(play, "__name__", "").replace("_", "-"), frozenset(needs), play)

    return made
