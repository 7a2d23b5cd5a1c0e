"""Reading: what the activities of a framework ask for, read off the JSON that stands on the wire.

- One class a framework, built with the mapping; pure, and importable without the framework itself.
- An activity makes tool calls, asks a model, only lists what there is, or does something else.
- A refusal can be told to the model in the framework's own form, so that the agent goes on without the tool.
- What arguments do not hold is refused, never guessed.
"""

from __future__ import annotations

from collections import abc
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Protocol

from remit.errors import Refused
from remit.mapping import Mapping

if TYPE_CHECKING:
    from temporalio.worker import Interceptor, WorkerConfig

Kind = Literal["tool", "model", "listing", "other"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of one tool.

    Args:
        name: The tool, as the model says it.
        arguments: JSON object.
        server: MCP server, or None.
        id: The framework's own id of the call, empty where there is none.
        other: It is no tool but another operation of the server, e.g. ``read-resource``.
    """

    name: str
    arguments: abc.Mapping[str, Any]
    server: str | None = None
    id: str = ""
    other: bool = False


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One request to a model.

    Args:
        model: Its name; empty where the framework leaves it to its default.
        offers: Names of the tools it is offered.
        settings: What policies may read of the request, e.g. ``{"max_tokens": 500}``.
    """

    model: str
    offers: tuple[str, ...] = ()
    settings: abc.Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Seen:
    """A tool that can be seen when a worker starts.

    Args:
        tool: Its name. inline: Whether it runs inside the workflow. where: Which agent or graph has it.
    """

    tool: str
    inline: bool
    where: str


class Acts(Protocol):
    """Who acts in a governed workflow; `remit.temporal.workflow` says it."""

    def scope(self) -> AbstractContextManager[None]:
        """Return a block for `hand_over`, in which whoever acts goes on acting."""

    async def hand_over(self, agent: str | None) -> None:
        """Have an agent of the mapping act to the end of the block; None: whoever acted when it began."""


class Framework:
    """How one framework's activities are read; arguments and results are JSON, except in `ready`.

    Everything but `kind`, `ready` and `seen` raises `Refused` (``tool.input``) for what is not of the framework's form.

    Args:
        mapping: What the tools mean.
    """

    def __init__(self, mapping: Mapping) -> None:
        self.mapping = mapping
        self.parameters: dict[str, tuple[str, ...]] = {}
        """Names of the arguments of the activities registered on this worker, by activity type."""
        self.acts: Acts | None = None
        """Has other agents act; given by whoever governs."""

    def kind(self, activity: str) -> Kind | None:
        """Return what an activity type is, None when it is not this framework's."""
        return None

    def calls(self, activity: str, arguments: Sequence[Any]) -> Sequence[ToolCall]:
        """Return the tool calls a tool activity makes; several only where `part` and `joined` can take them apart."""
        unreadable(activity, "it makes no tool call")

    def model(self, activity: str, arguments: Sequence[Any]) -> ModelCall:
        """Return what a model activity asks."""
        unreadable(activity, "it asks no model")

    def hosted(self, activity: str, arguments: Sequence[Any]) -> Sequence[ToolCall]:
        """Return the tools a request to a model offers that its provider runs by itself, with what they are set to."""
        return ()

    def proposed(self, activity: str, result: Any) -> Sequence[ToolCall]:
        """Return the tool calls that a model activity's result proposes."""
        return ()

    def told(self, activity: str, arguments: Sequence[Any], message: str) -> Any:
        """Return the result by which the model reads a refusal of a tool call."""
        unreadable(activity, "a refusal cannot be told to its model")

    def part(self, activity: str, arguments: Sequence[Any], number: int) -> Sequence[Any]:
        """Return the arguments with only the n-th of several tool calls, from 0."""
        unreadable(activity, "its tool calls cannot be made one by one")

    def joined(self, activity: str, results: Sequence[Any]) -> Any:
        """Return the results of all parts, in order, as one."""
        unreadable(activity, "the results of its tool calls cannot be put together")

    def failed(self, activity: str, result: Any) -> bool:
        """Tell whether a tool activity's result says that a tool failed; it may have failed for want of authority."""
        return False

    def ready(self, activity: str, arguments: Sequence[Any], *, name: str) -> Sequence[Any]:
        """Return the decoded arguments as the activity is to get them; nothing of it stands in any history.

        Args:
            name: A name of this attempt alone.
        """
        return arguments

    def named(self, activity: str, arguments: Sequence[Any]) -> dict[str, Any]:
        """Return an activity's arguments by name; by position where it is not registered on this worker."""
        known = self.parameters.get(activity, ())
        return {
            known[number] if number < len(known) else str(number): argument for number, argument in enumerate(arguments)
        }

    def interceptors(self) -> Sequence[Interceptor]:
        """Return what a worker needs besides, to see what no activity shows."""
        return ()

    def seen(self, config: WorkerConfig) -> Iterator[Seen]:
        """Return the tools that can be seen when a worker starts."""
        return iter(())


def unreadable(activity: str, what: str) -> NoReturn:
    """Refuse arguments that are not of the framework's form.

    Raises:
        Refused: ``tool.input``.
    """
    raise Refused(
        f"{activity}: {what}",
        code="tool.input",
        next_action="Use the releases of the framework and its Temporal plugin that docs/guides names.",
    )
